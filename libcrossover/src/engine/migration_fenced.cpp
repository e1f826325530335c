#include "engine/migration_fenced.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"
#include "engine/migration_preflight.hpp"
#include "plan/migration_record.hpp"
#include "plan/pending_changes.hpp"

namespace crossover {

namespace {

/// Disks that move, by their keys: which image, of which size.
using Disks = std::map<std::string, std::pair<ImageRef, std::uint64_t>>;

Disks disks_of(const GuestScope& scope, const ImageStates& images) {
  Disks disks;
  for (const GuestDisk& disk : scope.disks.replicated) {
    const ImageState* state = find_image(images, disk.image);
    disks[disk.key] = {disk.image, state == nullptr ? 0 : state->layout.size_bytes};
  }
  return disks;
}

std::vector<std::string> changes(const Disks& before, const Disks& now) {
  std::vector<std::string> said;
  for (const auto& [key, disk] : before) {
    const auto found = now.find(key);
    if (found == now.end()) {
      said.push_back(fmt::format("{} ({}) was taken away", key, to_string(disk.first.spec)));
    } else if (found->second.first != disk.first) {
      said.push_back(
          fmt::format("{} was {} and is {}", key, to_string(disk.first.spec), to_string(found->second.first.spec)));
    } else if (found->second.second != disk.second) {
      said.push_back(fmt::format("{} ({}) had {} bytes and has {}", key, to_string(disk.first.spec), disk.second,
                                 found->second.second));
    }
  }
  for (const auto& [key, disk] : now) {
    if (!before.contains(key)) said.push_back(fmt::format("{} ({}) was added", key, to_string(disk.first.spec)));
  }
  return said;
}

/// Sizes as they are now.
bool are_of_their_size(const MigrationWork& work, const Disks& disks) {
  for (const auto& [key, disk] : disks) {
    const auto state = work.ports.source.images.open(disk.first.access).find(disk.first.spec);
    if (!state || state->layout.size_bytes != disk.second) return false;
  }
  return true;
}

}  // namespace

void take_as_fenced(MigrationWork& work, const DownGuest& down, const std::stop_token& stop) {
  const VmConfig config = parse_vm_config(down.config);
  if (const auto keys = pending_keys(config); !keys.empty()) {
    throw work.failure(
        ErrorCode::conflict,
        fmt::format("changes of {} wait for its next start and were not applied when it went down: it was not shut "
                    "down by Proxmox VE; its next start here applies them, and after that it can be moved",
                    fmt::join(keys, ", ")));
  }
  const Disks before = disks_of(work.scope, work.found.inventory.source_images);
  const std::string seen = without_fence(without_saved_state(work.scope.config.to_bytes()), work.record->onboot);
  if (seen == without_fence(down.config, work.record->onboot) && are_of_their_size(work, before)) return;
  work.look(stop);
  work.require_ours();
  if (const auto said = changes(before, disks_of(work.scope, work.found.inventory.source_images)); !said.empty()) {
    throw work.failure(ErrorCode::conflict,
                       fmt::format("its disks were changed while it was taken down: {}; run the same command again",
                                   fmt::join(said, "; ")),
                       true);
  }
  if (work.plan.problem) {
    throw Error(work.plan.problem->code, "migrate", fmt::format("VM {}", work.vmid), work.plan.problem->text);
  }
  // The fence is nobody's who could be in its way.
  work.scope.config = config;
  work.migration.findings = preflight(work);
  if (!work.migration.findings.empty()) {
    throw work.failure(ErrorCode::unsupported, fmt::format("it was changed while it was taken down: {}",
                                                           fmt::join(work.migration.findings, "; ")));
  }
  work.say("its configuration was changed since the migration began; it moves as it is now");
}

}  // namespace crossover
