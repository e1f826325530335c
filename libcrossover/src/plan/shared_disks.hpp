/// \file
/// A disk of two guests, as cluster file systems have them. Pure.
#pragma once

#include <vector>

#include "plan/mirror_plan.hpp"

namespace crossover {

/// Looks which disks of the guests are other guests' of the cluster as well (GuestScope::shared). One that two of
/// `scopes` would mirror is a problem of both: there would be two copies, neither of which is the other's.
void find_shared_disks(std::vector<GuestScope>& scopes, const ClusterInventory& source, bool all_disks);

/// Warns of the others. Throws Stop if the disk's record says that one of them is mirrored with it already.
void plan_shared_disks(const GuestScope& scope, const ImageStates& source_images, GuestPlan& plan);

}  // namespace crossover
