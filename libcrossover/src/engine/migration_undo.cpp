#include "engine/migration_undo.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <string>

#include "crossover/error.hpp"
#include "engine/migration_shutdown.hpp"
#include "engine/unexpected_error.hpp"

namespace crossover {

namespace {

class Undo {
 public:
  Undo(MigrationWork& work, const GuestLease& lease) : work_(work), lease_(lease) {}

  void run() {
    if (!work_.has_it) return leave_to_others();
    try {
      if (!is_ours() || is_theirs() || (may_have_run() && !take_back())) return;
      if (work_.asked) wait_until_decided(work_);
      // Whoever finds it half back does not take it for one that may run there.
      work_.require_ours();
      work_.advance(MigrationStep::switching, work_.record->point);
      work_.say(fmt::format("bringing it back on {}", work_.plan.source_node));
      if (work_.source().bring_back(*work_.record) == Suspension::lost) {
        work_.note(fmt::format("it went down on {} before its memory was saved, which is lost: it booted anew",
                               work_.plan.source_node));
      }
      work_.require_ours();
      if (may_have_run()) work_.target().demote(work_.record->point, {});
      work_.target().remove_state({});
      work_.ledger().forget(*work_.record);
      work_.migration.outcome = MigrationOutcome::undone;
      work_.say(fmt::format("it is on {} again, as it was", work_.plan.source_node));
    } catch (...) {
      leave(error_at_hand().what(), run_again());
    }
  }

 private:
  /// This run has done nothing yet, so that there is nothing of its own to undo.
  void leave_to_others() {
    if (!work_.record || work_.record->step == MigrationStep::done) return;
    leave("this run had not begun to go on with its migration", run_again());
  }

  /// What the records say at this very moment is what is undone, and only if they say that it is this run's.
  bool is_ours() {
    if (lease_.lost()) {
      leave("the lease on its disks was lost", run_again());
      return false;
    }
    const auto now = work_.ledger().read();
    if (!now) {
      if (work_.record) leave("another run has ended its migration meanwhile", look_where_it_is(work_.target_vmid));
      return false;
    }
    if (now->run != work_.run) {
      // What an earlier run began, and this one could not write its name to.
      const bool untouched = work_.record && work_.record->run == now->run;
      leave(untouched ? "this run could not write down that it goes on with its migration"
                      : "another run has gone on with its migration meanwhile",
            untouched ? run_again() : look_where_it_is(now->target_vmid));
      return false;
    }
    work_.record = now;
    return true;
  }

  /// Somebody made the replica a guest while this one was down: it is not for us to have two.
  bool is_theirs() {
    const auto conflict = work_.report.conflict;
    if (conflict != Conflict::replica_running && conflict != Conflict::replica_promoted) return false;
    leave(fmt::format("VM {} was started or recovered by somebody else", work_.target_vmid),
          "decide which of the two it is to be");
    return true;
  }

  /// Whether the migration had come to where the target is made the guest.
  [[nodiscard]] bool may_have_run() const { return !work_.record->point.empty(); }

  /// Keeps the target down, if it is and always was. Otherwise the guest is left.
  bool take_back() {
    std::string why = work_.why_not_taken_back({});
    if (why.empty()) {
      work_.require_ours();
      work_.target().keep_down({});
      // It cannot be started from here on; it was not between the two looks either.
      why = work_.why_not_taken_back({});
    }
    if (!why.empty()) leave(why, run_again());
    return why.empty();
  }

  void leave(const std::string& why, const std::string& advice) {
    work_.migration.outcome = MigrationOutcome::left;
    work_.migration.left_to_do.push_back(
        fmt::format("{}; VM {} is left on {} as it is now: {}", why, work_.vmid, work_.plan.source_node, advice));
    work_.warn(work_.migration.left_to_do.back());
  }

  [[nodiscard]] std::string run_again() const {
    const MirrorRequest& request = work_.request.mirror;
    return fmt::format(
        "run the same command again to end the migration ('crossover mirror --migrate --vmid={}:{} "
        "--destination={} --pool={}{}', with the other options it was begun with)",
        work_.vmid, work_.target_vmid, request.destination, request.pool,
        request.job_name.empty() ? "" : fmt::format(" --jobname='{}'", request.job_name));
  }

  /// For a migration that is somebody else's.
  [[nodiscard]] std::string look_where_it_is(std::uint32_t target_vmid) const {
    return fmt::format("'qm status {}' on {}, and 'qm status {}' over there, say where it runs", work_.vmid,
                       work_.plan.source_node, target_vmid);
  }

  MigrationWork& work_;
  const GuestLease& lease_;
};

}  // namespace

void bring_back(MigrationWork& work, const GuestLease& lease) {
  Undo(work, lease).run();
}

}  // namespace crossover
