/// \file
/// A migration that an earlier run began: finding it, and whether it may be gone on with.
#pragma once

#include "engine/migration_work.hpp"

namespace crossover {

/// Looks for the record on all of the guest's disks. One that is through, of a guest that was taken back by hand,
/// is none.
void find_record(MigrationWork& work);

/// What was begun is gone on with only as it was begun: ErrorCode::conflict if it is through, or on its way
/// somewhere else.
void require_as_begun(const MigrationWork& work);

}  // namespace crossover
