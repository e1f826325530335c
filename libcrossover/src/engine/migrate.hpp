/// \file
/// Moving guests to another cluster.
#pragma once

#include <functional>
#include <stop_token>

#include "crossover/migrator.hpp"
#include "crossover/report.hpp"
#include "engine/ports.hpp"
#include "plan/migrate_request.hpp"

namespace crossover {

/// Migrates the guests one after the other. Each is checked, all of it before anything is touched; mirrored while
/// it runs until little is left; and switched over, if `confirm` says so: taken down and fenced on the source,
/// brought up to date, and started on the target. Whatever fails before the target may run is undone; a migration
/// that an earlier run began is gone on with from where it was. Every guest's failure is in its report. Throws
/// Error if nothing could be done at all, and Cancelled once the stop token is triggered, after what was begun was
/// undone.
MirrorReport migrate(const MigrateRequest& request, const Ports& ports, const ConfirmMigration& confirm,
                     std::stop_token stop);

}  // namespace crossover
