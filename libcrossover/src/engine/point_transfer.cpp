#include "engine/point_transfer.hpp"

#include <chrono>
#include <string>
#include <utility>

#include "crossover/error.hpp"
#include "engine/counting_sink.hpp"
#include "engine/marking_sink.hpp"
#include "engine/new_image_sink.hpp"
#include "engine/replica_configuration.hpp"
#include "engine/source_record.hpp"
#include "engine/stall_guard.hpp"

namespace crossover {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

PointTransfer::PointTransfer(GuestWork& work, PointReceiver& receiver, const SourcePoint& source, FastDiff& diffs,
                             TransferSlots& slots)
    : work_(work),
      receiver_(receiver),
      source_(source),
      diffs_(diffs),
      slots_(slots),
      parts_(work.plan.disks.size()) {}

void PointTransfer::lock_replica() {
  receiver_.carry_out(StepKind::lock_replica);
  work_.tell({.kind = EventKind::replica_locked, .subject = replica_lock});
}

void PointTransfer::record_point() {
  std::vector<Snapshot> ends;
  for (std::size_t i = 0; i < work_.plan.disks.size(); ++i) ends.push_back(source_.end(i));
  recorded_ = true;
  receiver_.record_point(ends);
}

DiskReceiver& PointTransfer::part(std::size_t index) {
  std::unique_ptr<DiskReceiver>& part = parts_[index];
  if (!part) part = receiver_.receive(index, work_.stop);
  return *part;
}

void PointTransfer::transfer(std::size_t index) {
  const TransferSlots::Slot slot = slots_.enter(work_.stop);
  const DiskPlan& disk = work_.plan.disks[index];
  DiskReport& disk_report = work_.report.disks[index];
  const std::string subject = work_.point_name(disk.disk.image);
  work_.tell({.kind = EventKind::transfer_started, .subject = subject, .full = disk.full});
  if (work_.plan.resumes) {
    work_.tell({.kind = EventKind::transfer_resumed, .subject = subject, .full = disk.full, .bytes = disk.offset});
  }
  const auto begin = steady_clock::now();
  try {
    disk_report.stream_bytes = send(index) + send_repair(index);
    disk_report.duration = duration_cast<milliseconds>(steady_clock::now() - begin);
    part(index).applied();
  } catch (const Cancelled&) {
    throw;
  } catch (...) {
    const std::scoped_lock lock(work_.mutex);
    ++(disk.full ? work_.totals.full_failed : work_.totals.incremental_failed);
    throw;
  }
  disk_report.transferred = true;
  disk_report.size_bytes = source_.end(index).size_bytes;
  if (work_.plan.resumes) work_.report.resumed->disks[index].stream_bytes = disk_report.stream_bytes;
  count_transfer(disk, disk_report);
  work_.tell({.kind = EventKind::transfer_finished,
              .subject = subject,
              .full = disk.full,
              .bytes = disk_report.stream_bytes,
              .elapsed = disk_report.duration});
}

std::uint64_t PointTransfer::send(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  const std::string subject = work_.point_name(disk.disk.image);
  const auto begin = steady_clock::now();
  return send_guarded(work_.request.stall_timeout, work_.stop, subject, [&](StallGuard& guard) {
    std::unique_ptr<DiffSink> writing = part(index).write(disk.offset, guard.stop());
    if (disk.full) writing = std::make_unique<NewImageSink>(std::move(writing));
    CountingSink sink(std::make_unique<MarkingSink>(std::move(writing), work_.request.marks),
                      [&](std::uint64_t bytes) {
                        guard.progress();
                        work_.tell({.kind = EventKind::transfer_progress,
                                    .subject = subject,
                                    .full = disk.full,
                                    .bytes = bytes,
                                    .elapsed = duration_cast<milliseconds>(steady_clock::now() - begin)});
                      });
    diffs_.read(index, source_.end(index), sink, guard.stop());
    return sink.bytes();
  });
}

std::uint64_t PointTransfer::send_repair(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  if (disk.repair.empty()) return 0;
  CountingSink sink(part(index).repair(work_.stop), [](std::uint64_t) {});
  work_.source(disk).read_ranges(disk.disk.image.spec, source_.end(index), disk.repair, sink, work_.stop);
  return sink.bytes();
}

void PointTransfer::count_transfer(const DiskPlan& disk, const DiskReport& disk_report) {
  const std::scoped_lock lock(work_.mutex);
  ++(disk.full ? work_.totals.full_ok : work_.totals.incremental_ok);
  (disk.full ? work_.totals.full_bytes : work_.totals.incremental_bytes) += disk_report.stream_bytes;
}

void PointTransfer::commit() {
  work_.for_disks([&](const DiskPlan& disk, std::size_t i) {
    if (!disk.replica_end) part(i).make_snapshot();
    parts_[i].reset();
  });
  receiver_.carry_out(StepKind::commit);
  for (DiskReport& disk : work_.report.disks) disk.committed = true;
  work_.report.recovery_point = work_.plan.snapshot;
  if (work_.plan.resumes) work_.report.resumed->complete = true;
  work_.for_disks([&](const DiskPlan& disk, std::size_t i) {
    const std::optional<RollbackTargets> older = diffs_.kept(i, source_.end(i));
    if (disk.full || older) record_complete(work_, disk, older);
  });
}

void PointTransfer::write_config() {
  receiver_.carry_out(StepKind::write_config);
  work_.tell({.kind = EventKind::config_written});
  if (!work_.request.options.keep_destination_lock && !work_.plan.reseeds && !work_.plan.disks.empty()) {
    work_.tell({.kind = EventKind::replica_unlocked});
  }
}

}  // namespace crossover
