/// \file
/// Going on with a point that a cut run began. Pure.
#pragma once

#include "plan/guest_facts.hpp"
#include "plan/points.hpp"

namespace crossover {

/// A run that was cut in the middle of a point leaves records that name it. It is completed first, if nothing it
/// rests on has changed: only the same diff may be applied to a head that holds a part of it. Otherwise the plan
/// says why not. Once all disks are planned.
void plan_resumption(const GuestFacts& facts, const PointNames& names, GuestPlan& plan);

}  // namespace crossover
