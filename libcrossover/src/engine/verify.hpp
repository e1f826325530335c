/// \file
/// Compares recovery points with the source's snapshots, and repairs.
#pragma once

#include <stop_token>

#include "crossover/verify_report.hpp"
#include "engine/ports.hpp"
#include "plan/verify_plan.hpp"

namespace crossover {

/// Compares the point of each guest that is meant, several guests at once, disk by disk; with `repair` a guest
/// whose point differs gets an ordinary run that sends the differing ranges too. Throws Error if nothing could be
/// done at all, Cancelled once `stop` is triggered.
VerifyReport verify(const VerifyRequest& request, const Ports& ports, std::stop_token stop);

}  // namespace crossover
