/// \file
/// Whether the records of a disk's two images let this job go from the one to the other. Pure.
#pragma once

#include "plan/guest_facts.hpp"

namespace crossover {

/// The source may be a replica itself, but a whole one, and of a job whose snapshots cannot be taken for this
/// one's; and a job has one destination. Throws Stop.
void check_source_record(const GuestFacts& facts, const DiskPlan& disk);

/// An image on the destination is written into only if its record names this very source image, job and target,
/// nobody else has it open, and no job of the same name mirrors it on. Throws Stop.
void check_replica_record(const GuestFacts& facts, const DiskPlan& disk, const ImageState& image);

}  // namespace crossover
