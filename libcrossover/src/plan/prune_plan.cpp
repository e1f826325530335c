#include "plan/prune_plan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "crossover/snapshot_name.hpp"
#include "plan/points.hpp"
#include "plan/removals.hpp"

namespace crossover {

namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& why) {
  throw Error(ErrorCode::usage, "read option", what, why);
}

/// The points between which a transfer runs that is not finished; every one if that cannot be told. One into the image
/// of a disk that the guest does not have any more is not gone on with.
void keep_ends_of_transfer(const ReplicaImage& image, JobSnapshots& snapshots) {
  const ReplicaRecord& record = image.record;
  if (!image.configured || record.state == ReplicaState::complete) return;
  if (!record.end_snapshot.empty()) snapshots.kept.insert(record.end_snapshot);
  for (const PointIds& point : known_points(record, image.state)) {
    Snapshot base;
    base.id = point.source_id;
    const bool is_base = record.transfer == transfer_id(record, base, record.end_source_id);
    if (is_base || record.transfer.empty()) snapshots.kept.insert(point.name);
  }
}

}  // namespace

PruneRequest parse_options(const std::string& vmids, const PruneOptions& options) {
  PruneRequest request;
  request.options = options;
  request.vmids = parse_vmid_list(vmids);
  for (const VmidPair& guest : request.vmids.guests) {
    if (guest.target) refuse(vmids, "a replica has one VMID here: leave the targets out");
  }
  if (options.keep_remote.empty()) {
    refuse("--keepremote", "say what stays, such as 7d or hourly=24,daily=7; 0s is the newest point alone");
  }
  request.keep = parse_retention("--keepremote", options.keep_remote);
  return request;
}

PrunePlan plan_prune(const PruneRequest& request, const Replica& replica, std::chrono::sys_seconds now) {
  PrunePlan plan;
  plan.problem = replica.problem ? replica.problem : replica.former_problem;
  if (plan.problem) return plan;
  if (const auto promotion = replica.promotion()) {
    plan.untouched =
        fmt::format("it was promoted, at {}: a human has to decide what becomes of its points", promotion->point);
    return plan;
  }
  JobSnapshots snapshots;
  snapshots.label = normalize_job(replica.images.front().record.job);
  for (const ReplicaImage& image : replica.images) {
    snapshots.images.emplace_back(image.ref, &image.state);
    for (const PointIds& point : known_points(image.record, image.state)) snapshots.known.insert(point.name);
    keep_ends_of_transfer(image, snapshots);
  }
  bool has_whole = false;
  for (const ReplicaPoint& point : replica.points) {
    if (point.config) snapshots.known.insert(point.name);
    if (!point.incomplete.empty()) continue;
    // The newest of all is where a repair starts, be it good or bad.
    if (!has_whole) snapshots.kept.insert(point.name);
    has_whole = true;
    if (!point.bad) snapshots.whole.insert(point.name);
  }
  if (const ReplicaPoint* newest = replica.newest_good()) snapshots.kept.insert(newest->name);
  // Without one nothing else can tell what is worth keeping.
  if (!has_whole) {
    plan.untouched = "it has no complete recovery point";
    return plan;
  }
  plan.removals = plan_removals(snapshots, request.keep, now, false);
  return plan;
}

}  // namespace crossover
