/// \file
/// A migration that an earlier run began: finding it, and whether it may be gone on with.
#pragma once

#include "engine/migration_work.hpp"

namespace crossover {

/// What the records on all of the guest's disks say, as they were surveyed. ErrorCode::conflict if they do not
/// agree.
void find_record(MigrationWork& work);

/// What was begun is gone on with only as it was begun: ErrorCode::conflict if it is through, or on its way
/// somewhere else, or if that cannot be told.
void require_as_begun(const MigrationWork& work);

}  // namespace crossover
