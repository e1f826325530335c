/// \file
/// A whole run: survey, plan, execute, report.
#pragma once

#include <stop_token>

#include "crossover/report.hpp"
#include "engine/ports.hpp"
#include "plan/mirror_request.hpp"

namespace crossover {

/// Mirrors the guests that are meant, one after the other; one guest's failure does not keep the others from their
/// run. Throws Error if nothing could be done at all, Cancelled once `stop` is triggered.
MirrorReport mirror(const MirrorRequest& request, const Ports& ports, std::stop_token stop);

}  // namespace crossover
