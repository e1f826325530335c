/// \file
/// Bringing a guest back to the source when its migration went wrong.
#pragma once

#include "engine/guest_lease.hpp"
#include "engine/migration_work.hpp"

namespace crossover {

/// Brings it back as it was, from whichever step it had come to, if the records on its disks say, read right now
/// and under `lease`, that the migration is this run's, and if it is sure that nothing of it can have run on the
/// target. Else it is left as it is, and the report says why, and what is left to do. Throws neither Error nor
/// Cancelled.
void bring_back(MigrationWork& work, const GuestLease& lease);

}  // namespace crossover
