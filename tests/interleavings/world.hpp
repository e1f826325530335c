/// \file
/// Two clusters with a guest that commands are run on, and what must hold whatever they do to each other.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "support/two_clusters.hpp"

namespace crossover::test {

/// How the guest stands before the first command.
enum class Begin {
  mirrored,  ///< it runs in the east, and has a replica with three points in the west
  damaged,   ///< the same, and its newest point in the west is not what was sent
  migrated,  ///< it was moved to the west, and runs there
};

/// What is told of a command that ended.
struct Done {
  enum class How { ok, conflict, locked, failed, threw } how = How::threw;
  std::string error;
};

class World {
 public:
  explicit World(Begin begin);

  /// A command with these options, from the east or back from the west. Whatever ran before may stand still in the
  /// middle of its own.
  Done command(const std::function<void(MirrorOptions&)>& options, bool back, const std::function<Done()>& action);

  /// VM 100 in the east, and what was made of it in the west, by VMID.
  [[nodiscard]] std::size_t running() const;
  [[nodiscard]] bool is_running(bool west, std::uint32_t vmid) const;
  /// Whether the replica was made a guest that can be started. Whether it is, is a human's to say.
  [[nodiscard]] bool is_recovered();
  /// Complete recovery points of VM 99100 in the west, and what their disks hold.
  using Content = std::map<std::string, std::vector<std::byte>>;
  [[nodiscard]] std::map<std::string, Content> points();

  /// Everything that must hold once all commands have ended. `removes`: one of them removes points; `reseeds`: one of
  /// them copies the replica anew. Returns what does not hold.
  [[nodiscard]] std::vector<std::string> wrong(bool removes, bool reseeds);

  TwoClusters clusters;

 private:
  void check_points(bool removes, bool reseeds, std::vector<std::string>& wrong);
  void check_next_link(std::vector<std::string>& wrong);
  void check_promotions(std::vector<std::string>& wrong);

  Begin begin_;
  MirrorOptions options_;
  std::map<std::string, Content> before_;
  std::vector<std::string> started_beside_;
};

}  // namespace crossover::test
