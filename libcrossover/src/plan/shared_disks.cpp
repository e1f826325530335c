#include "plan/shared_disks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "plan/record.hpp"
#include "plan/stop.hpp"

namespace crossover {

namespace {

/// What both are to be told.
std::string text_of(const SharedDisk& disk) {
  return fmt::format(
      "{} ({}) is {} of VM {} as well, and would be copied once for each; exclude it from one of them: 'qm set {} "
      "--{} {},backup=0'",
      disk.key, to_string(disk.image.spec), disk.other_key, disk.other, disk.other, disk.other_key, disk.other_line);
}

}  // namespace

void find_shared_disks(std::vector<GuestScope>& scopes, const ClusterInventory& source, bool all_disks) {
  std::map<std::uint32_t, GuestScope*> in_run;
  for (GuestScope& scope : scopes) in_run[scope.vmid] = &scope;
  std::multimap<std::string, std::pair<GuestScope*, const GuestDisk*>> by_name;
  for (GuestScope& scope : scopes) {
    for (const GuestDisk& disk : scope.disks.replicated) by_name.emplace(disk.image.spec.name, std::pair{&scope, &disk});
  }
  for (const auto& [vmid, guest] : source.guests) {
    std::optional<VmConfig> config;
    std::optional<GuestDisks> disks;
    for (const auto& [name, used] : by_name) {
      const auto& [scope, disk] = used;
      // Most are told apart without their configurations being read.
      if (scope->vmid == vmid || guest.config.find(name) == std::string::npos) continue;
      if (!config) config = parse_vm_config(guest.config);
      if (!disks) disks = guest_disks(*config, source, all_disks);
      const auto same = std::find_if(disks->replicated.begin(), disks->replicated.end(),
                                     [&disk = disk](const GuestDisk& other) { return other.image == disk->image; });
      if (same == disks->replicated.end()) continue;
      SharedDisk shared{disk->key, disk->image, vmid, same->key, config->get(same->key).value_or("")};
      if (in_run.contains(vmid) && !scope->problem) {
        scope->problem =
            Problem{ErrorCode::usage, fmt::format("VM {}: its disk {}", scope->vmid, text_of(shared))};
      }
      scope->shared.push_back(std::move(shared));
    }
  }
}

void plan_shared_disks(const GuestScope& scope, const ImageStates& source_images, GuestPlan& plan) {
  for (const SharedDisk& disk : scope.shared) {
    const ImageState* const image = find_image(source_images, disk.image);
    const auto record = image != nullptr ? readable_record(*image).source : std::nullopt;
    if (record && record->source.guest == disk.other && !record->jobs.empty()) {
      stop(ErrorCode::usage, "VM {}: its disk {}", scope.vmid, text_of(disk));
    }
    plan.warnings.push_back("its disk " + text_of(disk));
  }
}

}  // namespace crossover
