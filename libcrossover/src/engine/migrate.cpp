#include "engine/migrate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "crossover/error.hpp"
#include "engine/guest_lease.hpp"
#include "engine/guest_report.hpp"
#include "engine/migration_begun.hpp"
#include "engine/migration_precopy.hpp"
#include "engine/migration_preflight.hpp"
#include "engine/migration_shutdown.hpp"
#include "engine/migration_transfer.hpp"
#include "engine/migration_work.hpp"
#include "engine/removal_run.hpp"
#include "engine/survey.hpp"
#include "engine/transfer_slots.hpp"
#include "plan/guest_disks.hpp"
#include "plan/migration_check.hpp"
#include "plan/migration_steps.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

milliseconds since(steady_clock::time_point begin) {
  return duration_cast<milliseconds>(steady_clock::now() - begin);
}

/// One guest's way from one cluster to the other.
class GuestMigration {
 public:
  GuestMigration(MigrationWork& work, const ConfirmMigration& confirm) : work_(work), confirm_(confirm) {}

  GuestReport run() {
    try {
      work_.look(work_.stop);
      if (work_.record) {
        go_on();
      } else {
        begin();
      }
    } catch (const Error& error) {
      work_.fail(error);
    }
    work_.report.migration = work_.migration;
    return std::move(work_.report);
  }

 private:
  // --- before the switch

  void begin() {
    work_.migration.findings = preflight(work_);
    if (!work_.migration.findings.empty()) {
      const std::optional<Problem>& problem = work_.plan.problem;
      work_.fail(work_.failure(problem ? problem->code : ErrorCode::unsupported,
                               fmt::format("{}", fmt::join(work_.migration.findings, "; "))));
      work_.report.conflict = problem ? problem->conflict : std::nullopt;
      return;
    }
    if (work_.request.mirror.options.dry_run) return plan_steps();
    if (work_.request.suspend && !work_.plan.running) {
      work_.note("it does not run, so that there is nothing to suspend: it is moved as it is, and boots there");
    }
    if (work_.plan.running && !pre_copy(work_)) return;
    work_.report.migration = work_.migration;
    if (!confirm_(work_.report)) {
      throw work_.failure(ErrorCode::usage, "it was not confirmed; the guest was not touched");
    }
    switch_over();
  }

  void plan_steps() {
    const bool suspended = is_suspended(work_.request, work_.plan);
    const std::string& ha_state = work_.found.inventory.source.guests.at(work_.vmid).ha_state;
    const std::vector<std::string> more =
        migration_steps(work_.request, work_.plan, ha_state, suspended ? work_.state_storage() : "");
    work_.report.steps.insert(work_.report.steps.end(), more.begin(), more.end());
  }

  // --- one that an earlier run began

  void go_on() {
    require_as_begun(work_);
    if (work_.request.mirror.options.dry_run) {
      work_.succeed(Outcome::planned);
      work_.report.steps = {
          fmt::format("go on with the migration to VM {} that an earlier run began", work_.target_vmid)};
      return;
    }
    work_.say("going on with the migration that an earlier run began");
    // What is there is its own doing.
    work_.report.conflict.reset();
    switch_over();
  }

  // --- the switch

  void switch_over() {
    GuestLease lease(work_.ports, work_.vmid,
                     leased_images(surveyed_disks(work_.scope, work_.found.inventory.source_images)),
                     work_.request.mirror.lock_wait, work_.stop);
    try {
      try {
        switch_leased(lease.stop());
      } catch (const Error& error) {
        work_.fail(error);
      }
    } catch (const Cancelled&) {
      undo(lease);
      if (work_.stop.stop_requested() || !lease.lost()) throw;
      work_.fail(work_.failure(
          ErrorCode::locked,
          "the lease on its disks could not be renewed in time, so the run was ended; run it again", true));
      return;
    }
    if (work_.report.outcome != Outcome::ok) undo(lease);
  }

  void switch_leased(const std::stop_token& stop) {
    work_.look(stop);
    if (work_.record) require_as_begun(work_);
    if (work_.record && work_.record->step == MigrationStep::starting) return hand_over(stop);
    if (work_.record && !work_.record->point.empty()) {
      // It was on its way back.
      const std::string why = work_.why_not_taken_back(stop);
      if (!why.empty()) throw work_.failure(ErrorCode::conflict, why);
      work_.target().demote(stop);
      work_.look(stop);
    }
    if (work_.plan.problem) {
      return work_.fail_as_planned();
    }
    if (!work_.record) record_before();
    down_ = take_down(work_, stop);
    removals_ = send_rest(work_, down_.saved, stop);
    if (work_.report.outcome != Outcome::ok) return;
    work_.report.outcome = Outcome::failed;
    hand_over(stop);
  }

  void record_before() {
    const GuestState& guest = work_.found.inventory.source.guests.at(work_.vmid);
    const ImageState& image = *work_.found.inventory.source_images.at(work_.record_image);
    MigrationRecord record;
    record.image_id = image.id;
    record.pool_id = image.pool_id;
    record.job = work_.request.mirror.job_name;
    record.destination_fsid = work_.found.inventory.replica_fsids.at(work_.scope.replicas.front().access);
    record.target_vmid = work_.target_vmid;
    record.was_running = work_.plan.running;
    record.onboot = work_.scope.config.get("onboot");
    record.ha_state = guest.ha_state;
    record.suspends = is_suspended(work_.request, work_.plan);
    work_.record = record;
    work_.source().save(*work_.record);
  }

  /// From here on the target may run.
  void hand_over(const std::stop_token& stop) {
    MigrationTarget there = work_.target();
    const bool fresh = work_.record->step != MigrationStep::starting;
    if (fresh) {
      work_.source().require_fenced(stop);
      work_.advance(MigrationStep::starting, work_.report.recovery_point);
    } else {
      // Somebody may have been at it since.
      work_.source().require_stopped(stop);
      down_.saved = work_.source().fence(*work_.record, stop);
      work_.source().require_stopped(stop);
    }
    work_.report.recovery_point = work_.record->point;
    if (down_.since) work_.migration.transfer = since(*down_.since);
    const auto begin = steady_clock::now();
    // What this run sent is closed until it is started.
    if (fresh || there.power(work_.request.mirror.retries, stop) != Power::running) {
      if (down_.saved && !fresh && !is_resumable(there, stop)) down_.saved.reset();
      there.promote(work_.record->point, stop);
      there.configure(work_.record->onboot, down_.saved, stop);
      if (!work_.request.options.no_start) {
        work_.say(fmt::format("starting VM {} on {}", work_.target_vmid, there.node()));
        if (!there.start(stop)) {
          work_.note(fmt::format("VM {} runs on {}, and its guest agent does not answer there", work_.target_vmid,
                                 there.node()));
        }
      }
    }
    if (!work_.request.options.no_start) there.wait_until_resumed(stop);
    if (down_.since) work_.migration.start = since(begin);
    work_.migration.suspended = down_.saved.has_value();
    // It goes on there: nothing may go on from the same here.
    if (!work_.record->source_state.empty()) work_.source().drop_state(*work_.record, stop);
    there.remove_state(stop);
    if (work_.request.options.ha) work_.ports.destination.power.set_ha_state(work_.target_vmid, "started", stop);
    work_.advance(MigrationStep::done, work_.record->point);
    remove_old_points();
    work_.migration.outcome = MigrationOutcome::done;
    work_.succeed(Outcome::ok);
    work_.say(fmt::format("it is VM {} on {} now; 'crossover cleanup-source {}' removes what is left of it here",
                          work_.target_vmid, there.node(), work_.vmid));
  }

  /// A memory is of the moment its disks are of.
  bool is_resumable(MigrationTarget& there, const std::stop_token& stop) {
    if (there.has_state() && there.is_untouched(work_.record->point, stop)) return true;
    work_.note(
        fmt::format("VM {} on {} had gone on already, and ended: it boots anew", work_.target_vmid, there.node()));
    return false;
  }

  /// The guest runs meanwhile.
  void remove_old_points() {
    const MirrorOptions& options = work_.request.mirror.options;
    work_.report.removed = carry_out(
        removals_, {.source = {&work_.ports.source.images, work_.plan.source_node, options.keep_local},
                    .destination = {&work_.ports.destination.images, work_.plan.target_node, options.keep_remote},
                    .parallel = work_.request.mirror.parallel,
                    .tell = [this](Event event) { work_.tell(std::move(event)); },
                    .note = [this](const std::string& warning) { work_.note(warning); }});
  }

  // --- and back

  void undo(const GuestLease& lease) {
    if (!work_.record) return;
    try {
      if (is_theirs() || (!work_.record->point.empty() && !take_back())) return;
      if (work_.asked) wait_until_decided(work_);
      // Another run that has it by now has other plans.
      if (lease.lost()) return leave("the lease on its disks was lost", run_again);
      // Whoever finds it half back does not take it for one that may run there.
      work_.advance(MigrationStep::switching, work_.record->point);
      work_.say(fmt::format("bringing it back on {}", work_.plan.source_node));
      if (work_.source().bring_back(*work_.record) == Suspension::lost) {
        work_.note(fmt::format("it went down on {} before its memory was saved, which is lost: it booted anew",
                               work_.plan.source_node));
      }
      if (!work_.record->point.empty()) work_.target().demote({});
      work_.target().remove_state({});
      work_.source().forget();
      work_.migration.outcome = MigrationOutcome::undone;
      work_.say(fmt::format("it is on {} again, as it was", work_.plan.source_node));
    } catch (const Error& error) {
      leave(error.what(), run_again);
    }
  }

  /// Somebody made the replica a guest while this one was down: it is not for us to have two.
  bool is_theirs() {
    if (work_.report.conflict != Conflict::replica_running && work_.report.conflict != Conflict::replica_promoted)
      return false;
    leave(fmt::format("VM {} was started or recovered by somebody else", work_.target_vmid),
          "decide which of the two it is to be");
    return true;
  }

  bool take_back() {
    std::string why = work_.why_not_taken_back({});
    if (why.empty()) {
      work_.target().keep_down({});
      // It cannot be started from here on; it was not between the two looks either.
      why = work_.why_not_taken_back({});
    }
    if (!why.empty()) leave(why, run_again);
    return why.empty();
  }

  void leave(const std::string& why, const std::string& advice) {
    work_.migration.outcome = MigrationOutcome::left;
    work_.migration.left_to_do.push_back(
        fmt::format("{}; VM {} is left on {} as it is now: {}", why, work_.vmid, work_.plan.source_node, advice));
    work_.warn(work_.migration.left_to_do.back());
  }

  static constexpr const char* run_again = "run the same command again to end the migration";

  MigrationWork& work_;
  const ConfirmMigration& confirm_;
  DownGuest down_;
  std::vector<Removal> removals_;  // what retention lets go, once there is time for that
};

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
  TransferSlots slots(request.mirror.parallel);
  const Survey found = survey_often(request.mirror, ports, stop);
  for (const GuestScope& guest : found.guests) {
    if (stop.stop_requested()) throw Cancelled{};
    MigrationWork work{request, guest.vmid, guest.target_vmid, ports, slots, report.totals, stop};
    report.guests.push_back(GuestMigration(work, confirm).run());
  }
  report.duration = since(begin);
  ports.events.on_event({.kind = EventKind::run_finished, .elapsed = report.duration});
  return report;
}

}  // namespace crossover
