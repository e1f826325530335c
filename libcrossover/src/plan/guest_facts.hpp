/// \file
/// What the parts of one guest's planning share.
#pragma once

#include "plan/mirror_plan.hpp"

namespace crossover {

/// Everything that a guest's plan is made from. What it refers to has to outlive it.
struct GuestFacts {
  const MirrorRequest& request;
  const Inventory& inventory;
  const GuestScope& scope;
  const Repair& repair;
};

}  // namespace crossover
