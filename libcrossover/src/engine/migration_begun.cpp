#include "engine/migration_begun.hpp"

#include <fmt/format.h>

#include <optional>

#include "crossover/error.hpp"
#include "plan/guest_disks.hpp"

namespace crossover {

void find_record(MigrationWork& work) {
  std::optional<MigrationRecord>& record = work.record;
  const Inventory& inventory = work.found.inventory;
  record.reset();
  if (work.scope.disks.replicated.empty()) return;
  work.record_image = work.scope.disks.replicated.front().image;
  // Which disks are mirrored, and so which is the first, depends on the options.
  for (const ImageRef& image : images_of(work.scope.config, inventory.source)) {
    const auto known = inventory.source_images.find(image);
    const std::optional<ImageState> state = known != inventory.source_images.end()
                                                ? known->second
                                                : work.ports.source.images.open(image.access).find(image.spec);
    if (state) record = migration_record(*state);
    if (!record) continue;
    work.record_image = image;
    break;
  }
  // One that is through and was taken back by hand, or by a recovery, says nothing any more.
  const GuestState& guest = inventory.source.guests.at(work.vmid);
  if (record && record->step == MigrationStep::done && !is_fenced(guest.config)) record.reset();
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
  const auto fsid = fsids.find(work.scope.replicas.front().access);
  if (record.job != work.request.mirror.job_name || record.target_vmid != work.target_vmid ||
      (fsid != fsids.end() && fsid->second != record.destination_fsid)) {
    throw work.failure(
        ErrorCode::conflict,
        fmt::format(
            "it is on its way to VM {} on the cluster {} with the job '{}' already; end that first, with the "
            "same options",
            record.target_vmid, record.destination_fsid, record.job));
  }
}

}  // namespace crossover
