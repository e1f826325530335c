/// \file
/// How many snapshots an image may have that the kernel's client maps. Pure.
#pragma once

#include <cstddef>

#include "plan/guest_facts.hpp"

namespace crossover {

/// A kernel maps no image with more (the snapshots' ids have to fit into a page of its protocol).
inline constexpr std::size_t krbd_snapshots = 510;
/// From here on it is said.
inline constexpr std::size_t many_snapshots = 450;

/// Warns of images on storages with `krbd`, on either side, that will have many when the run is through. Throws Stop if
/// its snapshot would be one too many: the guest, or the replica, could not be started any more.
void check_snapshot_limit(const GuestFacts& facts, GuestPlan& plan);

}  // namespace crossover
