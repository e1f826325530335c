#include "plan/removals.hpp"

#include <algorithm>
#include <map>

#include "crossover/snapshot_name.hpp"

namespace crossover {

namespace {

using Times = std::map<std::string, std::chrono::sys_seconds>;

/// Names that the policy lets go, out of `names`. A run's own point is the newest; it is not among them yet.
std::set<std::string> expired(const Times& times, const std::set<std::string>& names, const JobSnapshots& snapshots,
                              const RetentionPolicy& policy, std::chrono::sys_seconds now, bool makes_point) {
  std::vector<RetentionPoint> points;
  for (const auto& [name, time] : times) {
    if (names.contains(name)) points.push_back({name, time});
  }
  // One job's names sort by time, and are made in that order.
  std::sort(points.begin(), points.end(),
            [](const RetentionPoint& a, const RetentionPoint& b) { return a.time < b.time; });
  if (makes_point) {
    std::chrono::sys_seconds newest = now;
    for (const auto& [name, time] : times) newest = std::max(newest, time + std::chrono::seconds(1));
    points.push_back({"the point of this run", newest});
  }
  const std::vector<std::string> gone = plan_removals(points, policy, now, snapshots.kept);
  return {gone.begin(), gone.end()};
}

/// Our names on an image, with the moments in them.
Times times_of(const ImageState& image, const std::string& label) {
  Times times;
  for (const Snapshot& snapshot : image.snapshots) {
    const auto name = parse_snapshot_name(snapshot.name);
    if (name && name->job == label) times.emplace(snapshot.name, name->time);
  }
  return times;
}

/// Moments of the source that every disk has which was there already: a run that was killed between two disks'
/// snapshots leaves others.
std::set<std::string> whole_moments(const JobSnapshots& source) {
  std::set<std::string> whole = source.known;
  for (const auto& [ref, image] : source.images) {
    const Times here = times_of(*image, source.label);
    if (here.empty()) continue;
    const std::string& oldest = here.begin()->first;
    std::erase_if(whole, [&](const std::string& name) { return name > oldest && !here.contains(name); });
  }
  return whole;
}

bool is_copy_of_any(const ImageState& replica, const std::vector<DiskPlan>& disks) {
  const auto record = readable_record(replica).replica;
  return record && std::any_of(disks.begin(), disks.end(),
                               [&record](const DiskPlan& disk) { return disk.identity == record->source; });
}

}  // namespace

std::vector<Removal> plan_removals(const JobSnapshots& snapshots, const RetentionPolicy& policy,
                                   std::chrono::sys_seconds now, bool makes_point) {
  Times times;
  for (const auto& [ref, image] : snapshots.images) times.merge(times_of(*image, snapshots.label));
  const std::set<std::string> of_whole = expired(times, snapshots.whole, snapshots, policy, now, makes_point);
  const std::set<std::string> of_known = expired(times, snapshots.known, snapshots, policy, now, makes_point);
  const auto goes = [&](const std::string& name) {
    if (snapshots.whole.contains(name)) return of_whole.contains(name);
    if (snapshots.known.contains(name)) return of_known.contains(name);
    return !snapshots.kept.contains(name);
  };
  // A disk that lacks the point's configuration may be given it before this is carried out.
  const auto is_point = [&](const std::string& name) {
    return !snapshots.on_source &&
           std::any_of(snapshots.images.begin(), snapshots.images.end(), [&name](const auto& image) {
             return image.second->metadata.contains(std::string(point_key_prefix) + name);
           });
  };
  std::vector<Removal> removals;
  for (const auto& [ref, image] : snapshots.images) {
    for (const Snapshot& snapshot : image->snapshots) {
      const auto time = times.find(snapshot.name);
      if (time == times.end() || !goes(snapshot.name)) continue;
      removals.push_back({snapshots.on_source, ref, snapshot, now - time->second, is_point(snapshot.name)});
    }
  }
  // Half a point is never taken for a whole one.
  std::stable_partition(removals.begin(), removals.end(), [](const Removal& one) { return one.point_config; });
  return removals;
}

std::vector<Removal> plan_removals(const MirrorRequest& request, const Inventory& inventory,
                                   const GuestPlan& plan, const PointNames& points,
                                   std::chrono::sys_seconds now) {
  JobSnapshots there{.on_source = false, .label = request.job_label};
  JobSnapshots here{.on_source = true, .label = request.job_label};
  for (const FormerReplica& former : plan.former) {
    const ImageState* image = find_image(inventory.replica_images, former.image);
    // The copy of a disk that the guest has, in another pool: a run there goes on with it.
    if (image != nullptr && !is_copy_of_any(*image, plan.disks)) there.images.emplace_back(former.image, image);
  }
  for (const DiskPlan& disk : plan.disks) {
    const ImageState* replica = find_image(inventory.replica_images, disk.replica);
    if (replica != nullptr && !disk.replace && !disk.take_back && disk.replica_record.replica) {
      there.images.emplace_back(disk.replica, replica);
    }
    const ImageState* source = find_image(inventory.source_images, disk.disk.image);
    const auto& record = disk.source_record.source;
    if (source == nullptr || !record || !record->jobs.contains(request.job_label)) continue;
    here.images.emplace_back(disk.disk.image, source);
    // The recovery points of a replica that was promoted are left to a human.
    if (const auto& promoted = disk.source_record.replica; promoted && promoted->promoted) {
      for (const PointIds& point : promoted->points) {
        if (!point.adopted && find_snapshot(*source, point.name, point.replica_id) != nullptr) {
          here.kept.insert(point.name);
        }
      }
    }
    for (const auto& [name, time] : times_of(*source, request.job_label)) here.known.insert(name);
  }
  there.known = points.committed;
  std::set_difference(points.committed.begin(), points.committed.end(), points.bad.begin(), points.bad.end(),
                      std::inserter(there.whole, there.whole.end()));
  here.whole = whole_moments(here);
  std::vector<Removal> removals = plan_removals(there, request.keep_remote, now, true);
  const std::vector<Removal> on_source = plan_removals(here, request.keep_local, now, true);
  removals.insert(removals.end(), on_source.begin(), on_source.end());
  return removals;
}

}  // namespace crossover
