/// \file
/// Taking a guest down on the source so that it stays down.
#pragma once

#include <chrono>
#include <optional>
#include <stop_token>
#include <string>

#include "engine/migration_work.hpp"
#include "plan/saved_state.hpp"

namespace crossover {

/// A guest that is down.
struct DownGuest {
  std::optional<std::chrono::steady_clock::time_point> since;  ///< nothing: it was before this run
  std::string config;               ///< its bytes as they were read for the fence, without it
  std::optional<SavedState> saved;  ///< what it goes on from; nothing: it boots
};

/// From `switching` to `fenced`; a run that comes later makes sure of it again. The guest is taken out of high
/// availability's hands, shut down or suspended if it runs, and fenced. Throws Error and Cancelled; then it may be
/// down or not.
DownGuest take_down(MigrationWork& work, const std::stop_token& stop);

/// Waits until a guest that was asked to shut down, and was not waited for then, has done so; if it does not in
/// that time, a warning says that it may yet. Throws Error.
void wait_until_decided(MigrationWork& work);

}  // namespace crossover
