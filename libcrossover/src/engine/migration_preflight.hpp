/// \file
/// What stands in the way of a guest's migration, asked of both clusters.
#pragma once

#include <string>
#include <vector>

#include "engine/migration_work.hpp"

namespace crossover {

/// Asks what only a migration has to know, free space and versions, and returns what migration_findings() makes of
/// it. Throws Error and Cancelled.
std::vector<std::string> preflight(MigrationWork& work);

/// Reports the migration's findings as what the guest failed with.
void fail_with_findings(MigrationWork& work);

}  // namespace crossover
