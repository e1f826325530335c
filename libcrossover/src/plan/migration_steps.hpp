/// \file
/// What a migration will do, for people. Pure.
#pragma once

#include <string>
#include <vector>

#include "plan/migrate_request.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

/// The steps that follow the first mirror run, in order, one line each. `ha_state` is the guest's, empty: it has
/// none; `state_storage` is what its memory is saved on, if it is suspended.
std::vector<std::string> migration_steps(const MigrateRequest& request, const GuestPlan& plan,
                                         const std::string& ha_state, const std::string& state_storage);

}  // namespace crossover
