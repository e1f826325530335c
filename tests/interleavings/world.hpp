/// \file
/// Two clusters with a guest that commands are run on, and what must hold whatever they do to each other.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "support/two_clusters.hpp"

namespace crossover::test {

/// How the guest stands before the first command.
enum class Begin {
  mirrored,  ///< it runs in the east, and has a replica with three points in the west
  damaged,   ///< the same, and its newest point in the west is not what was sent
  migrated,  ///< it was moved to the west, and runs there
  foreign,   ///< it runs in the east, and the west has a replica of it that the shell tool made
};

/// What is told of a command that ended.
struct Done {
  enum class How { ok, conflict, locked, failed, threw } how = How::threw;
  std::string error;
};

std::string_view to_string(Done::How how);

class World {
 public:
  explicit World(Begin begin);

  /// The guest writes, where it runs, unless somebody holds it.
  void write();

  /// A command with these options, from the east or back from the west. Whatever ran before may stand still in the
  /// middle of its own.
  Done command(const std::function<void(MirrorOptions&)>& options, bool back, const std::function<Done()>& action);

  /// What the next calls are made with: a command that stands still finds it as it was.
  struct Scene {
    MirrorOptions options;
    bool back = false;
    Faults* calls = nullptr;
    std::optional<Restriction> restriction = {};
  };
  [[nodiscard]] Scene scene() const {
    return {clusters.options, clusters.back, clusters.calls, clusters.restriction};
  }
  void set(const Scene& scene);

  /// VM 100 in the east, and what was made of it in the west, by VMID.
  [[nodiscard]] std::size_t running() const;
  [[nodiscard]] bool is_running(bool west, std::uint32_t vmid) const;
  /// Whether it is a guest there, and no replica, that can be started: its disks are there, and nothing locks it.
  [[nodiscard]] bool is_guest(bool west);
  /// Whether it runs, or can be started, anywhere.
  [[nodiscard]] bool can_be_had();
  /// Whether the record of a migration says that it is not through.
  [[nodiscard]] bool is_under_way();
  /// Complete recovery points of VM 99100 in the west, and what their disks hold.
  using Content = std::map<std::string, std::vector<std::byte>>;
  [[nodiscard]] std::map<std::string, Content> points();

  /// Everything that must hold once all commands have ended. `removes`: one of them removes points; `reseeds`: one of
  /// them copies the replica anew; `recovers`: one of them may have made a guest of what became a replica again. Returns
  /// what does not hold.
  [[nodiscard]] std::vector<std::string> wrong(bool removes, bool reseeds, bool recovers);

  TwoClusters clusters;

 private:
  using Moment = std::map<std::size_t, std::vector<std::byte>>;  ///< by the disk's number
  void note_moment(const MemoryImageStore& store, const std::vector<ImageSpec>& disks,
                   const std::string& snapshot = {});
  /// What the configuration of VM 99100 in the west, or of VM 100 in the east, names: a new copy has other names.
  [[nodiscard]] std::vector<ImageSpec> images(bool west) const;
  void take_from_shell_tool();
  /// What the shell tool's snapshots hold, on both sides.
  [[nodiscard]] Content foreign();
  void check_points(bool removes, bool reseeds, std::vector<std::string>& wrong);
  void check_next_link(std::vector<std::string>& wrong);
  void check_promotions(std::vector<std::string>& wrong);

  Begin begin_;
  MirrorOptions options_;
  std::map<std::string, Content> before_;
  Content foreign_;
  std::vector<Moment> moments_;  ///< all there were of the guest
  std::uint8_t written_ = 0;
  std::vector<std::string> started_beside_;
};

}  // namespace crossover::test
