/// \file
/// A guest's memory in a volume, as `qm suspend --todisk` leaves it, in the guest's configuration. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "crossover/vm_config.hpp"
#include "plan/inventory.hpp"

namespace crossover {

/// What `lock` is while PVE saves a guest, and once it has.
inline constexpr const char* suspending_lock = "suspending";
inline constexpr const char* suspended_lock = "suspended";

/// What `qm start` goes on from.
struct SavedState {
  std::string volume;                                     ///< "storage:name"
  std::vector<std::pair<std::string, std::string>> keys;  ///< what else PVE notes down: machine, CPU, MTUs

  bool operator==(const SavedState&) const = default;
};

/// What the configuration tells of, whatever its lock; nothing: it tells of none.
std::optional<SavedState> saved_state(const std::string& config);
/// The same configuration with it, for a start that goes on from it: `lock: suspended`.
std::string with_saved_state(const std::string& config, const SavedState& state);
/// Without it; its lock stays.
std::string without_saved_state(const std::string& config);

/// How large PVE makes the volume: twice the memory and 500 MiB.
std::uint64_t state_volume_bytes(const VmConfig& config);

/// "vm-100-state-suspend-2026-11-23" of a volume of VM 100, for another VM.
std::string state_image_name(const std::string& volume, std::uint32_t target_vmid);

/// The image that a volume on RBD is. ErrorCode::not_found if the cluster has no such storage, or not of that type.
ImageRef image_of_volume(const std::string& volume, const ClusterInventory& cluster);

}  // namespace crossover
