/// \file
/// Making the target the guest.
#pragma once

#include <stop_token>

#include "engine/migration_shutdown.hpp"
#include "engine/migration_work.hpp"

namespace crossover {

/// From `fenced` through `starting`, from where on the target may run, to `done`: the target gets the guest's
/// configuration and is started, and what the source could go on from is removed. A run that comes later enters at
/// `starting`, with a guest of which it only knows that it should be down. Throws Error and Cancelled.
void hand_over(MigrationWork& work, DownGuest down, const std::stop_token& stop);

}  // namespace crossover
