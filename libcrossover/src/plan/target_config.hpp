/// \file
/// What the replica's configuration and firewall rules become. Pure.
#pragma once

#include "plan/guest_facts.hpp"

namespace crossover {

/// Those of the guest now; see replica_config(), whose errors it throws. Once all disks are planned.
void plan_config(const GuestFacts& facts, GuestPlan& plan);

/// A point that is resumed has the configuration of its own moment. After plan_config().
void plan_config_of_point(const GuestFacts& facts, GuestPlan& plan);

}  // namespace crossover
