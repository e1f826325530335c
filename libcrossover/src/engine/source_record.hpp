/// \file
/// What a run writes on the source's images.
#pragma once

#include <optional>

#include "engine/guest_work.hpp"

namespace crossover {

/// Writes on every disk's image which job it belongs to, and which replica is being created, if that is not there
/// already.
void record_source(const GuestWork& work);

/// Writes on the image of a disk whose new point is complete that its first copy is, and what a fast diff from that
/// point has to have.
void record_complete(const GuestWork& work, const DiskPlan& disk, const std::optional<RollbackTargets>& older);

/// What was written there of the disk's base.
std::optional<RollbackTargets> older_than_base(const GuestWork& work, const DiskPlan& disk);

}  // namespace crossover
