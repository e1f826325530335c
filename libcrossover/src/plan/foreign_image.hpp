/// \file
/// What is said of an image on the destination that this job may not write into. Pure.
#pragma once

#include <string>

#include "plan/guest_facts.hpp"

namespace crossover {

/// No record says that the image is a replica. Throws Stop.
[[noreturn]] void stop_at_taken_name(const GuestFacts& facts, const std::string& image);

/// It is the replica of something else than `identity`, the disk's. Throws Stop.
[[noreturn]] void stop_at_other_source(const GuestFacts& facts, const std::string& image,
                                       const ReplicaRecord& record, const SourceIdentity& identity);

/// It is another job's, or of another target. Throws Stop.
/// Of an image that earlier_replica() knows.
[[noreturn]] void stop_at_earlier_replica(const GuestFacts& facts, const std::string& image);

[[noreturn]] void stop_at_other_job(const GuestFacts& facts, const std::string& image, const ReplicaRecord& record);

}  // namespace crossover
