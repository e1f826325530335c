/// \file
/// The preflight: what a mirror run would meet.
#pragma once

#include <stop_token>

#include "crossover/migrator.hpp"
#include "engine/ports.hpp"
#include "plan/mirror_request.hpp"

namespace crossover {

/// Surveys, plans, and says what was found. Changes nothing; throws only Cancelled.
CheckReport check(const MirrorRequest& request, const Ports& ports, std::stop_token stop);

}  // namespace crossover
