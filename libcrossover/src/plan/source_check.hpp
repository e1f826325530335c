/// \file
/// Whether a guest can be mirrored from where it is. Pure.
#pragma once

#include "plan/guest_facts.hpp"

namespace crossover {

/// Finds out whether the guest runs. Throws Stop if its node cannot be asked, if it runs and --online was not
/// given, or if nothing can be locked there.
void plan_source(const GuestFacts& facts, GuestPlan& plan);

}  // namespace crossover
