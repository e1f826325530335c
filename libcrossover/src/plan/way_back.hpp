/// \file
/// Mirroring a promoted guest into the images that it was once copied from; see origin.hpp. Pure.
#pragma once

#include <cstddef>

#include "plan/guest_facts.hpp"
#include "plan/points.hpp"

namespace crossover {

/// True if the disk's replica is its origin, and does not say so itself yet.
bool is_to_take_back(const GuestScope& scope, std::size_t index);

/// The guest is on its way back: the snapshots it was promoted with are the bases, with their ids swapped. Throws
/// Stop if no good one is left on both sides, and Error for a record that cannot be read.
void plan_way_back(const GuestFacts& facts, const PointNames& names, const ImageState& source,
                   const ImageState& origin, DiskPlan& disk);

/// A guest goes back with all that it was promoted with; what it got since is copied. Once all disks are planned:
/// throws Stop if the origin of one is missing while there are others, and warns of what the target's configuration
/// loses.
void check_origins(const GuestFacts& facts, GuestPlan& plan);

}  // namespace crossover
