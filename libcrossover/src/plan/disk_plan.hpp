/// \file
/// How each of a guest's disks gets to its next point. Pure.
#pragma once

#include <cstddef>

#include "plan/guest_facts.hpp"
#include "plan/points.hpp"

namespace crossover {

/// Adds the guest's disk of that index to the plan: a first copy, what changed since a base, an adoption, or the
/// way back, as what is in the replica's place and its record say. Throws Stop if it is none of these, and Error
/// for a record that cannot be read.
void plan_disk(const GuestFacts& facts, const PointNames& names, std::size_t index, GuestPlan& plan);

}  // namespace crossover
