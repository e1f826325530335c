#include "engine/source_point.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <utility>

#include "crossover/error.hpp"
#include "plan/replica_config.hpp"

namespace crossover {

SourcePoint::SourcePoint(GuestWork& work) : work_(work) {
  for (const DiskPlan& disk : work.plan.disks) ends_.push_back(disk.source_end);
}

void SourcePoint::undo() noexcept {
  freeze_.reset();
  lock_.reset();
}

void SourcePoint::lock() {
  lock_.emplace(work_.ports, work_.plan.source_node, work_.plan.vmid, work_.plan.source_config,
                work_.request.lock_wait, work_.stop);
  work_.tell({.kind = EventKind::source_locked, .subject = "backup", .host = work_.plan.source_node});
}

void SourcePoint::wait_for_foreign_lock() {
  const bool locks = std::any_of(work_.plan.steps.begin(), work_.plan.steps.end(),
                                 [](const Step& step) { return step.kind == StepKind::lock_source; });
  if (!locks || without_lock(work_.plan.source_config) == work_.plan.source_config) return;
  (void)wait_until_unlocked(work_.ports, work_.plan.source_node, work_.plan.vmid, work_.plan.source_config,
                            work_.request.lock_wait, work_.stop);
}

void SourcePoint::unlock() {
  if (!lock_) return;
  try {
    lock_->release();
    work_.tell({.kind = EventKind::source_unlocked, .host = work_.plan.source_node});
  } catch (const Error& error) {
    work_.note(error.what());
  }
  lock_.reset();
}

void SourcePoint::freeze() {
  try {
    freeze_ = work_.ports.source.hypervisor.freeze(work_.plan.source_node, work_.plan.vmid,
                                                   work_.request.freeze_timeout, work_.stop);
    work_.report.frozen = true;
    work_.tell({.kind = EventKind::frozen, .host = work_.plan.source_node});
  } catch (const Error& error) {
    ++work_.totals.freeze_failed;
    // No agent, or one that refuses, leaves a point as after a power cut, and the report says so. A guest that
    // may still be frozen ends the run.
    if (error.code() != ErrorCode::unsupported && error.code() != ErrorCode::command) throw;
    work_.report.consistency = fmt::format("not frozen: {}", error.cause());
    work_.tell({.kind = EventKind::not_frozen, .text = error.cause()});
    work_.note(fmt::format("VM {} was not frozen: {}", work_.plan.vmid, error.cause()));
  }
}

void SourcePoint::thaw() {
  if (!freeze_) return;
  const std::unique_ptr<Freeze> freeze = std::move(freeze_);
  try {
    work_.report.frozen_for = freeze->thaw();
    ++work_.totals.freeze_ok;
    work_.tell({.kind = EventKind::thawed, .host = work_.plan.source_node, .elapsed = work_.report.frozen_for});
  } catch (const Error&) {
    ++work_.totals.freeze_failed;
    work_.report.frozen = false;
    work_.report.consistency = "none: the freeze failed";
    remove_snapshots();
    throw;
  }
}

void SourcePoint::snapshot() {
  std::vector<std::future<Snapshot>> making;
  for (const DiskPlan& disk : work_.plan.disks) {
    making.push_back(std::async(std::launch::async, [this, &disk] {
      return work_.source(disk).create_snapshot(disk.disk.image.spec, work_.plan.snapshot);
    }));
  }
  std::optional<Error> failed;
  for (std::size_t i = 0; i < making.size(); ++i) {
    try {
      ends_[i] = making[i].get();
      ++work_.totals.snapshot_ok;
    } catch (const Error& error) {
      ++work_.totals.snapshot_failed;
      failed = error;
    }
  }
  if (failed) {
    freeze_.reset();
    remove_snapshots();
    throw *failed;
  }
  snapshots_made_ = true;
  for (const DiskPlan& disk : work_.plan.disks) {
    work_.tell({.kind = EventKind::snapshot_created, .subject = work_.point_name(disk.disk.image)});
  }
}

void SourcePoint::remove_snapshots() {
  for (std::size_t i = 0; i < ends_.size(); ++i) {
    if (!ends_[i]) continue;
    const DiskPlan& disk = work_.plan.disks[i];
    try {
      work_.source(disk).remove_snapshot(disk.disk.image.spec, *ends_[i]);
    } catch (const Error& error) {
      work_.note(error.what());
    }
    ends_[i].reset();
  }
}

}  // namespace crossover
