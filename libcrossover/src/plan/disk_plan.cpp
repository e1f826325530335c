#include "plan/disk_plan.hpp"

#include "plan/adoption.hpp"
#include "plan/disk_base.hpp"
#include "plan/first_copy.hpp"
#include "plan/foreign_image.hpp"
#include "plan/image_check.hpp"
#include "plan/record_check.hpp"
#include "plan/replica_layout.hpp"
#include "plan/stop.hpp"
#include "plan/target_identity.hpp"
#include "plan/transfer_progress.hpp"
#include "plan/way_back.hpp"

namespace crossover {

namespace {

/// What a new copy is made beside has to be this guest's, and nobody may be using it.
ImageIdentity image_to_replace(const GuestFacts& facts, const ImageRef& ref, const SourceIdentity& identity) {
  const std::string name = to_string(ref.spec);
  const ImageState& old = *find_image(facts.inventory.replica_images, ref);
  auto record = image_record(old).replica;
  const bool origin = is_origin(facts.scope, ref);
  if (origin && record && record->promoted) record.reset();
  if (!origin && (record ? !is_our_replica(facts, ref) : !is_named_by_this_guest(facts, ref))) {
    if (!record) stop_at_taken_name(facts, name);
    stop_at_other_source(facts, name, *record, identity);
  }
  if (record && record->job != facts.request.job_name) stop_at_other_job(facts, name, *record);
  check_unwatched(facts.scope.vmid, ref, old);
  return {ref.spec, old.id};
}

const ImageState& existing_source(const GuestFacts& facts, const GuestDisk& disk) {
  const ImageState* source = find_image(facts.inventory.source_images, disk.image);
  if (source != nullptr) return *source;
  stop(ErrorCode::not_found,
       "VM {}: {} names the image {}, which does not exist; 'rbd trash ls {}' shows whether it was moved to RBD's "
       "trash, from where 'rbd trash restore' brings it back",
       facts.scope.vmid, disk.key, to_string(disk.image.spec), disk.image.spec.pool);
}

/// What is known of a disk before its replica is looked at.
DiskPlan begin_disk(const GuestFacts& facts, std::size_t index, const ImageState& source) {
  const GuestScope& scope = facts.scope;
  const Inventory& inventory = facts.inventory;
  DiskPlan disk;
  disk.disk = scope.disks.replicated[index];
  disk.replica = scope.replicas[index];
  disk.volume = scope.volumes[index];
  disk.identity = {inventory.source_fsids.at(disk.disk.image.access), source.pool_id, source.id, scope.vmid};
  disk.source_record = image_record(source);
  check_source_record(facts, disk);
  disk.layout = replica_layout(source.layout, *inventory.destination.storages.rbd(facts.request.pool));
  if (disk.replica.spec == disk.disk.image.spec &&
      inventory.replica_fsids.at(disk.replica.access) == disk.identity.fsid) {
    stop(ErrorCode::usage, "VM {}: {} would be mirrored onto itself", scope.vmid, to_string(disk.replica.spec));
  }
  return disk;
}

/// An image that has been there for longer than a run: with this job's record, or to be adopted.
void plan_with_replica(const GuestFacts& facts, const PointNames& names, const ImageState& source,
                       const ImageState& replica, DiskPlan& disk, std::vector<std::string>& warnings) {
  disk.replica_record = image_record(replica);
  disk.has_progress = replica.metadata.contains(std::string(progress_key));
  if (!disk.replica_record.replica && facts.request.options.adopt) {
    check_unwatched(facts.scope.vmid, disk.replica, replica);
    plan_adoption(facts, source, replica, disk, warnings);
  } else {
    check_replica_record(facts, disk, replica);
    choose_base(facts, names, source, replica, disk);
    if (!disk.replaces) disk.replaces = disk.replica_record.replica->replaces;
  }
}

}  // namespace

void plan_disk(const GuestFacts& facts, const PointNames& names, std::size_t index, GuestPlan& plan) {
  const GuestScope& scope = facts.scope;
  const ImageState& source = existing_source(facts, scope.disks.replicated[index]);
  DiskPlan disk = begin_disk(facts, index, source);
  if (const auto& replaced = scope.replaced[index]) {
    disk.replaces = image_to_replace(facts, *replaced, disk.identity);
    plan.reseeds = plan.reseeds || plan.replica_config_before.has_value();
  }
  const ImageState* replica = find_image(facts.inventory.replica_images, disk.replica);
  if (replica == nullptr) {
    disk.full = true;
  } else if (is_to_take_back(scope, index)) {
    check_unwatched(scope.vmid, disk.replica, *replica);
    plan_way_back(facts, names, source, *replica, disk);
  } else if (was_just_created(disk.source_record, facts.request.job_label, disk.replica, *replica)) {
    check_unwatched(scope.vmid, disk.replica, *replica);
    plan_again(facts, names, *replica, disk);
  } else {
    plan_with_replica(facts, names, source, *replica, disk, plan.warnings);
    if (const auto ranges = facts.repair.ranges.find(disk.replica); ranges != facts.repair.ranges.end()) {
      disk.repair = ranges->second;
    }
  }
  plan.disks.push_back(std::move(disk));
}

}  // namespace crossover
