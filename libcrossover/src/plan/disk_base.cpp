#include "plan/disk_base.hpp"

#include <algorithm>

#include "plan/first_copy.hpp"
#include "plan/stop.hpp"

namespace crossover {

namespace {

/// Takes the newest point that both sides have. Returns the newest that was passed over as bad; empty: none was.
std::string take_base(const GuestFacts& facts, const std::vector<PointIds>& points, const ImageState& source,
                      const ImageState& replica, DiskPlan& disk) {
  std::string bad;
  for (auto point = points.rbegin(); point != points.rend(); ++point) {
    const Snapshot* there = find_snapshot(replica, point->name, point->replica_id);
    const Snapshot* here = find_snapshot(source, point->name, point->source_id);
    if (there == nullptr || here == nullptr) continue;
    if (point->bad && point->name != facts.repair.point) {
      if (bad.empty()) bad = point->name;
      continue;
    }
    disk.source_base = *here;
    disk.replica_base = *there;
    break;
  }
  return bad;
}

/// A replica that had points is not copied anew without being asked.
void stop_if_it_had_points(const GuestFacts& facts, const std::vector<PointIds>& points, const std::string& bad,
                           const DiskPlan& disk) {
  if (!bad.empty()) {
    stop_at_conflict(
        facts.scope.vmid, Conflict::no_common_base,
        "of the recovery points that {} and its replica {} both have, {} was found to differ. 'crossover verify "
        "--repair' sends what differs, --reseed makes a new copy beside the old one",
        to_string(disk.disk.image.spec), to_string(disk.replica.spec), bad);
  }
  if (points.empty()) return;
  stop_at_conflict(
      facts.scope.vmid, Conflict::no_common_base,
      "{} and its replica {} have no recovery point in common any more: one of them lost its snapshots (the "
      "newest was {}). The replica was not touched; --reseed makes a new copy beside it",
      to_string(disk.disk.image.spec), to_string(disk.replica.spec), points.back().name);
}

/// A point that was removed by hand is no reason to drop what may have been written to the head.
std::optional<Snapshot> newest_on_replica(const std::vector<PointIds>& points, const ImageState& replica) {
  for (auto point = points.rbegin(); point != points.rend(); ++point) {
    const Snapshot* there = find_snapshot(replica, point->name, point->replica_id);
    if (there != nullptr) return *there;
  }
  return std::nullopt;
}

}  // namespace

void choose_base(const GuestFacts& facts, const PointNames& names, const ImageState& source,
                 const ImageState& replica, DiskPlan& disk) {
  const ReplicaRecord& record = *disk.replica_record.replica;
  std::vector<PointIds> points = known_points(record, replica);
  std::erase_if(points,
                [&](const PointIds& point) { return !point.adopted && !names.committed.contains(point.name); });
  for (PointIds& point : points) {
    const bool own_mark = point.bad;
    point.bad = names.bad.contains(point.name) || point.name == facts.repair.point;
    // What the destination's own retention removed is not known of any more.
    if (find_snapshot(replica, point.name, point.replica_id) == nullptr) continue;
    disk.points.push_back(point);
    // Through a restricted agent nobody marks a point: each disk's record keeps the marks that it has.
    if (facts.inventory.destination.restriction) disk.points.back().bad = own_mark;
  }
  const std::string bad = take_base(facts, points, source, replica, disk);
  if (!disk.replica_base) {
    stop_if_it_had_points(facts, points, bad, disk);
    plan_again(facts, names, replica, disk);
    return;
  }
  const bool settled = record.state == ReplicaState::complete ||
                       (record.state == ReplicaState::applied && points.back().name == record.end_snapshot);
  // Otherwise it is rolled back without asking: the head is what a cut run left.
  if (settled) disk.replica_newest = newest_on_replica(points, replica);
}

}  // namespace crossover
