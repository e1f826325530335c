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

namespace crossover {

/// A guest that is moved, where it goes.
class MigrationTarget {
 public:
  /// `images` are all of the replica's. What `ports` refers to has to outlive this object.
  MigrationTarget(const Ports& ports, std::uint32_t vmid, std::string node, std::vector<ImageRef> images)
      : ports_(ports), vmid_(vmid), node_(std::move(node)), images_(std::move(images)) {}

  [[nodiscard]] const std::string& node() const noexcept { return node_; }

  /// Marks the images as a guest's of its own, at that recovery point: no run writes into them from here on.
  void promote(const std::string& point, const std::stop_token& stop);
  /// The guest's own configuration: its `onboot`, and no lock.
  void configure(const std::optional<std::string>& onboot, const std::stop_token& stop);
  /// Starts it and waits until it runs, and until its agent answers if it has one. Returns false if that does not.
  bool start(const std::stop_token& stop);

  /// Whether its QEMU runs; asked again while the connection is broken, as often as `retries` says.
  Power power(std::size_t retries, const std::stop_token& stop);
  /// Whether an image is marked as a guest's of its own: otherwise nothing that this made can have run.
  bool is_promoted();
  /// Whether nothing was written to any of its disks since that recovery point.
  bool is_untouched(const std::string& point, const std::stop_token& stop);
  /// Keeps it from being started, by anything but a human who means it.
  void keep_down(const std::stop_token& stop);
  /// Makes it a replica again.
  void demote(const std::stop_token& stop);

 private:
  [[nodiscard]] std::string subject() const;
  ConfigVersion read(const std::stop_token& stop);
  /// ErrorCode::locked if it has another lock than ours.
  ConfigVersion read_unlocked(const std::stop_token& stop);
  bool agent_answers(const std::stop_token& stop);

  const Ports& ports_;
  std::uint32_t vmid_;
  std::string node_;
  std::vector<ImageRef> images_;
};

}  // namespace crossover
