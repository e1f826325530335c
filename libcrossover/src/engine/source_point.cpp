#include "engine/source_point.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <utility>

#include "crossover/error.hpp"
#include "crossover/snapshot_name.hpp"
#include "engine/unexpected_error.hpp"
#include "plan/freeze_plan.hpp"
#include "plan/migration_record.hpp"
#include "plan/record.hpp"
#include "plan/replica_config.hpp"

namespace crossover {

namespace {

constexpr std::chrono::milliseconds cancel_interval{100};
/// Ceph takes a client for dead that was silent for 30 s.
constexpr std::chrono::seconds longest_wait_for_dead{40};
constexpr std::chrono::seconds watcher_interval{1};

}  // namespace

SourcePoint::SourcePoint(GuestWork& work) : work_(work) {
  for (const DiskPlan& disk : work.plan.disks) ends_.push_back(disk.source_end);
}

void SourcePoint::undo(bool recorded) noexcept {
  try {
    give_up_hold();
    if (snapshots_made_ && !recorded) remove_snapshots();
  } catch (
      ...) {  // NOLINT(bugprone-empty-catch): whoever undoes has an error to tell, and the next run mends the rest
  }
  lock_.reset();
}

void SourcePoint::lock() {
  lock_.emplace(work_.ports, work_.plan.source_node, work_.plan.vmid, work_.plan.source_config,
                work_.request.lock_wait, work_.stop);
  work_.tell({.kind = EventKind::source_locked, .subject = "backup", .host = work_.plan.source_node});
}

void SourcePoint::wait_for_foreign_lock() {
  // What an earlier run began is completed without the guest's lock, but not beside a migration that was cut: it goes
  // on with the replica that it left.
  const bool is_beside_migration =
      work_.plan.resumes && !work_.request.options.no_lock && is_fenced(work_.plan.source_config);
  const bool locks = std::any_of(work_.plan.steps.begin(), work_.plan.steps.end(),
                                 [](const Step& step) { return step.kind == StepKind::lock_source; });
  if ((!locks && !is_beside_migration) || without_lock(work_.plan.source_config) == work_.plan.source_config) return;
  (void)wait_until_unlocked(work_.ports, work_.plan.source_node, work_.plan.vmid, work_.plan.source_config,
                            work_.request.lock_wait, work_.stop);
}

void SourcePoint::unlock() {
  if (!lock_) return;
  try {
    lock_->release();
    work_.tell({.kind = EventKind::source_unlocked, .host = work_.plan.source_node});
  } catch (...) {
    work_.note(error_at_hand().what());
  }
  lock_.reset();
}

bool SourcePoint::others_watch() const {
  std::atomic<bool> others = false;
  work_.for_disks([&](const DiskPlan& disk, std::size_t) {
    const auto state = work_.source(disk).find(disk.disk.image.spec);
    if (state && state->watchers.size() > 1) others = true;
  });
  return others;
}

std::unique_ptr<GuestHold> SourcePoint::hold(HoldWay way) {
  for (std::chrono::seconds waited{0}; waited < longest_wait_for_dead && others_watch();
       waited += watcher_interval) {
    work_.ports.clock.wait(watcher_interval, work_.stop);
  }
  return work_.ports.source.hypervisor.hold_guest(way, work_.plan.source_node, work_.plan.vmid,
                                                  work_.request.freeze_timeout, work_.stop);
}

void SourcePoint::freeze() {
  std::string why;
  try {
    hold_ = hold(HoldWay::freeze);
    work_.report.frozen = true;
    work_.tell({.kind = EventKind::frozen, .host = work_.plan.source_node});
    return;
  } catch (const Error& error) {
    ++work_.totals.freeze_failed;
    // A guest that may still be frozen ends the run, whatever else was asked for.
    if (error.code() != ErrorCode::unsupported) throw;
    why = error.cause();
  }
  if (work_.request.no_agent == NoAgent::fail) {
    work_.tell({.kind = EventKind::not_frozen, .text = why});
    throw Error(ErrorCode::unsupported, "freeze",
                fmt::format("VM {} on {}", work_.plan.vmid, work_.plan.source_node),
                why + "; --no-agent=pause or crash mirrors it all the same");
  }
  if (work_.request.no_agent == NoAgent::pause) return pause(why);
  work_.tell({.kind = EventKind::not_frozen, .text = why});
  work_.report.consistency = consistency_without_freeze(why, false, work_.plan.disks.size());
  work_.note(work_.report.consistency);
}

void SourcePoint::pause() {
  pause(work_.plan.not_frozen);
}

void SourcePoint::pause(const std::string& why) {
  work_.tell({.kind = EventKind::not_frozen, .text = why});
  hold_ = hold(HoldWay::pause);
  const std::string& already = hold_->already();
  work_.report.paused = true;
  work_.report.consistency = already.empty() ? consistency_without_freeze(why, true, work_.plan.disks.size())
                                             : fmt::format("{} already: {}", already, why);
  work_.tell({.kind = EventKind::paused, .subject = already, .host = work_.plan.source_node});
}

void SourcePoint::let_go() {
  if (!hold_) return;
  const std::unique_ptr<GuestHold> hold = std::move(hold_);
  GuestReport& report = work_.report;
  try {
    report.frozen_for = hold->release();
  } catch (...) {
    if (report.frozen) ++work_.totals.freeze_failed;
    report.consistency = fmt::format("none: the {} failed", report.frozen ? "freeze" : "pause");
    report.frozen = report.paused = false;
    remove_snapshots();
    throw;
  }
  if (report.frozen) ++work_.totals.freeze_ok;
  if (!hold->already().empty()) return;
  work_.tell({.kind = report.frozen ? EventKind::thawed : EventKind::resumed,
              .host = work_.plan.source_node,
              .elapsed = report.frozen_for});
}

void SourcePoint::give_up_hold() {
  if (!hold_) return;
  const std::unique_ptr<GuestHold> hold = std::move(hold_);
  try {
    work_.report.frozen_for = hold->release();
  } catch (...) {
    // The guest may still be held, which is nobody's to keep quiet about.
    work_.note(error_at_hand().what());
  }
}

void SourcePoint::snapshot() {
  if (!hold_ && !work_.plan.not_frozen.empty()) {
    work_.tell({.kind = EventKind::not_frozen, .text = work_.plan.not_frozen});
  }
  std::vector<std::future<Snapshot>> making;
  std::optional<Error> failed;
  try {
    for (const DiskPlan& disk : work_.plan.disks) {
      making.push_back(std::async(std::launch::async, [this, &disk] {
        work_.require_live_lock(disk);
        return work_.source(disk).create_snapshot(disk.disk.image.spec, work_.plan.snapshot);
      }));
    }
  } catch (...) {
    // There is no thread for it. What was begun is waited for, and taken back.
    failed = error_at_hand();
  }
  for (std::size_t i = 0; i < making.size(); ++i) {
    // A cluster may take for ever. Whoever is cancelled meanwhile does not keep the guest waiting for it.
    while (making[i].wait_for(cancel_interval) != std::future_status::ready) {
      if (work_.stop.stop_requested()) give_up_hold();
    }
    try {
      ends_[i] = making[i].get();
      ++work_.totals.snapshot_ok;
    } catch (...) {
      ++work_.totals.snapshot_failed;
      failed = error_at_hand();
    }
  }
  if (!failed) failed = written_below();
  if (failed || work_.stop.stop_requested()) {
    give_up_hold();
    remove_snapshots();
    if (failed) throw *failed;
    throw Cancelled{};
  }
  snapshots_made_ = true;
  for (const DiskPlan& disk : work_.plan.disks) {
    work_.tell({.kind = EventKind::snapshot_created, .subject = work_.point_name(disk.disk.image)});
  }
}

std::optional<Error> SourcePoint::written_below() const try {
  for (const DiskPlan& disk : work_.plan.disks) {
    const auto& replica = disk.source_record.replica;
    if (!replica || replica->promoted) continue;
    const auto now = work_.source(disk).find(disk.disk.image.spec);
    if (now && image_record(*now).replica == replica) continue;
    return Error(ErrorCode::conflict, "snapshot", to_string(disk.disk.image.spec),
                 fmt::format("it is itself a replica, and its own {} began to write to it meanwhile; run again "
                             "once that is through",
                             describe_job(replica->job)),
                 true);
  }
  return std::nullopt;
} catch (...) {
  return error_at_hand();
}

void SourcePoint::remove_snapshots() {
  for (std::size_t i = 0; i < ends_.size(); ++i) {
    if (!ends_[i]) continue;
    const DiskPlan& disk = work_.plan.disks[i];
    try {
      work_.require_live_lock(disk);
      work_.source(disk).remove_snapshot(disk.disk.image.spec, *ends_[i]);
    } catch (...) {
      work_.note(error_at_hand().what());
    }
    ends_[i].reset();
  }
}

}  // namespace crossover
