/// \file
/// The target's part of a switch: making a replica the guest itself, and a replica again.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/ports.hpp"
#include "plan/saved_state.hpp"

namespace crossover {

/// A volume with a guest's memory.
struct StateVolume {
  std::string volume;  ///< "storage:name"
  ImageRef image;
};

/// A guest that is moved, where it goes.
class MigrationTarget {
 public:
  /// `images` are all of the replica's, `state` what its memory is copied to. What `ports` refers to has to outlive
  /// this object.
  MigrationTarget(const Ports& ports, std::uint32_t vmid, std::string node, std::vector<ImageRef> images,
                  std::optional<StateVolume> state)
      : ports_(ports), vmid_(vmid), node_(std::move(node)), images_(std::move(images)), state_(std::move(state)) {}

  [[nodiscard]] const std::string& node() const noexcept { return node_; }

  /// Marks the images as a guest's of its own, at that recovery point: no run writes into them from here on.
  void promote(const std::string& point, const std::stop_token& stop);
  /// The guest's own configuration: its `onboot`, and no lock. With what was saved of it on the source it goes on
  /// from the copy of that.
  void configure(const std::optional<std::string>& onboot, const std::optional<SavedState>& saved,
                 const std::stop_token& stop);
  /// Starts it and waits until it runs, and until its agent answers if it has one. Returns false if that does not.
  bool start(const std::stop_token& stop);

  /// Whether its QEMU runs; asked again while the connection is broken, as often as `retries` says.
  Power power(std::size_t retries, const std::stop_token& stop);
  /// Whether nothing was written to any of its disks since that recovery point.
  bool is_untouched(const std::string& point, const std::stop_token& stop);
  /// Why it may be more than a replica by now; empty: it does not run, and never did since it was made of that
  /// recovery point.
  std::string why_not_taken_back(const std::string& point, std::size_t retries, const std::stop_token& stop);
  /// Keeps it from being started, by anything but a human who means it.
  void keep_down(const std::stop_token& stop);
  /// Makes it a replica again. ErrorCode::conflict if somebody else made it a guest, at another point.
  void demote(const std::string& point, const std::stop_token& stop);

  /// Whether the copy of its memory is there.
  bool has_state();
  /// Waits until it has gone on from its memory, if it was started from that. ErrorCode::command if it ended
  /// instead.
  void wait_until_resumed(const std::stop_token& stop);
  /// Removes what is left of the copy of its memory, unless its configuration still tells of it.
  void remove_state(const std::stop_token& stop);

 private:
  [[nodiscard]] std::string subject() const;
  ConfigVersion read(const std::stop_token& stop);
  /// ErrorCode::locked if it has another lock than ours.
  ConfigVersion read_unlocked(const std::stop_token& stop);
  /// Whether an image is marked as a guest's of its own: otherwise nothing that this made can have run.
  bool is_promoted();
  bool agent_answers(const std::stop_token& stop);
  /// Does something once nobody has what it is about open any more.
  template <typename Action>
  void wait_while_in_use(const std::stop_token& stop, const Action& action);

  const Ports& ports_;
  std::uint32_t vmid_;
  std::string node_;
  std::vector<ImageRef> images_;
  std::optional<StateVolume> state_;
};

}  // namespace crossover
