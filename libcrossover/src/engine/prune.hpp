/// \file
/// Retention of replicas where they are.
#pragma once

#include <stop_token>

#include "crossover/replica_report.hpp"
#include "engine/replica_survey.hpp"
#include "plan/prune_plan.hpp"

namespace crossover {

/// Removes what the policy does not keep of each replica that is meant, one after the other; with `dry_run` it
/// stops after planning. A replica's failure is in its report. Throws Error if the cluster cannot be asked or has
/// no VM or replica of a VMID that was named, Cancelled if it was stopped.
PruneReport prune(const PruneRequest& request, const ReplicaPorts& ports, std::stop_token stop);

}  // namespace crossover
