/// \file
/// Whether a replica that no record tells of is what it looks like.
#pragma once

#include "engine/guest_work.hpp"

namespace crossover {

/// Reads the whole of the plan's base on both sides, and tells of that. ErrorCode::conflict if they differ.
void check_content(const GuestWork& work, const DiskPlan& disk);

}  // namespace crossover
