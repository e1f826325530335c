/// \file
/// What no plan may have in it for a destination whose agent is restricted. Pure.
#pragma once

#include "plan/guest_facts.hpp"

namespace crossover {

/// What a restricted agent would refuse in the middle is said before anything is done. Throws Stop.
void check_restriction(const GuestFacts& facts);

/// Takes the destination's removals out of the plan, and warns of them: a restricted agent carries none out.
void leave_removals_to_destination(const MirrorRequest& request, GuestPlan& plan);

}  // namespace crossover
