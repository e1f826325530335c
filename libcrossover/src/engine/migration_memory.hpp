/// \file
/// The memory of a guest that was suspended, on its way to the other cluster.
#pragma once

#include <stop_token>

#include "engine/migration_work.hpp"
#include "plan/saved_state.hpp"

namespace crossover {

/// Chooses the volumes that the memory is in, and comes to, in the record: they are to be recorded before there is
/// anything there. Returns whether they were not chosen before.
bool choose_volumes(MigrationWork& work, const SavedState& saved);

/// Copies the memory from the one to the other, anew where the connection breaks. Throws Error and Cancelled.
void send_memory(MigrationWork& work, const SavedState& saved, const std::stop_token& stop);

}  // namespace crossover
