/// \file
/// The name of a run's recovery point. Pure.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "plan/guest_facts.hpp"

namespace crossover {

/// Of a run that starts at `now`. Names sort by time even if the clock was set back since the last run. Empty for a
/// guest without disks.
std::string new_point_name(const GuestFacts& facts, const std::vector<DiskPlan>& disks,
                           std::chrono::sys_seconds now);

}  // namespace crossover
