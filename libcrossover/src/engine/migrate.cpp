#include "engine/migrate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>

#include "crossover/error.hpp"
#include "engine/migration_begun.hpp"
#include "engine/migration_precopy.hpp"
#include "engine/migration_preflight.hpp"
#include "engine/migration_switch.hpp"
#include "engine/migration_work.hpp"
#include "engine/survey.hpp"
#include "engine/transfer_slots.hpp"
#include "engine/transfers_at_once.hpp"
#include "engine/unexpected_error.hpp"
#include "plan/migration_check.hpp"
#include "plan/migration_steps.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

void report_steps(MigrationWork& work) {
  const std::string& ha_state = work.found.inventory.source.guests.at(work.vmid).ha_state;
  const std::string storage = is_suspended(work.request, work.plan) ? work.state_storage() : "";
  for (std::string& step : migration_steps(work.request, work.plan, ha_state, storage)) {
    work.report.steps.push_back(std::move(step));
  }
}

/// A guest that no migration is under way of.
void begin(MigrationWork& work, const ConfirmMigration& confirm) {
  work.checked = work.scope.config.to_bytes();
  work.migration.findings = preflight(work);
  if (!work.migration.findings.empty()) return fail_with_findings(work);
  if (work.request.mirror.options.dry_run) return report_steps(work);
  for (const LeftOut& left_out : work.plan.left_out) {
    if (!left_out.is_disk) continue;
    work.note(
        fmt::format("{} ({}) does not move: {}; it stays here", left_out.key, left_out.value, left_out.reason));
  }
  if (work.request.suspend && !work.plan.running) {
    work.note("it does not run, so that there is nothing to suspend: it is moved as it is, and boots there");
  }
  if (work.plan.running && !pre_copy(work)) return;
  work.report.migration = work.migration;
  if (!confirm(work.report)) {
    throw work.failure(ErrorCode::usage, "it was not confirmed; the guest was not touched");
  }
  switch_over(work);
}

/// One that an earlier run began with.
void go_on(MigrationWork& work) {
  require_as_begun(work);
  if (work.request.mirror.options.dry_run) {
    work.succeed(Outcome::planned);
    work.report.steps = {
        fmt::format("go on with the migration to VM {} that an earlier run began", work.target_vmid)};
    return;
  }
  work.goes_on = true;
  work.say("going on with the migration that an earlier run began");
  // What is there is its own doing.
  work.report.conflict.reset();
  switch_over(work);
}

GuestReport migrate_guest(MigrationWork& work, const ConfirmMigration& confirm) {
  try {
    work.look(work.stop);
    if (work.record) {
      go_on(work);
    } else {
      begin(work, confirm);
    }
  } catch (...) {
    work.fail(failure_at_hand());
  }
  work.report.migration = std::move(work.migration);
  return std::move(work.report);
}

}  // namespace

MirrorReport migrate(const MigrateRequest& request, const Ports& ports, const ConfirmMigration& confirm,
                     std::stop_token stop) {
  const auto begin = steady_clock::now();
  MirrorReport report;
  report.job = request.mirror.job_name;
  report.destination = request.mirror.destination;
  report.dry_run = request.mirror.options.dry_run;
  report.started = ports.clock.now();
  ports.events.on_event({.kind = EventKind::run_started});
  const Survey found = survey_often(request.mirror, ports, stop);
  // Guests go one after the other, each with its disks and, suspended, its memory.
  std::size_t images = 0;
  for (const GuestScope& guest : found.guests) {
    images = std::max(images, guest.disks.replicated.size() + (request.suspend ? 1 : 0));
  }
  TransferSlots slots(transfers_at_once(request.mirror, images, ports.destination.images));
  for (const GuestScope& guest : found.guests) {
    if (stop.stop_requested()) throw Cancelled{};
    MigrationWork work{request, guest.vmid, guest.target_vmid, ports, slots, report.totals, stop};
    report.guests.push_back(migrate_guest(work, confirm));
  }
  report.duration = duration_cast<milliseconds>(steady_clock::now() - begin);
  ports.events.on_event({.kind = EventKind::run_finished, .elapsed = report.duration});
  return report;
}

}  // namespace crossover
