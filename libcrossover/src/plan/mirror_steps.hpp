/// \file
/// The order of a mirror run. Pure.
#pragma once

#include <vector>

#include "plan/mirror_plan.hpp"

namespace crossover {

/// What is done, in order, so that a run may be cut after any of it: to complete the point that a cut run began, to
/// make a new one, or, for a guest without disks, to write its configuration. Everything else in the plan has to be
/// there.
std::vector<Step> mirror_steps(const GuestPlan& plan, const MirrorOptions& options);

}  // namespace crossover
