#include "engine/migration_handover.hpp"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "crossover/error.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

milliseconds since(steady_clock::time_point begin) {
  return duration_cast<milliseconds>(steady_clock::now() - begin);
}

class Handover {
 public:
  Handover(MigrationWork& work, DownGuest down, const std::stop_token& stop)
      : work_(work), down_(std::move(down)), stop_(stop), here_(work.source()), there_(work.target()) {}

  void run() {
    const bool is_new = work_.record->step != MigrationStep::starting;
    if (is_new) {
      here_.require_fenced(stop_);
      work_.advance(MigrationStep::starting, work_.report.recovery_point);
    } else {
      fence_again();
    }
    work_.report.recovery_point = work_.record->point;
    MigrationReport& migration = work_.migration;
    migration.was_running = work_.record->was_running;
    if (down_.since) migration.transfer = since(*down_.since);
    const auto begin = steady_clock::now();
    // What this run sent is closed until it is started.
    if (is_new || there_.power(work_.request.mirror.retries, stop_) != Power::running) {
      if (down_.saved && !is_new && !is_resumable()) down_.saved.reset();
      bring_up();
    }
    if (!work_.request.options.no_start) there_.wait_until_resumed(stop_);
    if (down_.since) migration.start = since(begin);
    migration.suspended = down_.saved.has_value();
    let_go();
  }

 private:
  /// Somebody may have been at it since.
  void fence_again() {
    here_.require_stopped(stop_);
    down_.saved = here_.fence(*work_.record, stop_).saved;
    here_.require_stopped(stop_);
  }

  /// A memory is of the moment its disks are of.
  bool is_resumable() {
    if (there_.has_state() && there_.is_untouched(work_.record->point, stop_)) return true;
    work_.note(
        fmt::format("VM {} on {} had gone on already, and ended: it boots anew", work_.target_vmid, there_.node()));
    return false;
  }

  void bring_up() {
    work_.require_ours();
    there_.promote(work_.record->point, stop_);
    work_.require_ours();
    there_.configure(work_.record->onboot, down_.saved, stop_);
    if (work_.request.options.no_start) return;
    work_.say(fmt::format("starting VM {} on {}", work_.target_vmid, there_.node()));
    here_.require_fenced(stop_);
    work_.require_ours();
    if (there_.start(stop_)) return;
    work_.note(fmt::format("VM {} runs on {}, and its guest agent does not answer there", work_.target_vmid,
                           there_.node()));
  }

  /// It goes on there: nothing may go on from the same here.
  void let_go() {
    MigrationRecord& record = *work_.record;
    if (!record.source_state.empty()) here_.drop_state(record, stop_);
    there_.remove_state(stop_);
    if (work_.request.options.ha) {
      work_.require_ours();
      work_.ports.destination.power.set_ha_state(work_.target_vmid, "started", stop_);
    }
    work_.advance(MigrationStep::done, record.point);
  }

  MigrationWork& work_;
  DownGuest down_;
  const std::stop_token& stop_;
  MigrationSource here_;
  MigrationTarget there_;
};

}  // namespace

void hand_over(MigrationWork& work, DownGuest down, const std::stop_token& stop) {
  Handover(work, std::move(down), stop).run();
}

}  // namespace crossover
