#include "engine/replica_point.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"
#include "engine/counting_sink.hpp"
#include "engine/marking_sink.hpp"
#include "engine/source_record.hpp"
#include "engine/stall_guard.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// The metadata of an image can be read by more people than /etc/pve, and `rbd` takes it as an argument.
std::string without_password(const std::string& config) {
  VmConfig changed = parse_vm_config(config);
  changed.remove("cipassword");
  return changed.to_bytes();
}

}  // namespace

ReplicaPoint::ReplicaPoint(GuestWork& work, const SourcePoint& source, TransferSlots& slots)
    : work_(work), source_(source), slots_(slots) {
  holds_.resize(work.plan.disks.size());
  records_.reserve(work.plan.disks.size());
  for (const DiskPlan& disk : work.plan.disks) {
    marked_.push_back(disk.has_progress ? 1 : 0);
    records_.push_back(disk.replica_record);
    if (records_.back().replica) records_.back().replica->points = disk.points;
  }
}

ImageHold& ReplicaPoint::hold(std::size_t index) {
  std::unique_ptr<ImageHold>& hold = holds_[index];
  if (hold) return *hold;
  const DiskPlan& disk = work_.plan.disks[index];
  try {
    hold = work_.destination(disk).hold(disk.replica.spec, work_.stop);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::in_use) throw;
    // What a dead writer left was waited for; whoever it is now has a reason.
    throw Error(error.code(), "check replica", error.subject(), error.cause());
  }
  if (image_record(hold->state()) != disk.replica_record) {
    throw Error(ErrorCode::conflict, "check replica", to_string(disk.replica.spec),
                "its record changed since it was read; run again", true);
  }
  return *hold;
}

void ReplicaPoint::save_record(std::size_t index) {
  holds_[index]->set_metadata(std::string(record_key), render_record(records_[index]));
}

void ReplicaPoint::create_image(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  ImageStore& store = work_.destination(disk);
  if (disk.replace) {
    if (!work_.plan.not_resumed.empty()) {
      work_.note(fmt::format("the first copy of {} begins anew: {}", to_string(disk.replica.spec), given_up(disk)));
    }
    remove_unfinished(index);
  }
  store.create(disk.replica.spec, disk.layout);
  holds_[index] = store.hold(disk.replica.spec, work_.stop);
  const ImageState created = holds_[index]->state();
  ReplicaRecord record;
  record.source = disk.identity;
  record.source_image = to_string(disk.disk.image.spec);
  record.job = work_.request.job_name;
  record.target_vmid = work_.plan.target_vmid;
  record.image_id = created.id;
  record.pool_id = created.pool_id;
  records_[index] = {record, std::nullopt};
  save_record(index);
}

void ReplicaPoint::remove_unfinished(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  ImageStore& store = work_.destination(disk);
  if (!store.find(disk.replica.spec)) return;
  const ImageState image = hold(index).state();
  // What is open cannot be removed.
  holds_[index].reset();
  if (!disk.replica_record.replica) require_empty(disk, store, image);
  for (const Snapshot& snapshot : image.snapshots) store.remove_snapshot(disk.replica.spec, snapshot);
  store.remove(disk.replica.spec);
}

void ReplicaPoint::require_empty(const DiskPlan& disk, ImageStore& store, const ImageState& image) const {
  const ImageSpec& spec = disk.replica.spec;
  const auto require_empty_at = [&](const Snapshot& snapshot) {
    constexpr std::uint64_t block_bytes = std::uint64_t{4} << 20;
    const std::uint64_t blocks = (snapshot.size_bytes + block_bytes - 1) / block_bytes;
    const auto refuse = [&spec](const BlockHash& /*hash*/) {
      throw Error(
          ErrorCode::conflict, "replace image", to_string(spec),
          "it is not empty and no record says that it is a replica; it was not touched. Remove or rename it, "
          "or choose another target VMID");
    };
    store.hash_blocks(spec, snapshot, {.block_bytes = block_bytes, .ranges = {{0, blocks * block_bytes}}}, refuse,
                      work_.stop);
  };
  const Snapshot head = store.create_snapshot(spec, work_.plan.snapshot);
  try {
    require_empty_at(head);
    for (const Snapshot& one : image.snapshots) require_empty_at(one);
  } catch (...) {
    store.remove_snapshot(spec, head);
    throw;
  }
  store.remove_snapshot(spec, head);
}

void ReplicaPoint::check_head(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  const std::string subject = to_string(disk.replica.spec);
  if (hold(index).state().layout.size_bytes != disk.replica_newest->size_bytes ||
      !work_.destination(disk).head_unchanged_since(disk.replica.spec, *disk.replica_newest, work_.stop)) {
    throw Error(ErrorCode::conflict, "check replica", subject,
                fmt::format("it was written to since its newest recovery point {}; it was not touched. If what was "
                            "written is not wanted, 'rbd snap rollback {}@{}' on the destination drops it",
                            disk.replica_newest->name, subject, disk.replica_newest->name));
  }
}

void ReplicaPoint::check_cut(std::size_t index) {
  torn_ = true;
  hold(index);
}

std::string ReplicaPoint::given_up(const DiskPlan& disk) const {
  const auto& record = disk.replica_record.replica;
  if (disk.replica_newest) return fmt::format("the source has no {} any more", disk.replica_newest->name);
  if (work_.plan.not_resumed.empty() || !record) return "the last run left it unfinished";
  return fmt::format("{} cannot be completed, {}", record->end_snapshot, work_.plan.not_resumed);
}

void ReplicaPoint::roll_back(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  const bool is_after_bad_point =
      disk.replica_newest && std::any_of(disk.points.begin(), disk.points.end(), [&](const PointIds& point) {
        return point.bad && point.replica_id == disk.replica_newest->id;
      });
  work_.note(fmt::format(
      "{} is rolled back to {}: {}", to_string(disk.replica.spec), disk.replica_base->name,
      is_after_bad_point ? disk.replica_newest->name + " was found to differ from the source" : given_up(disk)));
  // Until the next point is complete the head is nobody's recovery point.
  ImageHold& held = hold(index);
  records_[index].replica->state = ReplicaState::applying;
  records_[index].replica->end_snapshot.clear();
  records_[index].replica->transfer.clear();
  records_[index].replica->point.reset();
  save_record(index);
  torn_ = true;
  held.roll_back(*disk.replica_base, work_.stop);
}

void ReplicaPoint::record_point() {
  recorded_ = true;
  torn_ = true;
  PointConfig point;
  for (const DiskPlan& disk : work_.plan.disks) point.images.push_back(to_string(disk.replica.spec));
  point.target_vmid = work_.plan.target_vmid;
  point.config = without_password(work_.plan.replica_config);
  point.firewall = work_.plan.firewall;
  point.onboot = work_.plan.onboot;
  work_.for_disks([&](const DiskPlan& disk, std::size_t i) {
    ReplicaRecord& record = *records_[i].replica;
    record.state = ReplicaState::applying;
    record.end_snapshot = work_.plan.snapshot;
    record.end_source_id = source_.end(i).id;
    record.transfer = transfer_id(record, disk.source_base, source_.end(i).id);
    record.point = i == 0 ? std::optional(point) : std::nullopt;
    save_record(i);
  });
}

void ReplicaPoint::transfer(std::size_t index) {
  const TransferSlots::Slot slot = slots_.enter(work_.stop);
  const DiskPlan& disk = work_.plan.disks[index];
  DiskReport& disk_report = work_.report.disks[index];
  const std::string subject = work_.point_name(disk.disk.image);
  work_.tell({.kind = EventKind::transfer_started, .subject = subject, .full = disk.full});
  if (work_.plan.resumes) {
    work_.tell({.kind = EventKind::transfer_resumed, .subject = subject, .full = disk.full, .bytes = disk.offset});
  }
  const auto begin = steady_clock::now();
  ReplicaRecord& record = *records_[index].replica;
  try {
    disk_report.stream_bytes = send(index) + send_repair(index);
    disk_report.duration = duration_cast<milliseconds>(steady_clock::now() - begin);
    record.state = ReplicaState::applied;
    save_record(index);
  } catch (const Error&) {
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

std::uint64_t ReplicaPoint::send(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  const std::string subject = work_.point_name(disk.disk.image);
  const auto begin = steady_clock::now();
  StallGuard guard(work_.request.stall_timeout, work_.stop);
  try {
    auto marking = std::make_unique<MarkingSink>(
        holds_[index]->write_diff({records_[index].replica->transfer, disk.offset}, guard.stop()),
        work_.request.marks);
    const MarkingSink& marks = *marking;
    CountingSink sink(std::move(marking), [&](std::uint64_t bytes) {
      guard.progress();
      work_.tell({.kind = EventKind::transfer_progress,
                  .subject = subject,
                  .full = disk.full,
                  .bytes = bytes,
                  .elapsed = duration_cast<milliseconds>(steady_clock::now() - begin)});
    });
    work_.source(disk).read_diff(disk.disk.image.spec, disk.source_base, source_.end(index), disk.offset, sink,
                                 guard.stop());
    if (marks.marks() > 0) marked_[index] = 1;
    return sink.bytes();
  } catch (const Cancelled&) {
    if (work_.stop.stop_requested() || !guard.stalled()) throw;
    throw Error(ErrorCode::timeout, "send", subject,
                fmt::format("nothing moved for {} s", work_.request.stall_timeout.count()), true);
  }
}

std::uint64_t ReplicaPoint::send_repair(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  if (disk.repair.empty()) return 0;
  CountingSink sink(holds_[index]->write_diff({}, work_.stop), [](std::uint64_t) {});
  work_.source(disk).read_ranges(disk.disk.image.spec, source_.end(index), disk.repair, sink, work_.stop);
  return sink.bytes();
}

void ReplicaPoint::count_transfer(const DiskPlan& disk, const DiskReport& disk_report) {
  const std::scoped_lock lock(work_.mutex);
  ++(disk.full ? work_.totals.full_ok : work_.totals.incremental_ok);
  (disk.full ? work_.totals.full_bytes : work_.totals.incremental_bytes) += disk_report.stream_bytes;
}

void ReplicaPoint::commit() {
  std::vector<Snapshot> made(work_.plan.disks.size());
  work_.for_disks([&](const DiskPlan& disk, std::size_t i) {
    made[i] = disk.replica_end ? *disk.replica_end : holds_[i]->create_snapshot(work_.plan.snapshot);
    const std::uint64_t expected = source_.end(i).size_bytes;
    if (made[i].size_bytes != expected) {
      throw Error(ErrorCode::conflict, "commit", work_.point_name(disk.replica),
                  fmt::format("its size is {} bytes, the source's {}", made[i].size_bytes, expected));
    }
  });
  for (std::size_t i = 0; i < work_.plan.disks.size(); ++i) {
    const auto& point = records_[i].replica->point;
    if (!point) continue;
    holds_[i]->set_metadata(std::string(point_key_prefix) + work_.plan.snapshot, render_point(*point));
  }
  work_.for_disks([&](const DiskPlan& /*disk*/, std::size_t i) {
    if (marked_[i] != 0) {
      holds_[i]->remove_metadata(std::string(progress_key));
    }
    ReplicaRecord& record = *records_[i].replica;
    record.state = ReplicaState::complete;
    record.transfer.clear();
    record.point.reset();
    std::erase_if(record.points, [&](const PointIds& old) { return is_to_be_removed(i, old); });
    record.points.push_back({work_.plan.snapshot, source_.end(i).id, made[i].id});
    save_record(i);
    holds_[i].reset();
    work_.report.disks[i].committed = true;
  });
  torn_ = false;
  work_.report.recovery_point = work_.plan.snapshot;
  if (work_.plan.resumes) work_.report.resumed->complete = true;
  work_.for_disks([&](const DiskPlan& disk, std::size_t) {
    if (disk.full) record_first_copy(work_, disk);
  });
}

bool ReplicaPoint::is_to_be_removed(std::size_t index, const PointIds& point) const {
  return std::any_of(work_.plan.removals.begin(), work_.plan.removals.end(), [&](const Removal& removal) {
    return !removal.on_source && removal.image == work_.plan.disks[index].replica &&
           removal.snapshot.id == point.replica_id;
  });
}

}  // namespace crossover
