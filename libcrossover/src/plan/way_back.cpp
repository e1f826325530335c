#include "plan/way_back.hpp"

#include <set>

#include "plan/migration_record.hpp"
#include "plan/stop.hpp"
#include "plan/target_identity.hpp"
#include "plan/transfer_progress.hpp"

namespace crossover {

namespace {

/// What the origin has of recovery points from when it was this disk's replica before, and the base.
std::vector<PointIds> points_with(const CommonSnapshot& base, const DiskPlan& disk, const ImageState& origin) {
  PointIds last{base.source.name, base.source.id, base.origin.id, false, true};
  std::vector<PointIds> points;
  const auto& before = disk.replica_record.replica;
  if (before && before->source == disk.identity) {
    for (const PointIds& point : before->points) {
      if (point.replica_id == last.replica_id) last.adopted = point.adopted;
      const bool is_older = point.replica_id < last.replica_id;
      if (is_older && !point.adopted && find_snapshot(origin, point.name, point.replica_id) != nullptr)
        points.push_back(point);
    }
  }
  points.push_back(last);
  return points;
}

[[noreturn]] void stop_at_lost_origin(const GuestFacts& facts, const DiskPlan& disk, const ReplicaRecord& record) {
  if (const auto& restriction = facts.inventory.destination.restriction) {
    stop(ErrorCode::permission,
         "VM {}: {} was promoted from a replica of {}, which the destination's agent does not show: it is "
         "restricted to {}",
         facts.scope.vmid, to_string(disk.disk.image.spec), record.source_image, to_string(*restriction));
  }
  stop_at_conflict(
      facts.scope.vmid, Conflict::no_common_base,
      "{} was promoted from a replica of {} (image id {}), which VM {} over there does not have any more, "
      "while it has others of the guest's disks. Nothing was touched; --reseed makes new copies beside them",
      to_string(disk.disk.image.spec), record.source_image, record.source.image_id, facts.scope.target_vmid);
}

}  // namespace

bool is_to_take_back(const GuestScope& scope, std::size_t index) {
  const auto& origin = scope.origins[index];
  return origin && !origin->taken && origin->image == scope.replicas[index];
}

void plan_way_back(const GuestFacts& facts, const PointNames& names, const ImageState& source,
                   const ImageState& origin, DiskPlan& disk) {
  if (const auto migration = migration_under_way(origin)) {
    stop(ErrorCode::conflict,
         "VM {}: VM {} over there is in the middle of its migration to VM {}; nothing was touched. That migration, run "
         "again over there, ends it",
         facts.scope.vmid, facts.scope.target_vmid, migration->target_vmid);
  }
  std::vector<ImageRef> images;
  for (const GuestDisk& one : facts.scope.disks.replicated) images.push_back(one.image);
  std::set<std::string> bad = point_names(facts.inventory.source_images, images).bad;
  bad.insert(names.bad.begin(), names.bad.end());
  const auto base = newest_common(*disk.source_record.replica, source, origin, bad);
  if (!base) {
    stop_at_conflict(
        facts.scope.vmid, Conflict::no_common_base,
        "{} was promoted from a replica of {}, and they have no good recovery point in common any more. "
        "Nothing was touched; --reseed makes a new copy beside it",
        to_string(disk.disk.image.spec), to_string(disk.replica.spec));
  }
  disk.replica_record = image_record(origin);
  disk.has_progress = origin.metadata.contains(std::string(progress_key));
  disk.take_back = true;
  disk.source_base = base->source;
  disk.replica_base = base->origin;
  disk.replica_newest = base->origin;
  disk.points = points_with(*base, disk, origin);
}

void check_origins(const GuestFacts& facts, GuestPlan& plan) {
  const GuestScope& scope = facts.scope;
  if (!goes_back(scope)) return;
  bool takes_back = false;
  for (std::size_t i = 0; i < plan.disks.size(); ++i) {
    const DiskPlan& disk = plan.disks[i];
    takes_back = takes_back || disk.take_back;
    const auto& record = disk.source_record.replica;
    if (scope.origins[i] || !record || !record->promoted || facts.request.options.reseed) continue;
    stop_at_lost_origin(facts, disk, *record);
  }
  if (!takes_back) return;
  const std::vector<std::string> lost =
      lost_on_way_back(parse_vm_config(*plan.replica_config_before), scope.target_vmid, scope.volumes);
  plan.warnings.insert(plan.warnings.end(), lost.begin(), lost.end());
}

}  // namespace crossover
