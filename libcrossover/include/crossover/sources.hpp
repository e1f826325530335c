/// \file
/// The library's door for what is left of guests on the cluster they were migrated from.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "crossover/error.hpp"
#include "crossover/events.hpp"
#include "crossover/report.hpp"

namespace crossover {

/// What was, or would be, removed of one guest.
struct CleanupReport {
  std::uint32_t vmid = 0;
  std::string node;
  std::string name;
  std::uint32_t target_vmid = 0;    ///< what it is now, on the other cluster
  std::string point;                ///< the recovery point it was migrated at
  std::vector<std::string> images;  ///< every image that goes: "pool/image"
  std::vector<std::string> kept;    ///< what it names and was not migrated: "pool/image", or "storage:volume"
  bool dry_run = false;
  Outcome outcome = Outcome::failed;
  std::optional<ErrorCode> error_code;  ///< why it is not ok
  std::string error;                    ///< one line; empty if ok
  std::chrono::milliseconds duration{};
};

/// The report as one JSON object; field names are those above.
std::string to_json(const CleanupReport& report);

/// Asked, on the thread that called cleanup(), before anything is removed. False leaves everything as it is.
using ConfirmCleanup = std::function<bool(const CleanupReport& guest)>;

/// What a migration leaves on the cluster the guest came from. This host has to be a Proxmox VE node of that
/// cluster.
///
/// An object is for one thread at a time; different objects are independent of each other. Nothing is printed, no
/// signal handler is installed.
class Sources {
 public:
  /// Destroys a guest that was migrated: its configuration, the disks that its migration moved and all their
  /// snapshots. What was not moved stays, as an image that no configuration names: disks that are not attached or
  /// tell of no migration, saved states; unless `images` names it ("pool/image"). Refused, with nothing changed and
  /// Outcome::conflict in the report, unless its disks say that its migration is through, and it is stopped,
  /// fenced, closed, no replica, and no other guest's; all of that is looked at again, under the lease on its
  /// disks, right before. That the other cluster has it is what its disks say: that cluster is not asked. Throws
  /// Error if the cluster cannot be asked or has no such guest, and Cancelled once the stop token is triggered.
  CleanupReport cleanup(std::uint32_t vmid, const std::vector<std::string>& images, bool dry_run,
                        const ConfirmCleanup& confirm, EventSink& events, std::stop_token stop = {});
};

}  // namespace crossover
