/// \file
/// What the retention of a replica removes where the replica is, without its source. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "crossover/options.hpp"
#include "crossover/retention.hpp"
#include "crossover/vmid.hpp"
#include "plan/replica.hpp"

namespace crossover {

/// The options of such a run after they were checked.
struct PruneRequest {
  VmidSelection vmids;
  RetentionPolicy keep;
  PruneOptions options;  ///< where texts and flags are read
};

/// `vmids` is "all" or VMIDs with commas between them. ErrorCode::usage names what is wrong, its value, and what is
/// expected.
PruneRequest parse_options(const std::string& vmids, const PruneOptions& options);

struct PrunePlan {
  std::vector<Removal> removals;
  std::string untouched;           ///< why there are none, though nothing is wrong
  std::optional<Problem> problem;  ///< then there are none
};

/// Never among the removals: the newest complete point, and the newest of those that are good, where a recovery or
/// the next transfer starts; what a transfer that is not finished starts from and ends in. A replica that was
/// promoted is left alone: its points are all that can tell what was written since, and a human has to decide.
PrunePlan plan_prune(const PruneRequest& request, const Replica& replica, std::chrono::sys_seconds now);

}  // namespace crossover
