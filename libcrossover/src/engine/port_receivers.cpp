#include "engine/port_receivers.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "engine/in_parallel.hpp"
#include "engine/point_at_replica.hpp"
#include "engine/replica_configuration.hpp"

namespace crossover {

namespace {

class LocalDisk final : public DiskReceiver {
 public:
  LocalDisk(PointAtReplica& point, std::size_t disk) : point_(point), disk_(disk), part_(point.begin_part(disk)) {}
  ~LocalDisk() override { point_.part_ended(disk_, *part_, made_); }
  LocalDisk(const LocalDisk&) = delete;
  LocalDisk& operator=(const LocalDisk&) = delete;

  std::unique_ptr<DiffSink> write(std::uint64_t offset, std::stop_token stop) override {
    return part_->write(offset, std::move(stop));
  }
  std::unique_ptr<DiffSink> repair(std::stop_token stop) override { return part_->repair(std::move(stop)); }
  void applied() override { part_->applied(); }
  void make_snapshot() override { made_ = part_->make_snapshot(); }

 private:
  PointAtReplica& point_;
  std::size_t disk_;
  std::unique_ptr<DiskPart> part_;
  std::optional<Snapshot> made_;
};

class PortReceiver final : public PointReceiver {
 public:
  PortReceiver(const MirrorRequest& request, const GuestPlan& plan, Side destination, TakeNote note,
               std::stop_token stop, bool parts_apart, bool leased)
      : work_{request, plan, destination, std::move(note), std::move(stop)},
        point_(work_),
        configuration_(work_),
        parts_apart_(parts_apart),
        leased_(leased) {
    for (const Step& step : plan.steps) {
      if (is_at_replica(step.kind)) steps_.push_back(step);
    }
  }

  ~PortReceiver() override { abandon(); }
  PortReceiver(const PortReceiver&) = delete;
  PortReceiver& operator=(const PortReceiver&) = delete;

  void carry_out(StepKind kind) override {
    const std::vector<std::size_t> disks = take_steps(kind);
    in_parallel(disks.size(), work_.request.parallel, [&](std::size_t i) {
      if (work_.stop.stop_requested()) throw Cancelled{};
      carry_out(kind, disks[i]);
    });
    if (parts_apart_ && kind == StepKind::check_cut) point_.leave_parts_to_others(1);
    is_whole_ = true;
  }

  void record_point(std::span<const Snapshot> ends) override {
    (void)take_steps(StepKind::record_point);
    point_.record_point(ends);
    if (parts_apart_) point_.leave_parts_to_others(1);
    is_whole_ = true;
  }

  [[nodiscard]] std::vector<std::string> transfers() const override { return point_.transfers(); }

  std::unique_ptr<DiskReceiver> receive(std::size_t disk, std::stop_token /*stop*/) override {
    if (!is_whole_ || next_ == steps_.size() || steps_[next_].kind != StepKind::commit) {
      throw Error(ErrorCode::usage, "receive disk", work_.plan.snapshot, "the point is not recorded, or complete");
    }
    return std::make_unique<LocalDisk>(point_, disk);
  }

  void abandon() noexcept override {
    try {
      if (!point_.torn() && configuration_.is_locked() && point_.is_as_left()) configuration_.undo();
      point_.leave_parts_to_others(0);
    } catch (...) {  // NOLINT(bugprone-empty-catch): whoever listens has failed, and what could be undone is
    }
  }

  [[nodiscard]] bool torn() const noexcept override { return point_.torn(); }

 private:
  /// The disks of the steps of that kind that come next. Nothing is done in another order than the plan's, and
  /// nothing after a step that failed: the next ones rest on it, and whoever asks may not stop there.
  std::vector<std::size_t> take_steps(StepKind kind) {
    if (!is_whole_) {
      throw Error(ErrorCode::usage, "receive", work_.plan.snapshot, "a step of its plan failed, so it is given up");
    }
    std::vector<std::size_t> disks;
    for (; next_ < steps_.size() && steps_[next_].kind == kind; ++next_) disks.push_back(steps_[next_].disk);
    if (disks.empty()) {
      throw Error(ErrorCode::usage, "receive", work_.plan.snapshot, "that is not what its plan does next");
    }
    is_whole_ = false;  // until it is done
    return disks;
  }

  void carry_out(StepKind kind, std::size_t disk) {
    switch (kind) {
      case StepKind::verify_content:
        return point_.check_adopted(disk);
      case StepKind::check_origin:
        return point_.check_origin(disk);
      case StepKind::lock_replica:
        return configuration_.lock();
      case StepKind::create_image:
        return point_.create_image(disk);
      case StepKind::adopt:
        return point_.adopt(disk);
      case StepKind::check_head:
        return point_.check_head(disk);
      case StepKind::check_cut:
        return point_.check_cut(disk);
      case StepKind::roll_back:
        return point_.roll_back(disk);
      case StepKind::commit:
        return point_.commit();
      case StepKind::write_config:
        return write_config();
      case StepKind::retire:
        return point_.retire();
      default:
        throw Error(ErrorCode::usage, "receive", work_.plan.snapshot, "it is no step at the replica");
    }
  }

  /// A replica that was copied anew could be started up to now: nobody may have done so.
  void write_config() {
    // Sources that lease the guest are one at a time; whoever else offers may have begun another point since.
    if (!leased_ && !work_.plan.disks.empty() && !point_.is_as_left()) {
      throw Error(ErrorCode::conflict, "write configuration", "VM " + std::to_string(work_.plan.target_vmid),
                  "another point of it was begun meanwhile; run again", true);
    }
    std::vector<std::unique_ptr<ImageHold>> replaced;
    if (work_.plan.reseeds) replaced = hold_replaced(work_);
    configuration_.write();
    if (parts_apart_) point_.leave_parts_to_others(0);
  }

  ReplicaWork work_;
  PointAtReplica point_;
  ReplicaConfiguration configuration_;
  bool parts_apart_;
  bool leased_;
  std::vector<Step> steps_;
  std::size_t next_ = 0;
  bool is_whole_ = true;  // no step that was begun has failed
};

}  // namespace

std::unique_ptr<PointReceiver> receive_point(const MirrorRequest& request, const GuestPlan& plan, Side destination,
                                             TakeNote note, std::stop_token stop, bool parts_apart, bool leased) {
  return std::make_unique<PortReceiver>(request, plan, destination, std::move(note), std::move(stop), parts_apart,
                                        leased);
}

}  // namespace crossover
