#include "plan/new_point.hpp"

#include "crossover/snapshot_name.hpp"

namespace crossover {

namespace {

/// Right after the newest of the job's snapshots on the image, if there is one of `time` or later.
std::chrono::sys_seconds after_snapshots(std::chrono::sys_seconds time, const ImageState* image,
                                         const std::string& label) {
  if (image == nullptr) return time;
  for (const Snapshot& snapshot : image->snapshots) {
    const auto name = parse_snapshot_name(snapshot.name);
    if (name && name->job == label && name->time >= time) time = name->time + std::chrono::seconds(1);
  }
  return time;
}

}  // namespace

std::string new_point_name(const GuestFacts& facts, const std::vector<DiskPlan>& disks,
                           std::chrono::sys_seconds now) {
  if (disks.empty()) return "";
  const std::string& label = facts.request.job_label;
  for (const DiskPlan& disk : disks) {
    now = after_snapshots(now, find_image(facts.inventory.source_images, disk.disk.image), label);
    now = after_snapshots(now, find_image(facts.inventory.replica_images, disk.replica), label);
  }
  return to_string(SnapshotName{label, now});
}

}  // namespace crossover
