#include "engine/migration_begun.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "crossover/snapshot_name.hpp"
#include "engine/migration_ledger.hpp"
#include "plan/guest_disks.hpp"

namespace crossover {

void find_record(MigrationWork& work) {
  const Inventory& inventory = work.found.inventory;
  work.record.reset();
  // Which of them are mirrored depends on the options.
  for (ImageRef& image : images_of(work.scope.config, inventory.source)) {
    // One that is taken away meanwhile does not take the record with it for good.
    if (std::find(work.disks.begin(), work.disks.end(), image) == work.disks.end()) {
      work.disks.push_back(std::move(image));
    }
  }
  std::vector<FoundMigration> found;
  for (const ImageRef& image : work.disks) {
    const auto known = inventory.source_images.find(image);
    const std::optional<ImageState> state = known != inventory.source_images.end()
                                                ? known->second
                                                : work.ports.source.images.open(image.access).find(image.spec);
    if (!state) continue;
    if (auto one = found_migration(image.spec, *state)) found.push_back(std::move(*one));
  }
  // The configuration was read before the records: one that is through by now has fenced it since.
  const bool fenced =
      is_fenced(inventory.source.guests.at(work.vmid).config) || (!found.empty() && work.is_fenced_now());
  work.record = agreed_migration(found, fenced);
}

void require_as_begun(const MigrationWork& work) {
  const MigrationRecord& record = *work.record;
  if (record.step == MigrationStep::done) {
    throw work.failure(
        ErrorCode::conflict,
        fmt::format(
            "it was migrated to VM {} already, at {}; 'crossover cleanup-source {}' removes what is left of "
            "it here",
            record.target_vmid, record.point, work.vmid));
  }
  const auto& fsids = work.found.inventory.replica_fsids;
  const auto fsid = work.scope.replicas.empty() ? fsids.end() : fsids.find(work.scope.replicas.front().access);
  if (fsid == fsids.end()) {
    throw work.failure(ErrorCode::conflict,
                       "it is on its way already, and the destination does not say whether it "
                       "is the cluster it is on its way to; nothing was done",
                       true);
  }
  if (record.job != work.request.mirror.job_name || record.target_vmid != work.target_vmid ||
      fsid->second != record.destination_fsid) {
    throw work.failure(
        ErrorCode::conflict,
        fmt::format(
            "it is on its way to VM {} on the cluster {} with the {} already; end that first, with the "
            "same options",
            record.target_vmid, record.destination_fsid, describe_job(record.job)));
  }
}

}  // namespace crossover
