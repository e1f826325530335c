#include "engine/migration_undo.hpp"

#include <fmt/format.h>

#include <string>

#include "crossover/error.hpp"
#include "engine/migration_shutdown.hpp"

namespace crossover {

namespace {

class Undo {
 public:
  Undo(MigrationWork& work, const GuestLease& lease) : work_(work), lease_(lease) {}

  void run() {
    if (!work_.record) return;
    try {
      if (is_theirs() || (may_have_run() && !take_back())) return;
      if (work_.asked) wait_until_decided(work_);
      // Another run that has it by now has other plans.
      if (lease_.lost()) return leave("the lease on its disks was lost", run_again);
      // Whoever finds it half back does not take it for one that may run there.
      work_.advance(MigrationStep::switching, work_.record->point);
      work_.say(fmt::format("bringing it back on {}", work_.plan.source_node));
      if (work_.source().bring_back(*work_.record) == Suspension::lost) {
        work_.note(fmt::format("it went down on {} before its memory was saved, which is lost: it booted anew",
                               work_.plan.source_node));
      }
      if (may_have_run()) work_.target().demote({});
      work_.target().remove_state({});
      work_.source().forget();
      work_.migration.outcome = MigrationOutcome::undone;
      work_.say(fmt::format("it is on {} again, as it was", work_.plan.source_node));
    } catch (const Error& error) {
      leave(error.what(), run_again);
    }
  }

 private:
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
  const GuestLease& lease_;
};

}  // namespace

void bring_back(MigrationWork& work, const GuestLease& lease) {
  Undo(work, lease).run();
}

}  // namespace crossover
