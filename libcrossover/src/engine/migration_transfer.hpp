/// \file
/// What is left to be sent of a guest that is down.
#pragma once

#include <optional>
#include <stop_token>
#include <vector>

#include "engine/migration_work.hpp"
#include "plan/saved_state.hpp"

namespace crossover {

/// Sends its disks and its memory, side by side; how the disks fared is in the report. Returns what retention lets
/// go, for when there is time for that. Throws Error and Cancelled.
std::vector<Removal> send_rest(MigrationWork& work, const std::optional<SavedState>& saved,
                               const std::stop_token& stop);

}  // namespace crossover
