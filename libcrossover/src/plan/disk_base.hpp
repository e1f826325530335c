/// \file
/// Where a disk's diff starts. Pure.
#pragma once

#include "plan/guest_facts.hpp"
#include "plan/points.hpp"

namespace crossover {

/// The newest good recovery point that both sides still have; the point that is repaired counts as good. What the
/// head has to be unchanged since is the replica's newest, unless a cut run left it torn. A replica that never had
/// a point is copied again. Throws Stop if there were points, and none is left in common.
void choose_base(const GuestFacts& facts, const PointNames& names, const ImageState& source,
                 const ImageState& replica, DiskPlan& disk);

}  // namespace crossover
