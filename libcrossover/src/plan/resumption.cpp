#include "plan/resumption.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "plan/restricted_config.hpp"
#include "plan/transfer_progress.hpp"

namespace crossover {

namespace {

/// The point that is under way on any disk; nothing if there is none.
std::optional<std::string> begun_point(const PointNames& names, const std::vector<DiskPlan>& disks) {
  std::optional<std::string> point;
  for (const DiskPlan& disk : disks) {
    const auto& record = disk.replica_record.replica;
    if (record && !disk.take_back && !record->transfer.empty() && !names.committed.contains(record->end_snapshot)) {
      point = record->end_snapshot;
    }
  }
  return point;
}

const ImageState& source_image(const GuestFacts& facts, const DiskPlan& disk) {
  return *find_image(facts.inventory.source_images, disk.disk.image);
}

const ImageState& replica_image(const GuestFacts& facts, const DiskPlan& disk) {
  return *find_image(facts.inventory.replica_images, disk.replica);
}

/// Why the disk's part of the point cannot be gone on with; empty: it can.
std::string why_disk_not_resumed(const GuestFacts& facts, const DiskPlan& disk, const std::string& point) {
  const std::string replica = to_string(disk.replica.spec);
  const auto& record = disk.replica_record.replica;
  if (!record || record->transfer.empty() || record->end_snapshot != point ||
      record->state == ReplicaState::complete) {
    return fmt::format("{} has no part in it", replica);
  }
  if (find_snapshot(source_image(facts, disk), point, record->end_source_id) == nullptr) {
    return fmt::format("its snapshot of {} is gone", to_string(disk.disk.image.spec));
  }
  if (record->transfer != transfer_id(*record, disk.source_base, record->end_source_id)) {
    return fmt::format("{} and its replica do not have the base any more that it started from",
                       to_string(disk.disk.image.spec));
  }
  const auto& snapshots = replica_image(facts, disk).snapshots;
  const bool has_end = std::any_of(snapshots.begin(), snapshots.end(),
                                   [&](const Snapshot& snapshot) { return snapshot.name == point; });
  if (has_end && record->state != ReplicaState::applied) {
    return fmt::format("{} has a snapshot of that name that it cannot have yet", replica);
  }
  return "";
}

/// A point that was begun with a key that is not restricted may have a configuration that another one may not send.
std::string why_refused(const GuestFacts& facts, const PointConfig& point) {
  const auto& restriction = facts.inventory.destination.restriction;
  if (!restriction) return "";
  const std::vector<RefusedSetting> refused =
      refused_settings(parse_vm_config(point.config), facts.scope.target_vmid, *restriction);
  if (refused.empty()) return "";
  return fmt::format("the destination's agent refuses {} in its configuration: {}", refused.front().key,
                     refused.front().reason);
}

/// The same of the whole point.
std::string why_not_resumed(const GuestFacts& facts, const std::vector<DiskPlan>& disks, const std::string& point) {
  // It would be completed without what differs.
  if (!facts.repair.point.empty()) return fmt::format("for {} differs from the source", facts.repair.point);
  const PointConfig* config = nullptr;
  for (const DiskPlan& disk : disks) {
    const std::string why = why_disk_not_resumed(facts, disk, point);
    if (!why.empty()) return why;
    if (const auto& recorded = disk.replica_record.replica->point) config = &*recorded;
  }
  if (config == nullptr) return "nothing says what its configuration was";
  std::vector<std::string> images;
  for (const DiskPlan& disk : disks) images.push_back(to_string(disk.replica.spec));
  std::vector<std::string> begun = config->images;
  std::sort(images.begin(), images.end());
  std::sort(begun.begin(), begun.end());
  if (images != begun) return "the guest has other disks now";
  return why_refused(facts, *config);
}

void resume_disk(const GuestFacts& facts, const std::string& point, DiskPlan& disk) {
  const ReplicaRecord& record = *disk.replica_record.replica;
  const ImageState& replica = replica_image(facts, disk);
  disk.source_end = *find_snapshot(source_image(facts, disk), point, record.end_source_id);
  disk.applied = record.state == ReplicaState::applied;
  disk.replace = false;
  for (const Snapshot& snapshot : replica.snapshots) {
    if (snapshot.name == point) disk.replica_end = snapshot;
  }
  if (disk.applied || !disk.has_progress) return;
  const auto progress = parse_progress(replica.metadata.at(std::string(progress_key)));
  if (progress && progress->id == record.transfer) disk.offset = progress->offset;
}

}  // namespace

void plan_resumption(const GuestFacts& facts, const PointNames& names, GuestPlan& plan) {
  const auto point = begun_point(names, plan.disks);
  if (!point) return;
  plan.not_resumed = why_not_resumed(facts, plan.disks, *point);
  if (!plan.not_resumed.empty()) return;
  plan.resumes = true;
  plan.snapshot = *point;
  for (DiskPlan& disk : plan.disks) resume_disk(facts, *point, disk);
}

}  // namespace crossover
