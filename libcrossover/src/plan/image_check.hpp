/// \file
/// Whether a guest's images may be written to at all, whatever their records say of jobs and points. Pure.
#pragma once

#include <cstdint>

#include "plan/guest_facts.hpp"

namespace crossover {

/// An image that could not be looked at is not one that does not exist. Throws Stop.
void require_looked_at(std::uint32_t vmid, const ImageProblems& problems, const ImageRef& ref);

/// The same of all images that a run is about, and that Ceph lets them be written to. Throws Stop.
void require_all_looked_at(const GuestFacts& facts);

/// Whatever else there is to say of it: a replica that became a guest of its own is nothing to write into, unless
/// that guest has come here since. Throws Stop, and Error for a record that cannot be read.
void check_promoted(const GuestFacts& facts);

/// An image that somebody else has open is theirs. Throws Stop.
void check_unwatched(std::uint32_t vmid, const ImageRef& ref, const ImageState& image);

}  // namespace crossover
