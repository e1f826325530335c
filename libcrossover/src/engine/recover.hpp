/// \file
/// Making a replica a guest of its own, at one of its recovery points.
#pragma once

#include <stop_token>

#include "crossover/replica_report.hpp"
#include "engine/replica_survey.hpp"
#include "plan/recover_plan.hpp"

namespace crossover {

/// Surveys, waits for a writer that was cut off, plans, and carries the plan out; with `dry_run` it stops after
/// planning. What stands in the way and what fails is in the report; after either the same call can be made again.
/// Throws Error if the cluster cannot be asked or has no such replica, Cancelled if it was stopped.
RecoverReport recover(const RecoverRequest& request, const ReplicaPorts& ports, std::stop_token stop);

}  // namespace crossover
