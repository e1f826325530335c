/// \file
/// The switch of a migration: from a guest that is the source's to one that is the target's.
#pragma once

#include "engine/migration_work.hpp"

namespace crossover {

/// Takes the lease on the guest's disks and goes through the steps of a migration, each of which is recorded before
/// what it allows is done:
///
///     none -> switching -> fenced -> starting -> done
///
/// It enters where the record says that an earlier run had come to. What goes wrong is reported, and undone if it
/// can be. Throws Error if there is no lease to be had, and Cancelled.
void switch_over(MigrationWork& work);

}  // namespace crossover
