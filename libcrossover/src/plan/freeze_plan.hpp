/// \file
/// What a guest's point is worth: frozen, paused, or as if the power had failed. Pure.
#pragma once

#include <cstddef>
#include <string>

#include "plan/guest_facts.hpp"

namespace crossover {

/// What a point of that many disks is whose guest ran and was not frozen, but perhaps paused.
std::string consistency_without_freeze(const std::string& why, bool paused, std::size_t disks);

/// Decides what is done to a guest while its snapshots are made, and warns if that is nothing. Throws Stop if it
/// should be frozen and cannot be, and --no-agent says to fail then.
void plan_freeze(const GuestFacts& facts, GuestPlan& plan);

}  // namespace crossover
