/// \file
/// Mirroring a running guest before the switch, until little is left for the time that it is down.
#pragma once

#include "engine/migration_work.hpp"

namespace crossover {

/// Goes round after round until the next one would be short, or there were as many as were asked for. False if one
/// failed: that is in the report.
bool pre_copy(MigrationWork& work);

}  // namespace crossover
