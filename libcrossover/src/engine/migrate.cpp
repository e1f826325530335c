#include "engine/migrate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "crossover/error.hpp"
#include "engine/guest_lease.hpp"
#include "engine/guest_mirror.hpp"
#include "engine/guest_report.hpp"
#include "engine/in_parallel.hpp"
#include "engine/migration_begun.hpp"
#include "engine/migration_precopy.hpp"
#include "engine/migration_preflight.hpp"
#include "engine/migration_work.hpp"
#include "engine/removal_run.hpp"
#include "engine/retry.hpp"
#include "engine/state_copy.hpp"
#include "engine/survey.hpp"
#include "engine/transfer_slots.hpp"
#include "plan/guest_disks.hpp"
#include "plan/migration_check.hpp"
#include "plan/migration_steps.hpp"
#include "plan/saved_state.hpp"

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
    take_down(stop);
    bring_up_to_date(stop);
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

  void take_down(const std::stop_token& stop) {
    work_.source().take_out_of_ha(*work_.record, stop);
    const Suspension before =
        work_.record->suspends ? work_.source().settle(*work_.record, stop) : Suspension::none;
    const bool runs = work_.plan.running && before == Suspension::none;
    if (runs) end_it(stop);
    down_since_ = steady_clock::now();
    saved_ = work_.source().fence(*work_.record, stop);
    work_.source().require_stopped(stop);
    if (work_.record->suspends && !saved_) {
      work_.note(fmt::format("it went down on {} before its memory was saved, which is lost: it boots anew",
                             work_.plan.source_node));
    }
    const bool chosen = choose_volumes();
    if (work_.record->step == MigrationStep::switching) {
      work_.advance(MigrationStep::fenced);
    } else if (chosen) {
      work_.source().save(*work_.record);
    }
    work_.say(fmt::format("it is down and fenced on {}", work_.plan.source_node));
  }

  /// Takes down a guest that runs.
  void end_it(const std::stop_token& stop) {
    // An earlier run may have been asked for it in another way.
    if (work_.record->suspends != work_.request.suspend) {
      work_.record->suspends = work_.request.suspend;
      work_.source().save(*work_.record);
    }
    const auto begin = steady_clock::now();
    if (work_.record->suspends) {
      work_.say(fmt::format("suspending it on {}", work_.plan.source_node));
      work_.source().suspend(work_.state_storage(), stop);
    } else {
      work_.say(fmt::format("shutting it down on {}", work_.plan.source_node));
      shut_down(stop);
    }
    work_.migration.shutdown = since(begin);
  }

  void shut_down(const std::stop_token& stop) {
    work_.asked = true;
    try {
      work_.source().shut_down(work_.request.shutdown_timeout, work_.request.options.force_stop, stop);
    } catch (const Error& error) {
      // Who did not heed it for so long may do so yet, and is not waited for any more.
      if (error.code() == ErrorCode::timeout) {
        work_.asked = false;
        work_.note(may_go_down);
      }
      throw;
    }
    work_.asked = false;
  }

  /// Which volumes its memory is in, and comes to: to be recorded before there is anything there. Returns whether
  /// they were not chosen before.
  bool choose_volumes() {
    if (!saved_ || (work_.record->source_state == saved_->volume && !work_.record->target_state.empty()))
      return false;
    work_.record->source_state = saved_->volume;
    if (!work_.record->target_state.empty()) return true;
    const ClusterInventory& there = work_.found.inventory.destination;
    const std::string first =
        fmt::format("{}:{}", work_.request.mirror.pool, state_image_name(saved_->volume, work_.target_vmid));
    std::string volume = first;
    for (int number = 1;; ++number) {
      const ImageRef image = image_of_volume(volume, there);
      if (!work_.ports.destination.images.open(image.access).find(image.spec)) break;
      volume = fmt::format("{}-{}", first, number);
    }
    work_.record->target_state = volume;
    return true;
  }

  /// Its disks and its memory, side by side.
  void bring_up_to_date(const std::stop_token& stop) {
    if (!saved_) return mirror_disks(stop);
    std::stop_source ending;
    const std::stop_callback forward(stop, [&ending] { ending.request_stop(); });
    std::optional<Error> failed;
    std::array<bool, 2> cancelled{};
    // What fails ends the other one, which is then no failure of its own.
    in_parallel(cancelled.size(), work_.request.mirror.parallel, [&](std::size_t which) {
      try {
        if (ending.stop_requested()) throw Cancelled{};
        if (which == 0) return send_state(ending.get_token());
        mirror_disks(ending.get_token());
        if (work_.report.outcome != Outcome::ok) ending.request_stop();
      } catch (const Error& error) {
        failed = error;
        ending.request_stop();
      } catch (const Cancelled&) {
        cancelled.at(which) = true;
      }
    });
    if (stop.stop_requested()) throw Cancelled{};
    if (failed) throw Error(*failed);
    // Only the disks' failure is left to have ended anything.
    if (cancelled[0] && work_.report.outcome == Outcome::ok) throw Cancelled{};
  }

  void send_state(const std::stop_token& stop) {
    const TransferSlots::Slot slot = work_.slots.enter(stop);
    const auto begin = steady_clock::now();
    const StateVolume to = work_.state_there().value();
    const auto storage = work_.found.inventory.destination.storages.rbd(
        work_.record->target_state.substr(0, work_.record->target_state.find(':')));
    StateCopy what{.from = image_of_volume(saved_->volume, work_.found.inventory.source),
                   .to = to.image,
                   .snapshot = "crossover-migration",
                   .storage = storage.value(),
                   .stall_timeout = work_.request.mirror.stall_timeout,
                   .progress = {}};
    const std::string subject = to_string(what.from.spec);
    const auto tell_of = [&](EventKind kind, std::uint64_t bytes) {
      work_.tell({.kind = kind, .subject = subject, .full = true, .bytes = bytes, .elapsed = since(begin)});
    };
    what.progress = [&](std::uint64_t bytes) { tell_of(EventKind::transfer_progress, bytes); };
    tell_of(EventKind::transfer_started, 0);
    work_.migration.state_bytes = with_retries(work_.request.mirror.retries, work_.ports.clock, stop, [&] {
      work_.target().remove_state(stop);
      return copy_state(what, work_.ports, stop);
    });
    tell_of(EventKind::transfer_finished, work_.migration.state_bytes);
  }

  void mirror_disks(const std::stop_token& stop) {
    MirrorRequest request = work_.alone();
    // The fence is its lock.
    request.options.no_lock = true;
    request.onboot = work_.record->onboot.value_or("");
    work_.found.inventory.source.guests.at(work_.vmid).power = Power::stopped;
    work_.keep(mirror_leased_guest(request, work_.found.inventory, work_.scope, work_.ports, work_.slots,
                                   work_.totals, removals_, stop));
    if (work_.report.outcome == Outcome::ok) work_.migration.switch_bytes = sent(work_.report).bytes;
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
      saved_ = work_.source().fence(*work_.record, stop);
      work_.source().require_stopped(stop);
    }
    work_.report.recovery_point = work_.record->point;
    if (down_since_) work_.migration.transfer = since(*down_since_);
    const auto begin = steady_clock::now();
    // What this run sent is closed until it is started.
    if (fresh || there.power(work_.request.mirror.retries, stop) != Power::running) {
      if (saved_ && !fresh && !is_resumable(there, stop)) saved_.reset();
      there.promote(work_.record->point, stop);
      there.configure(work_.record->onboot, saved_, stop);
      if (!work_.request.options.no_start) {
        work_.say(fmt::format("starting VM {} on {}", work_.target_vmid, there.node()));
        if (!there.start(stop)) {
          work_.note(fmt::format("VM {} runs on {}, and its guest agent does not answer there", work_.target_vmid,
                                 there.node()));
        }
      }
    }
    if (!work_.request.options.no_start) there.wait_until_resumed(stop);
    if (down_since_) work_.migration.start = since(begin);
    work_.migration.suspended = saved_.has_value();
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
      if (work_.asked) wait_until_decided();
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

  /// A guest that goes down because it was asked to is started again; one that does not is left running.
  void wait_until_decided() {
    constexpr std::chrono::seconds interval{1};
    const auto deadline = work_.ports.clock.now() + work_.request.shutdown_timeout;
    while (work_.ports.source.power.power(work_.plan.source_node, work_.vmid, {}) != Power::stopped) {
      if (work_.ports.clock.now() >= deadline) {
        return work_.note(may_go_down);
      }
      work_.ports.clock.wait(interval, {});
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

  static constexpr const char* may_go_down = "it was asked to shut down, and may do so yet; look after it";
  static constexpr const char* run_again = "run the same command again to end the migration";

  MigrationWork& work_;
  const ConfirmMigration& confirm_;
  std::optional<SavedState> saved_;                     // what the guest goes on from
  std::optional<steady_clock::time_point> down_since_;  // by this run
  std::vector<Removal> removals_;                       // what retention lets go, once there is time for that
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
