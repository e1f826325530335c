/// \file
/// The one planner of what retention removes, on either side. Pure.
#pragma once

#include <chrono>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "crossover/retention.hpp"
#include "plan/mirror_plan.hpp"
#include "plan/points.hpp"

namespace crossover {

/// One job's snapshots of one guest on one side, and what is known of them.
struct JobSnapshots {
  bool on_source = false;
  std::string label;  ///< of the job: names that parse completely and have it are its own, no others
  std::vector<std::pair<ImageRef, const ImageState*>> images;  ///< whose records say that they are this job's
  std::set<std::string> whole;  ///< points that the policy counts: what else there is takes no place of theirs
  std::set<std::string> known;  ///< points that stay as the policy says as well; other names are leftovers, and go
  std::set<std::string, std::less<>> kept;  ///< never removed
};

/// Snapshots to remove, in this order: what makes a point one goes before any snapshot. The decision is the
/// guest's, not the image's, so that a point goes from all its disks. The newest of `whole` and the newest of
/// `known` always stay; with `makes_point` a newer one is about to be made, and neither has to.
std::vector<Removal> plan_removals(const JobSnapshots& snapshots, const RetentionPolicy& policy,
                                   std::chrono::sys_seconds now, bool makes_point);

/// Snapshots to remove once a run's new recovery point is committed: this job's own, on images whose record says
/// they are this guest's (those of disks that it does not have any more included), that the side's policy does not keep; on the destination also those that never became
/// recovery points. Never the point that is made in this run: the next run starts there.
std::vector<Removal> plan_removals(const MirrorRequest& request, const Inventory& inventory,
                                   const GuestPlan& plan, const PointNames& points,
                                   std::chrono::sys_seconds now);

}  // namespace crossover
