/// \file
/// What a run writes on the source's images.
#pragma once

#include <string>

#include "engine/guest_work.hpp"

namespace crossover {

/// Writes on every disk's image which job it belongs to, and which replica is being created, if that is not there
/// already.
void record_source(const GuestWork& work);

/// Writes on the image of a disk whose first copy is complete that it is.
void record_first_copy(const GuestWork& work, const DiskPlan& disk);

}  // namespace crossover
