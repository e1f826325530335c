/// \file
/// What a configuration may not bring to a destination whose agent is restricted: whoever sends it could be root
/// there with it, or reach what is not its own. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/restriction.hpp"
#include "crossover/vm_config.hpp"

namespace crossover {

/// A line of a configuration, or a section ("[PENDING]", without a value), that is refused.
struct RefusedSetting {
  std::string key;
  std::string value;
  std::string reason;

  bool operator==(const RefusedSetting&) const = default;
};

/// Everything in the configuration of the replica `vmid` that is refused, in the order of the file. What is allowed
/// is listed, not what is refused: a key that is not known here may do anything in a later version of Proxmox VE. So
/// may a value that is not of its key's grammar; see plan/restricted_values.hpp.
std::vector<RefusedSetting> refused_settings(const VmConfig& config, std::uint32_t vmid,
                                             const Restriction& restriction);

/// Removes all of it, and returns it. Of a drive with an option that is refused only the option goes: its `value` is
/// then that option.
std::vector<RefusedSetting> remove_refused(VmConfig& config, std::uint32_t vmid, const Restriction& restriction);

/// True if the image's name is "vm-<vmid>-...", which makes it this guest's.
bool is_image_of(std::string_view image, std::uint32_t vmid) noexcept;

/// The VMID in "vm-<vmid>-..."; nothing for other names, and for those with more than letters, digits, '.', '_' and
/// '-' in them: they would mean more than a name to QEMU or rbd.
std::optional<Vmid> owner_of_image(std::string_view image) noexcept;

}  // namespace crossover
