/// \file
/// What a guest is once it is down: what was planned of it while it ran may not be so any more.
#pragma once

#include <stop_token>

#include "engine/migration_shutdown.hpp"
#include "engine/migration_work.hpp"

namespace crossover {

/// Plans the guest from the bytes that were read for its fence: Proxmox VE applies pending changes when it shuts a
/// guest down, and anybody may have changed anything meanwhile. Throws Error with what was changed if it cannot be
/// moved as it is now: other disks or other sizes, something that stands in its way, changes that wait still; and
/// Cancelled.
void take_as_fenced(MigrationWork& work, const DownGuest& down, const std::stop_token& stop);

}  // namespace crossover
