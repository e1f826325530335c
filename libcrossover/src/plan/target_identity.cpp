#include "plan/target_identity.hpp"

#include <algorithm>

namespace crossover {

bool goes_back(const GuestScope& scope) {
  return std::any_of(scope.origins.begin(), scope.origins.end(),
                     [](const std::optional<Origin>& origin) { return origin.has_value(); });
}

bool is_origin(const GuestScope& scope, const ImageRef& ref) {
  return std::any_of(scope.origins.begin(), scope.origins.end(),
                     [&](const std::optional<Origin>& origin) { return origin && origin->image == ref; });
}

bool is_our_replica(const GuestFacts& facts, const ImageRef& ref) {
  const ImageState* image = find_image(facts.inventory.replica_images, ref);
  if (image == nullptr) return false;
  const auto record = image_record(*image).replica;
  if (!record || record->source.guest != facts.scope.vmid || record->target_vmid != facts.scope.target_vmid) {
    return false;
  }
  return std::any_of(facts.inventory.source_fsids.begin(), facts.inventory.source_fsids.end(),
                     [&](const auto& known) { return known.second == record->source.fsid; });
}

bool is_same_guest(const GuestScope& scope, const VmConfig& config) {
  const std::string here = scope.config.get("vmgenid").value_or("");
  return here.size() > 1 && here == config.get("vmgenid").value_or("");
}

bool is_named_by_this_guest(const GuestFacts& facts, const ImageRef& ref) {
  const GuestScope& scope = facts.scope;
  const auto present = facts.inventory.destination.guests.find(scope.target_vmid);
  return present != facts.inventory.destination.guests.end() &&
         is_same_guest(scope, parse_vm_config(present->second.config)) &&
         std::find(scope.target_images.begin(), scope.target_images.end(), ref) != scope.target_images.end();
}

bool is_unfinished_replica(const GuestScope& scope, const VmConfig& config) {
  if (config.get("lock") != "migrate") return false;
  bool has_disk = false;
  for (const Drive& drive : drives_of(config)) {
    const std::string& volume = drive.volume_text();
    if (volume == "none" || drive.is_cloudinit()) continue;
    if (std::find(scope.volumes.begin(), scope.volumes.end(), volume) == scope.volumes.end()) return false;
    has_disk = true;
  }
  return has_disk;
}

}  // namespace crossover
