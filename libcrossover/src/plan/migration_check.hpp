/// \file
/// What stands in the way of a guest's migration. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plan/migrate_request.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

/// What there has to be free in the target's pool besides what is to come: a pool that is full to its last byte
/// stops the whole cluster.
inline constexpr std::uint64_t space_margin_percent = 5;

/// Everything that keeps the guest from being moved as it is, each with the way out; none: it can be. `free_bytes`
/// is what the pool of its replica has left, if that is known.
std::vector<std::string> migration_findings(const MigrateRequest& request, const Inventory& inventory,
                                            const GuestScope& scope, const GuestPlan& plan,
                                            std::optional<std::uint64_t> free_bytes);

}  // namespace crossover
