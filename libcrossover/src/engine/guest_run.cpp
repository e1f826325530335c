#include "engine/guest_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <mutex>
#include <set>

#include "crossover/error.hpp"
#include "engine/counting_sink.hpp"
#include "engine/guest_lock.hpp"
#include "engine/in_parallel.hpp"
#include "engine/marking_sink.hpp"
#include "plan/replica_config.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr const char* replica_lock = "migrate";

/// Accepts the diff of an image that holds nothing.
class EmptySink final : public DiffSink {
 public:
  explicit EmptySink(std::string image) : image_(std::move(image)) {}

  void size(std::uint64_t /*size_bytes*/) override {}
  void data(std::uint64_t /*offset*/, std::span<const std::byte> /*bytes*/) override {
    throw Error(ErrorCode::conflict, "replace image", image_,
                "it is not empty and no record says that it is a replica; it was not touched. Remove or rename it, "
                "or choose another target VMID");
  }
  void zero(std::uint64_t /*offset*/, std::uint64_t /*length_bytes*/) override {}
  void finish() override {}

 private:
  std::string image_;
};

class GuestRun {
 public:
  GuestRun(const MirrorRequest& request, const GuestPlan& plan, const Ports& ports, TransferSlots& slots,
           MirrorTotals& totals, const ResumedPoint* resumed, std::stop_token stop)
      : request_(request),
        plan_(plan),
        ports_(ports),
        slots_(slots),
        totals_(totals),
        stop_(std::move(stop)),
        resumed_(resumed) {
    if (plan.replica_config_before) replica_ = ConfigVersion{*plan.replica_config_before, ""};
    ends_.resize(plan.disks.size());
    records_.reserve(plan.disks.size());
    for (std::size_t i = 0; i < plan.disks.size(); ++i) {
      const DiskPlan& disk = plan.disks[i];
      ends_[i] = disk.source_end;
      marked_.push_back(disk.has_progress ? 1 : 0);
      records_.push_back(disk.replica_record);
      if (records_.back().replica) records_.back().replica->points = disk.points;
    }
  }

  GuestReport run() {
    report_ = report_of(plan_);
    if (resumed_ != nullptr) {
      report_.resumed = *resumed_;
    } else {
      tell({.kind = EventKind::guest_started, .subject = plan_.name});
      tell({.kind = EventKind::target_checked});
    }
    if (plan_.resumes) tell({.kind = EventKind::point_resumed, .subject = plan_.snapshot});
    if (!plan_.resumes) {
      tell_of_plan();
      count_guest();
    }
    try {
      if (plan_.problem) throw Error(plan_.problem->code, "mirror", "", plan_.problem->text);
      wait_for_foreign_lock();
      for (std::size_t first = 0; first < plan_.steps.size();) first = carry_out_from(first);
      report_.outcome = Outcome::ok;
      // The run that follows ends the guest's.
      if (plan_.resumes) return std::move(report_);
      ++totals_.guests_ok;
    } catch (const Error& error) {
      // Before the snapshots nothing of the guest's was changed, so that a human can decide.
      const bool undecided = is_conflict(error.code()) && !error.retryable() && !torn_ && !snapshots_made_;
      report_.outcome = undecided ? Outcome::conflict : Outcome::failed;
      report_.error_code = error.code();
      report_.error = plan_.problem ? plan_.problem->text : error.what();
      if (plan_.resumes) count_guest();
      ++totals_.guests_failed;
      undo();
    } catch (...) {
      undo();
      throw;
    }
    tell({.kind = EventKind::guest_finished,
          .text = report_.outcome == Outcome::ok ? std::string("ok") : report_.error});
    return std::move(report_);
  }

 private:
  void tell_of_plan() const {
    for (const LeftOut& left_out : plan_.left_out) {
      tell({.kind = EventKind::left_out, .subject = left_out.key, .text = left_out.reason});
    }
    for (const std::string& warning : plan_.warnings) warn(warning);
  }

  void count_guest() { ++(plan_.running ? totals_.guests_running : totals_.guests_stopped); }

  /// Carries out a step and those that follow it and do the same to other disks, and returns what comes then.
  std::size_t carry_out_from(std::size_t first) {
    const StepKind kind = plan_.steps[first].kind;
    std::size_t end = first + 1;
    while (is_of_one_disk(kind) && end < plan_.steps.size() && plan_.steps[end].kind == kind) ++end;
    in_parallel(end - first, request_.parallel, [&](std::size_t index) {
      const Step& step = plan_.steps[first + index];
      if (stop_.stop_requested()) throw Cancelled{};
      tell({.kind = EventKind::debug, .text = describe(plan_, step)});
      carry_out(step);
    });
    return end;
  }

  static bool is_of_one_disk(StepKind kind) {
    return kind == StepKind::create_image || kind == StepKind::check_head || kind == StepKind::check_cut ||
           kind == StepKind::roll_back || kind == StepKind::transfer;
  }

  void carry_out(const Step& step) {
    switch (step.kind) {
      case StepKind::lock_replica:
        return lock_replica();
      case StepKind::create_image:
        return create_image(step.disk);
      case StepKind::check_head:
        return check_head(step.disk);
      case StepKind::check_cut:
        return check_cut(step.disk);
      case StepKind::roll_back:
        return roll_back(step.disk);
      case StepKind::record_source:
        return record_source();
      case StepKind::lock_source:
        return lock_source();
      case StepKind::freeze:
        return freeze();
      case StepKind::snapshot:
        return make_snapshots();
      case StepKind::thaw:
        return thaw();
      case StepKind::unlock_source:
        return unlock_source();
      case StepKind::record_point:
        return record_point();
      case StepKind::transfer:
        return transfer(step.disk);
      case StepKind::commit:
        return commit();
      case StepKind::write_config:
        return write_config();
      case StepKind::remove:
        return remove();
    }
  }

  ImageStore& source(const DiskPlan& disk) const { return ports_.source.images.open(disk.disk.image.access); }
  ImageStore& destination(const DiskPlan& disk) const {
    return ports_.destination.images.open(disk.replica.access);
  }

  void tell(Event event) const {
    event.vmid = plan_.vmid;
    if (event.target_vmid == 0) event.target_vmid = plan_.target_vmid;
    if (event.host.empty()) event.host = plan_.target_node;
    ports_.events.on_event(event);
  }

  void warn(const std::string& text) const { tell({.kind = EventKind::warning, .text = text}); }

  /// On every way out that is not success. The freeze and the lock undo themselves as well; here it is done in
  /// order.
  void undo() {
    freeze_.reset();
    source_lock_.reset();
    if (replica_locked_ && !torn_ && replica_unlocked_) {
      try {
        ports_.destination.hypervisor.write_config(plan_.target_node, plan_.target_vmid, replica_,
                                                   *replica_unlocked_, {});
      } catch (const Error& error) {
        note(error.what());
      }
    }
  }

  void note(const std::string& warning) {
    {
      const std::scoped_lock lock(mutex_);
      report_.warnings.push_back(warning);
    }
    warn(warning);
  }

  void save_record(std::size_t index) {
    const DiskPlan& disk = plan_.disks[index];
    destination(disk).set_metadata(disk.replica.spec, std::string(record_key), render_record(records_[index]));
  }

  void for_disks(const std::function<void(const DiskPlan& disk, std::size_t index)>& work) const {
    in_parallel(plan_.disks.size(), request_.parallel, [&](std::size_t i) { work(plan_.disks[i], i); });
  }

  void lock_replica() {
    const std::string bytes = plan_.replica_config_before.value_or(plan_.replica_config);
    // A replica that was locked before this run is torn or locked on request: it is not for this run to unlock.
    if (plan_.replica_config_before && without_lock(bytes) == bytes) replica_unlocked_ = bytes;
    replica_ = ports_.destination.hypervisor.write_config(plan_.target_node, plan_.target_vmid, replica_,
                                                          with_lock(bytes, replica_lock), stop_);
    replica_locked_ = true;
    if (plan_.resumes) torn_ = true;
    tell({.kind = EventKind::replica_locked, .subject = replica_lock});
  }

  void create_image(std::size_t index) {
    const DiskPlan& disk = plan_.disks[index];
    ImageStore& store = destination(disk);
    if (disk.replace) {
      if (!plan_.not_resumed.empty()) {
        note(fmt::format("the first copy of {} begins anew: {}", to_string(disk.replica.spec), given_up(disk)));
      }
      remove_unfinished(disk);
    }
    store.create(disk.replica.spec, disk.layout);
    const auto created = store.find(disk.replica.spec);
    if (!created) throw Error(ErrorCode::conflict, "create image", to_string(disk.replica.spec), "it vanished");
    ReplicaRecord record;
    record.source = disk.identity;
    record.source_image = to_string(disk.disk.image.spec);
    record.job = request_.job_name;
    record.target_vmid = plan_.target_vmid;
    record.image_id = created->id;
    record.pool_id = created->pool_id;
    records_[index] = {record, std::nullopt};
    save_record(index);
  }

  /// The plan was made from a look that may be minutes old: look again before anything is removed.
  void remove_unfinished(const DiskPlan& disk) {
    ImageStore& store = destination(disk);
    const auto image = store.find(disk.replica.spec);
    if (!image) return;
    check_unchanged(disk, *image);
    if (!disk.replica_record.replica) require_empty(disk, store, *image);
    for (const Snapshot& snapshot : image->snapshots) store.remove_snapshot(disk.replica.spec, snapshot);
    store.remove(disk.replica.spec);
  }

  /// No record says whose the image is: it may go only if there is nothing in it.
  void require_empty(const DiskPlan& disk, ImageStore& store, const ImageState& image) const {
    const ImageSpec& spec = disk.replica.spec;
    const Snapshot head = store.create_snapshot(spec, plan_.snapshot);
    EmptySink sink(to_string(spec));
    try {
      store.read_diff(spec, std::nullopt, head, 0, sink, stop_);
      for (const Snapshot& one : image.snapshots) store.read_diff(spec, std::nullopt, one, 0, sink, stop_);
    } catch (...) {
      store.remove_snapshot(spec, head);
      throw;
    }
    store.remove_snapshot(spec, head);
  }

  void check_unchanged(const DiskPlan& disk, const ImageState& image) const {
    const std::string subject = to_string(disk.replica.spec);
    if (image_record(image) != disk.replica_record) {
      throw Error(ErrorCode::conflict, "check replica", subject, "its record changed since it was read; run again",
                  true);
    }
    if (!image.watchers.empty()) {
      throw Error(ErrorCode::in_use, "check replica", subject,
                  fmt::format("it is open elsewhere, by {}", fmt::join(image.watchers, ", ")));
    }
  }

  void check_head(std::size_t index) {
    const DiskPlan& disk = plan_.disks[index];
    const std::string subject = to_string(disk.replica.spec);
    ImageStore& store = destination(disk);
    const auto image = store.find(disk.replica.spec);
    if (!image) throw Error(ErrorCode::conflict, "check replica", subject, "it is gone");
    check_unchanged(disk, *image);
    if (image->layout.size_bytes != disk.replica_newest->size_bytes ||
        !store.head_unchanged_since(disk.replica.spec, *disk.replica_newest, stop_)) {
      throw Error(
          ErrorCode::conflict, "check replica", subject,
          fmt::format("it was written to since its newest recovery point {}; it was not touched. If what was "
                      "written is not wanted, 'rbd snap rollback {}@{}' on the destination drops it",
                      disk.replica_newest->name, subject, disk.replica_newest->name));
    }
  }

  /// No listing can tell what a cut transfer wrote from what somebody else did. The replica was locked all the
  /// time, and its record is what the cut run wrote.
  void check_cut(std::size_t index) const {
    const DiskPlan& disk = plan_.disks[index];
    const auto image = destination(disk).find(disk.replica.spec);
    if (!image) throw Error(ErrorCode::conflict, "check replica", to_string(disk.replica.spec), "it is gone");
    check_unchanged(disk, *image);
  }

  /// Why what is on a replica beyond its base is dropped.
  std::string given_up(const DiskPlan& disk) const {
    const auto& record = disk.replica_record.replica;
    if (disk.replica_newest) return fmt::format("the source has no {} any more", disk.replica_newest->name);
    if (plan_.not_resumed.empty() || !record) return "the last run left it unfinished";
    return fmt::format("{} cannot be completed, {}", record->end_snapshot, plan_.not_resumed);
  }

  void roll_back(std::size_t index) {
    const DiskPlan& disk = plan_.disks[index];
    const bool is_after_bad_point =
        disk.replica_newest && std::any_of(disk.points.begin(), disk.points.end(), [&](const PointIds& point) {
          return point.bad && point.replica_id == disk.replica_newest->id;
        });
    note(fmt::format(
        "{} is rolled back to {}: {}", to_string(disk.replica.spec), disk.replica_base->name,
        is_after_bad_point ? disk.replica_newest->name + " was found to differ from the source" : given_up(disk)));
    // Until the next point is complete the head is nobody's recovery point.
    records_[index].replica->state = ReplicaState::applying;
    records_[index].replica->end_snapshot.clear();
    records_[index].replica->transfer.clear();
    records_[index].replica->point.reset();
    save_record(index);
    torn_ = true;
    destination(disk).roll_back(disk.replica.spec, *disk.replica_base, stop_);
  }

  void record_source() {
    for_disks([&](const DiskPlan& disk, std::size_t) {
      save_source_record(disk, disk.full ? to_string(disk.replica.spec) : "", disk.source_record);
    });
  }

  /// Writes the source's record, with the image that is being created, if that is not what `present` says already.
  void save_source_record(const DiskPlan& disk, const std::string& creating, const ImageRecord& present) {
    ImageRecord record = disk.source_record;
    if (!record.source) record.source = SourceRecord{disk.identity, {}};
    record.source->jobs[request_.job_label] = {request_.job_name, destination(disk).fsid(), plan_.target_vmid,
                                               creating};
    if (record == present) return;
    source(disk).set_metadata(disk.disk.image.spec, std::string(record_key), render_record(record));
  }

  void lock_source() {
    source_lock_.emplace(ports_, plan_.source_node, plan_.vmid, plan_.source_config, request_.lock_wait, stop_);
    tell({.kind = EventKind::source_locked, .subject = "backup", .host = plan_.source_node});
  }

  /// A lock that the survey met already is waited for before anything is changed on the destination.
  void wait_for_foreign_lock() {
    const bool locks = std::any_of(plan_.steps.begin(), plan_.steps.end(),
                                   [](const Step& step) { return step.kind == StepKind::lock_source; });
    if (!locks || without_lock(plan_.source_config) == plan_.source_config) return;
    (void)wait_until_unlocked(ports_, plan_.source_node, plan_.vmid, plan_.source_config, request_.lock_wait,
                              stop_);
  }

  void unlock_source() {
    if (!source_lock_) return;
    try {
      source_lock_->release();
      tell({.kind = EventKind::source_unlocked, .host = plan_.source_node});
    } catch (const Error& error) {
      note(error.what());
    }
    source_lock_.reset();
  }

  void freeze() {
    try {
      freeze_ = ports_.source.hypervisor.freeze(plan_.source_node, plan_.vmid, request_.freeze_timeout, stop_);
      report_.frozen = true;
      tell({.kind = EventKind::frozen, .host = plan_.source_node});
    } catch (const Error& error) {
      ++totals_.freeze_failed;
      // No agent, or one that refuses, leaves a point as after a power cut, and the report says so. A guest that
      // may still be frozen ends the run.
      if (error.code() != ErrorCode::unsupported && error.code() != ErrorCode::command) throw;
      report_.consistency = fmt::format("not frozen: {}", error.cause());
      tell({.kind = EventKind::not_frozen, .text = error.cause()});
      note(fmt::format("VM {} was not frozen: {}", plan_.vmid, error.cause()));
    }
  }

  void thaw() {
    if (!freeze_) return;
    const std::unique_ptr<Freeze> freeze = std::move(freeze_);
    try {
      report_.frozen_for = freeze->thaw();
      ++totals_.freeze_ok;
      tell({.kind = EventKind::thawed, .host = plan_.source_node, .elapsed = report_.frozen_for});
    } catch (const Error&) {
      ++totals_.freeze_failed;
      report_.frozen = false;
      report_.consistency = "none: the freeze failed";
      remove_snapshots();
      throw;
    }
  }

  /// All disks at the same time, so that a guest is frozen for the slowest of them and not for their sum.
  void make_snapshots() {
    std::vector<std::future<Snapshot>> making;
    for (const DiskPlan& disk : plan_.disks) {
      making.push_back(std::async(std::launch::async, [this, &disk] {
        return source(disk).create_snapshot(disk.disk.image.spec, plan_.snapshot);
      }));
    }
    std::optional<Error> failed;
    for (std::size_t i = 0; i < making.size(); ++i) {
      try {
        ends_[i] = making[i].get();
        ++totals_.snapshot_ok;
      } catch (const Error& error) {
        ++totals_.snapshot_failed;
        failed = error;
      }
    }
    if (failed) {
      freeze_.reset();
      remove_snapshots();
      throw *failed;
    }
    snapshots_made_ = true;
    for (const DiskPlan& disk : plan_.disks) {
      tell({.kind = EventKind::snapshot_created, .subject = point_name(disk.disk.image)});
    }
  }

  std::string point_name(const ImageRef& image) const { return to_string(image.spec) + "@" + plan_.snapshot; }

  /// Takes back the snapshots this run made on the source: a moment that not every disk has is none.
  void remove_snapshots() {
    for (std::size_t i = 0; i < ends_.size(); ++i) {
      if (!ends_[i]) continue;
      const DiskPlan& disk = plan_.disks[i];
      try {
        source(disk).remove_snapshot(disk.disk.image.spec, *ends_[i]);
      } catch (const Error& error) {
        note(error.what());
      }
      ends_[i].reset();
    }
  }

  /// All of them before the first transfer, so that a later run knows each end by its id.
  void record_point() {
    torn_ = true;
    PointConfig point;
    for (const DiskPlan& disk : plan_.disks) point.images.push_back(to_string(disk.replica.spec));
    point.target_vmid = plan_.target_vmid;
    point.config = without_password(plan_.replica_config);
    point.firewall = plan_.firewall;
    point.onboot = plan_.onboot;
    for_disks([&](const DiskPlan& disk, std::size_t i) {
      ReplicaRecord& record = *records_[i].replica;
      record.state = ReplicaState::applying;
      record.end_snapshot = plan_.snapshot;
      record.end_source_id = ends_[i]->id;
      record.transfer = transfer_id(record, disk.source_base, ends_[i]->id);
      record.point = i == 0 ? std::optional(point) : std::nullopt;
      save_record(i);
    });
  }

  void transfer(std::size_t index) {
    const TransferSlots::Slot slot = slots_.enter(stop_);
    const DiskPlan& disk = plan_.disks[index];
    DiskReport& disk_report = report_.disks[index];
    const std::string subject = point_name(disk.disk.image);
    tell({.kind = EventKind::transfer_started, .subject = subject, .full = disk.full});
    if (plan_.resumes) {
      tell({.kind = EventKind::transfer_resumed, .subject = subject, .full = disk.full, .bytes = disk.offset});
    }
    const auto begin = steady_clock::now();
    const auto elapsed = [&] { return duration_cast<milliseconds>(steady_clock::now() - begin); };
    ReplicaRecord& record = *records_[index].replica;
    try {
      {
        auto marking = std::make_unique<MarkingSink>(
            destination(disk).write_diff(disk.replica.spec, {record.transfer, disk.offset}, stop_), request_.marks);
        const MarkingSink& marks = *marking;
        CountingSink sink(std::move(marking), [&](std::uint64_t bytes) {
          tell({.kind = EventKind::transfer_progress,
                .subject = subject,
                .full = disk.full,
                .bytes = bytes,
                .elapsed = elapsed()});
        });
        source(disk).read_diff(disk.disk.image.spec, disk.source_base, *ends_[index], disk.offset, sink, stop_);
        if (marks.marks() > 0) marked_[index] = 1;
        disk_report.stream_bytes = sink.bytes();
      }
      disk_report.stream_bytes += send_repair(index);
      disk_report.duration = elapsed();
      record.state = ReplicaState::applied;
      save_record(index);
    } catch (const Error&) {
      const std::scoped_lock lock(mutex_);
      ++(disk.full ? totals_.full_failed : totals_.incremental_failed);
      throw;
    }
    disk_report.transferred = true;
    disk_report.size_bytes = ends_[index]->size_bytes;
    if (plan_.resumes) report_.resumed->disks[index].stream_bytes = disk_report.stream_bytes;
    count_transfer(disk, disk_report);
    tell({.kind = EventKind::transfer_finished,
          .subject = subject,
          .full = disk.full,
          .bytes = disk_report.stream_bytes,
          .elapsed = disk_report.duration});
  }

  /// Sends what was found to differ, from the new snapshot. Returns the bytes sent.
  std::uint64_t send_repair(std::size_t index) {
    const DiskPlan& disk = plan_.disks[index];
    if (disk.repair.empty()) return 0;
    CountingSink sink(destination(disk).write_diff(disk.replica.spec, {}, stop_), [](std::uint64_t) {});
    source(disk).read_ranges(disk.disk.image.spec, *ends_[index], disk.repair, sink, stop_);
    return sink.bytes();
  }

  void count_transfer(const DiskPlan& disk, const DiskReport& disk_report) {
    const std::scoped_lock lock(mutex_);
    ++(disk.full ? totals_.full_ok : totals_.incremental_ok);
    (disk.full ? totals_.full_bytes : totals_.incremental_bytes) += disk_report.stream_bytes;
  }

  /// Every disk gets its end snapshot, then the point's configuration makes it a recovery point, then the records
  /// follow.
  void commit() {
    std::vector<Snapshot> made(plan_.disks.size());
    for_disks([&](const DiskPlan& disk, std::size_t i) {
      made[i] = disk.replica_end ? *disk.replica_end
                                 : destination(disk).create_snapshot(disk.replica.spec, plan_.snapshot);
      const std::uint64_t expected = ends_[i]->size_bytes;
      if (made[i].size_bytes != expected) {
        throw Error(ErrorCode::conflict, "commit", point_name(disk.replica),
                    fmt::format("its size is {} bytes, the source's {}", made[i].size_bytes, expected));
      }
    });
    for (std::size_t i = 0; i < plan_.disks.size(); ++i) {
      const auto& point = records_[i].replica->point;
      if (!point) continue;
      const DiskPlan& first = plan_.disks[i];
      destination(first).set_metadata(first.replica.spec, std::string(point_key_prefix) + plan_.snapshot,
                                      render_point(*point));
    }
    for_disks([&](const DiskPlan& disk, std::size_t i) {
      if (marked_[i] != 0) {
        destination(disk).remove_metadata(disk.replica.spec, std::string(progress_key));
      }
      ReplicaRecord& record = *records_[i].replica;
      record.state = ReplicaState::complete;
      record.transfer.clear();
      record.point.reset();
      std::erase_if(record.points, [&](const PointIds& old) { return is_to_be_removed(i, old); });
      record.points.push_back({plan_.snapshot, ends_[i]->id, made[i].id});
      save_record(i);
      report_.disks[i].committed = true;
    });
    torn_ = false;
    report_.recovery_point = plan_.snapshot;
    if (plan_.resumes) report_.resumed->complete = true;
    for_disks([&](const DiskPlan& disk, std::size_t) {
      if (disk.full) save_source_record(disk, "", {});
    });
  }

  /// The metadata of an image can be read by more people than /etc/pve, and `rbd` takes it as an argument.
  static std::string without_password(const std::string& config) {
    VmConfig changed = parse_vm_config(config);
    changed.remove("cipassword");
    return changed.to_bytes();
  }

  bool is_to_be_removed(std::size_t index, const PointIds& point) const {
    return std::any_of(plan_.removals.begin(), plan_.removals.end(), [&](const Removal& removal) {
      return !removal.on_source && removal.image == plan_.disks[index].replica &&
             removal.snapshot.id == point.replica_id;
    });
  }

  void write_config() {
    const bool locked = request_.options.keep_destination_lock;
    ports_.destination.hypervisor.write_config(
        plan_.target_node, plan_.target_vmid, replica_,
        locked ? with_lock(plan_.replica_config, replica_lock) : plan_.replica_config, stop_);
    replica_locked_ = false;
    if (plan_.write_firewall) {
      ports_.destination.hypervisor.write_firewall(plan_.target_vmid, plan_.firewall, stop_);
    }
    tell({.kind = EventKind::config_written});
    if (!locked && !plan_.disks.empty()) tell({.kind = EventKind::replica_unlocked});
  }

  /// What cannot be removed now can be removed by the next run: it costs space, not the recovery point.
  void remove() {
    const auto is_first = [](const Removal& removal) { return removal.point_config; };
    const auto is_other = [](const Removal& removal) { return !removal.point_config && !removal.on_source; };
    const auto is_source = [](const Removal& removal) { return removal.on_source; };
    // A point stops being one before its first snapshot goes; the source follows the destination.
    remove_those(is_first);
    remove_those(is_other);
    remove_those(is_source);
  }

  /// Images side by side, the snapshots of each in their order.
  void remove_those(bool (*wanted)(const Removal&)) {
    std::vector<std::vector<const Removal*>> images;
    for (const Removal& removal : plan_.removals) {
      if (!wanted(removal)) continue;
      const auto same = std::find_if(images.begin(), images.end(), [&removal](const auto& of_image) {
        return of_image.front()->image == removal.image;
      });
      if (same == images.end()) {
        images.push_back({&removal});
      } else {
        same->push_back(&removal);
      }
    }
    in_parallel(images.size(), request_.parallel, [&](std::size_t i) {
      const Removal& first = *images[i].front();
      tell({.kind = EventKind::housekeeping,
            .subject = to_string(first.image.spec),
            .host = first.on_source ? plan_.source_node : plan_.target_node,
            .text = first.on_source ? request_.options.keep_local : request_.options.keep_remote});
      for (const Removal* removal : images[i]) remove_one(*removal);
    });
  }

  void remove_one(const Removal& removal) {
    {
      const std::scoped_lock lock(mutex_);
      if (!removal.on_source && kept_.contains(removal.snapshot.name)) return;
    }
    ImageStores& stores = removal.on_source ? ports_.source.images : ports_.destination.images;
    const std::string name = to_string(removal.image.spec) + "@" + removal.snapshot.name;
    try {
      ImageStore& store = stores.open(removal.image.access);
      if (removal.point_config) {
        store.remove_metadata(removal.image.spec, std::string(point_key_prefix) + removal.snapshot.name);
      }
      store.remove_snapshot(removal.image.spec, removal.snapshot);
      {
        const std::scoped_lock lock(mutex_);
        report_.removed.push_back((removal.on_source ? "source " : "destination ") + name);
      }
      tell({.kind = EventKind::snapshot_removed,
            .subject = name,
            .host = removal.on_source ? plan_.source_node : plan_.target_node,
            .elapsed = duration_cast<milliseconds>(removal.age)});
    } catch (const Error& error) {
      {
        const std::scoped_lock lock(mutex_);
        if (!removal.on_source) kept_.insert(removal.snapshot.name);
      }
      note(fmt::format("{} could not be removed: {}", name, error.what()));
    }
  }

  const MirrorRequest& request_;
  const GuestPlan& plan_;
  const Ports& ports_;
  TransferSlots& slots_;
  MirrorTotals& totals_;
  std::stop_token stop_;
  std::mutex mutex_;  // guards totals_, the report's lists and kept_ where disks are worked on side by side
  std::set<std::string> kept_;  // points of which something could not be removed: the rest stays, as far as it can
  GuestReport report_;
  std::vector<ImageRecord> records_;             // as they stand on the replicas' images
  std::vector<std::optional<Snapshot>> ends_;    // the point's snapshots on the source
  std::vector<char> marked_;                     // whether a transfer's progress may stand on the replicas' images
  std::optional<ConfigVersion> replica_;         // the replica's configuration as it stands
  std::optional<std::string> replica_unlocked_;  // what an undo puts back
  bool replica_locked_ = false;
  bool snapshots_made_ = false;
  std::atomic<bool> torn_ = false;  // a replica's head is not a recovery point
  std::unique_ptr<Freeze> freeze_;
  std::optional<SourceLock> source_lock_;
  const ResumedPoint* resumed_;
};

}  // namespace

bool is_conflict(ErrorCode code) {
  return code == ErrorCode::conflict || code == ErrorCode::in_use || code == ErrorCode::already_exists;
}

GuestReport report_of(const GuestPlan& plan) {
  GuestReport report;
  report.vmid = plan.vmid;
  report.target_vmid = plan.target_vmid;
  report.name = plan.name;
  report.source_node = plan.source_node;
  report.target_node = plan.target_node;
  report.running = plan.running;
  report.consistency = plan.consistency;
  report.left_out = plan.left_out;
  report.warnings = plan.warnings;
  for (const DiskPlan& disk : plan.disks) {
    DiskReport one;
    one.key = disk.disk.key;
    one.source_image = to_string(disk.disk.image.spec);
    one.replica_image = to_string(disk.replica.spec);
    one.full = disk.full;
    one.base = disk.source_base ? disk.source_base->name : "";
    one.size_bytes = disk.layout.size_bytes;
    report.disks.push_back(std::move(one));
  }
  for (const Step& step : plan.steps) report.steps.push_back(describe(plan, step));
  if (plan.resumes) {
    report.steps.push_back(fmt::format("then make a new recovery point of VM {}", plan.vmid));
    report.resumed.emplace().recovery_point = plan.snapshot;
    for (const DiskPlan& disk : plan.disks) {
      report.resumed->disks.push_back({disk.disk.key, disk.applied ? disk.source_end->size_bytes : disk.offset, 0});
    }
  }
  report.outcome = Outcome::planned;
  if (plan.problem) {
    report.outcome = is_conflict(plan.problem->code) ? Outcome::conflict : Outcome::failed;
    report.error_code = plan.problem->code;
    report.error = plan.problem->text;
  }
  return report;
}

GuestReport run_guest(const MirrorRequest& request, const GuestPlan& plan, const Ports& ports, TransferSlots& slots,
                      MirrorTotals& totals, const ResumedPoint* resumed, std::stop_token stop) {
  return GuestRun(request, plan, ports, slots, totals, resumed, std::move(stop)).run();
}

}  // namespace crossover
