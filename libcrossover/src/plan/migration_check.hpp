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

/// What pools have left, as far as it is known.
struct FreeSpace {
  std::optional<std::uint64_t> target;  ///< the replica's pool
  std::optional<std::uint64_t> source;  ///< the pool that the memory of a guest that is suspended is saved in

  bool operator==(const FreeSpace&) const = default;
};

/// Whether the guest is suspended, not shut down: that was asked for, and it runs.
inline bool is_suspended(const MigrateRequest& request, const GuestPlan& plan) {
  return request.suspend && plan.running;
}

/// Everything that keeps the guest from being moved as it is, each with the way out; none: it can be.
std::vector<std::string> migration_findings(const MigrateRequest& request, const Inventory& inventory,
                                            const GuestScope& scope, const GuestPlan& plan, const FreeSpace& free);

}  // namespace crossover
