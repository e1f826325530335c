/// \file
/// The one planner of what retention removes. Pure.
#pragma once

#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "plan/mirror_plan.hpp"

namespace crossover {

/// Snapshots to remove once the new recovery point is committed: this job's own, on images whose record says they
/// are this guest's, older than the side's window; on the destination also those that never became recovery points
/// (`committed` holds the names of those that did). Never the point that is made in this run.
std::vector<Removal> plan_removals(const MirrorRequest& request, const Inventory& inventory,
                                   const std::vector<DiskPlan>& disks, const std::set<std::string>& committed,
                                   std::chrono::sys_seconds now);

}  // namespace crossover
