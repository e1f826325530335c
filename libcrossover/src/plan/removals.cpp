#include "plan/removals.hpp"

#include <algorithm>

#include "crossover/snapshot_name.hpp"

namespace crossover {

namespace {

struct Candidate {
  Snapshot snapshot;
  std::chrono::sys_seconds time;
};

/// Snapshots of this job: names that parse completely and have its label.
std::vector<Candidate> snapshots_of_job(const ImageState& image, const std::string& label) {
  std::vector<Candidate> candidates;
  for (const Snapshot& snapshot : image.snapshots) {
    const auto name = parse_snapshot_name(snapshot.name);
    if (name && name->job == label) candidates.push_back({snapshot, name->time});
  }
  return candidates;
}

/// Names the window lets go. The run's own point is the newest; it is not among the candidates yet.
std::set<std::string> expired(const std::vector<Candidate>& candidates, const RetentionPolicy& policy,
                              std::chrono::sys_seconds now) {
  std::vector<RetentionPoint> points;
  for (const Candidate& candidate : candidates) points.push_back({candidate.snapshot.name, candidate.time});
  std::chrono::sys_seconds newest = now;
  for (const Candidate& candidate : candidates) newest = std::max(newest, candidate.time + std::chrono::seconds(1));
  points.push_back({"the point of this run", newest});
  const std::vector<std::string> names = plan_removals(points, policy, now, {});
  return {names.begin(), names.end()};
}

const ImageState* look(const ImageStates& images, const ImageRef& ref) {
  const auto found = images.find(ref);
  return found == images.end() || !found->second ? nullptr : &*found->second;
}

}  // namespace

std::vector<Removal> plan_removals(const MirrorRequest& request, const Inventory& inventory,
                                   const std::vector<DiskPlan>& disks, const std::set<std::string>& committed,
                                   std::chrono::sys_seconds now) {
  std::vector<Removal> removals;
  const auto add = [&](bool on_source, const ImageRef& image, const Candidate& candidate, bool point_config) {
    removals.push_back({on_source, image, candidate.snapshot, now - candidate.time, point_config});
  };
  for (const DiskPlan& disk : disks) {
    const ImageState* replica = look(inventory.replica_images, disk.replica);
    if (replica == nullptr || disk.replace || !disk.replica_record.replica) continue;
    const std::vector<Candidate> candidates = snapshots_of_job(*replica, request.job_label);
    const std::set<std::string> gone = expired(candidates, request.keep_remote, now);
    for (const Candidate& candidate : candidates) {
      const std::string& name = candidate.snapshot.name;
      // What never became a recovery point has nothing to be kept for.
      if (!gone.contains(name) && committed.contains(name)) continue;
      add(false, disk.replica, candidate, replica->metadata.contains(std::string(point_key_prefix) + name));
    }
  }
  // What makes a point one goes before any of its snapshots: half a point is never taken for a whole one.
  std::stable_partition(removals.begin(), removals.end(), [](const Removal& one) { return one.point_config; });
  for (const DiskPlan& disk : disks) {
    const ImageState* source = look(inventory.source_images, disk.disk.image);
    const auto& record = disk.source_record.source;
    if (source == nullptr || !record || !record->jobs.contains(request.job_label)) continue;
    const std::vector<Candidate> candidates = snapshots_of_job(*source, request.job_label);
    const std::set<std::string> gone = expired(candidates, request.keep_local, now);
    for (const Candidate& candidate : candidates) {
      if (gone.contains(candidate.snapshot.name)) add(true, disk.disk.image, candidate, false);
    }
  }
  return removals;
}

}  // namespace crossover
