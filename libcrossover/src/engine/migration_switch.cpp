#include "engine/migration_switch.hpp"

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "engine/guest_lease.hpp"
#include "engine/migration_begun.hpp"
#include "engine/migration_fenced.hpp"
#include "engine/migration_handover.hpp"
#include "engine/migration_preflight.hpp"
#include "engine/migration_shutdown.hpp"
#include "engine/migration_transfer.hpp"
#include "engine/migration_undo.hpp"
#include "engine/removal_run.hpp"
#include "engine/unexpected_error.hpp"
#include "plan/migration_check.hpp"

namespace crossover {

namespace {

class MigrationSwitch {
 public:
  /// `leased` is triggered when the lease is lost, too.
  MigrationSwitch(MigrationWork& work, std::stop_token leased) : work_(work), stop_(std::move(leased)) {}

  void run() {
    try {
      go();
    } catch (...) {
      work_.fail(failure_at_hand());
    }
  }

 private:
  void go() {
    work_.look(stop_);
    if (work_.goes_on && !work_.record) {
      throw work_.failure(
          ErrorCode::conflict,
          "another run has ended its migration meanwhile, and brought it back; nothing was done; run "
          "the same command again to move it",
          true);
    }
    if (work_.record) {
      require_as_begun(work_);
      work_.claim(*work_.record);
    }
    DownGuest down;
    std::vector<Removal> removals;
    if (!is_at(MigrationStep::starting)) {
      if (is_on_its_way_back()) make_replica_again();
      if (work_.plan.problem) return work_.fail_as_planned();
      if (!work_.record) {
        if (!is_as_checked()) return fail_with_findings(work_);
        begin();
      }
      down = take_down(work_, stop_);
      take_as_fenced(work_, down, stop_);
      removals = send_rest(work_, down.saved, stop_);
      if (work_.report.outcome != Outcome::ok) return;
      // There is more to come.
      work_.report.outcome = Outcome::failed;
    }
    hand_over(work_, std::move(down), stop_);
    remove_old_points(removals);
    work_.migration.outcome = MigrationOutcome::done;
    work_.succeed(Outcome::ok);
    work_.say(fmt::format("it is VM {} on {} now; 'crossover cleanup-source {}' removes what is left of it here",
                          work_.target_vmid, work_.target_node(), work_.vmid));
  }

  [[nodiscard]] bool is_at(MigrationStep step) const { return work_.record && work_.record->step == step; }

  /// From `starting` an earlier run went back to `switching`.
  [[nodiscard]] bool is_on_its_way_back() const { return work_.record && !work_.record->point.empty(); }

  void make_replica_again() {
    const std::string why = work_.why_not_taken_back(stop_);
    if (!why.empty()) throw work_.failure(ErrorCode::conflict, why);
    work_.require_ours();
    work_.target().demote(work_.record->point, stop_);
    work_.look(stop_);
  }

  /// Whoever was asked may have taken a day: what was changed since is looked at as all of it was.
  [[nodiscard]] bool is_as_checked() {
    if (work_.scope.config.to_bytes() == work_.checked) return true;
    work_.migration.findings = preflight(work_);
    return work_.migration.findings.empty();
  }

  /// To `switching`: writes down what the guest was, and where it goes.
  void begin() {
    const Inventory& inventory = work_.found.inventory;
    MigrationRecord record;
    record.id = random_id();
    record.job = work_.request.mirror.job_name;
    record.destination_fsid = inventory.replica_fsids.at(work_.scope.replicas.front().access);
    record.target_vmid = work_.target_vmid;
    record.was_running = work_.plan.running;
    record.onboot = work_.scope.config.get("onboot");
    record.ha_state = inventory.source.guests.at(work_.vmid).ha_state;
    record.suspends = is_suspended(work_.request, work_.plan);
    work_.begin(std::move(record));
  }

  /// The guest runs meanwhile.
  void remove_old_points(const std::vector<Removal>& removals) {
    const MirrorOptions& options = work_.request.mirror.options;
    const Ports& ports = work_.ports;
    work_.report.removed = carry_out(
        removals, {.source = {&ports.source.images, work_.plan.source_node, options.keep_local},
                   .destination = {&ports.destination.images, work_.plan.target_node, options.keep_remote},
                   .parallel = work_.request.mirror.parallel,
                   .why_kept = [] { return std::string(); },
                   .tell = [this](Event event) { work_.tell(std::move(event)); },
                   .note = [this](const std::string& warning) { work_.note(warning); }});
  }

  MigrationWork& work_;
  std::stop_token stop_;
};

}  // namespace

void switch_over(MigrationWork& work) {
  GuestLease lease(work.ports, work.vmid,
                   leased_images(surveyed_disks(work.scope, work.found.inventory.source_images)),
                   work.request.mirror.lock_wait, work.stop);
  work.lease = &lease;
  try {
    MigrationSwitch(work, lease.stop()).run();
  } catch (const Cancelled&) {
    bring_back(work, lease);
    if (work.stop.stop_requested() || !lease.lost()) throw;
    work.fail(work.failure(
        ErrorCode::locked,
        "the lease on its disks could not be renewed in time, so the run was ended; run it again", true));
    return;
  }
  if (work.report.outcome != Outcome::ok) bring_back(work, lease);
}

}  // namespace crossover
