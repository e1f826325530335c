#include "plan/saved_state.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "crossover/error.hpp"
#include "plan/guest_disks.hpp"

namespace crossover {

namespace {

constexpr const char* volume_key = "vmstate";
constexpr std::array other_keys = {"runningmachine", "runningcpu", "running-nets-host-mtu"};

}  // namespace

std::optional<SavedState> saved_state(const std::string& config) {
  const VmConfig now = parse_vm_config(config);
  const auto volume = now.get(volume_key);
  if (!volume) return std::nullopt;
  SavedState state{*volume, {}};
  for (const char* key : other_keys) {
    if (const auto value = now.get(key)) state.keys.emplace_back(key, *value);
  }
  return state;
}

std::string with_saved_state(const std::string& config, const SavedState& state) {
  VmConfig changed = parse_vm_config(without_saved_state(config));
  changed.set("lock", suspended_lock);
  changed.set(volume_key, state.volume);
  for (const auto& [key, value] : state.keys) changed.set(key, value);
  return changed.to_bytes();
}

std::string without_saved_state(const std::string& config) {
  VmConfig changed = parse_vm_config(config);
  changed.remove(volume_key);
  for (const char* key : other_keys) changed.remove(key);
  return changed.to_bytes();
}

std::uint64_t state_volume_bytes(const VmConfig& config) {
  constexpr std::uint64_t default_mib = 512;
  std::string text = config.get("memory").value_or("");
  constexpr std::string_view name = "current=";
  if (text.starts_with(name)) text.erase(0, name.size());
  std::uint64_t mib = default_mib;
  if (std::from_chars(text.data(), text.data() + text.size(), mib).ec != std::errc{}) mib = default_mib;
  return (2 * mib + 500) << 20;
}

std::string state_image_name(const std::string& volume, std::uint32_t target_vmid) {
  const std::string image = volume.substr(volume.find(':') + 1);
  const RbdVolumeName name = parse_rbd_volume_name(image);
  return fmt::format("vm-{}{}", target_vmid, image.substr(std::string("vm-").size() + name.owner.size()));
}

ImageRef image_of_volume(const std::string& volume, const ClusterInventory& cluster) {
  const std::size_t colon = volume.find(':');
  const std::string id = volume.substr(0, colon);
  const auto storage = cluster.storages.rbd(id);
  if (!storage || colon == std::string::npos) {
    throw Error(ErrorCode::not_found, "find volume", volume, fmt::format("there is no RBD storage '{}'", id));
  }
  return {storage_access(cluster, *storage), image_spec(*storage, volume.substr(colon + 1))};
}

}  // namespace crossover
