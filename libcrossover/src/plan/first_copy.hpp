/// \file
/// A disk's first copy, and the one that is begun again. Pure.
#pragma once

#include "plan/guest_facts.hpp"
#include "plan/points.hpp"

namespace crossover {

/// A run that is cut right after it created an image leaves one that says nothing. Only the source's record says
/// then that it is ours; the run that replaces it proves as well that it is empty. `source_record` is what is
/// recorded on the source's image, `image` what is at `ref`.
bool was_just_created(const ImageRecord& source_record, const std::string& job_label, const ImageRef& ref,
                      const ImageState& image);

/// A first copy that never became a recovery point: nothing in it is worth keeping, if it is only ours. Throws Stop
/// if it is not.
void plan_again(const GuestFacts& facts, const PointNames& names, const ImageState& replica, DiskPlan& disk);

}  // namespace crossover
