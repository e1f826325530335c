#include "engine/guest_run.hpp"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "engine/content_check.hpp"
#include "engine/fast_diff.hpp"
#include "engine/guest_report.hpp"
#include "engine/guest_work.hpp"
#include "engine/in_parallel.hpp"
#include "engine/point_transfer.hpp"
#include "engine/removal_run.hpp"
#include "engine/source_point.hpp"
#include "engine/source_record.hpp"
#include "engine/unexpected_error.hpp"

namespace crossover {

namespace {

class GuestRun {
 public:
  GuestRun(const PointOffer& offer, const GuestPlan& plan, const Ports& ports, TransferSlots& slots,
           MirrorTotals& totals, std::stop_token stop)
      : work_{offer.request, plan, ports, totals, std::move(stop)},
        offer_(offer),
        slots_(slots),
        source_(work_),
        diffs_(work_) {}

  GuestReport run() {
    const GuestPlan& plan = work_.plan;
    work_.report = report_of(plan);
    if (plan.resumes) work_.tell({.kind = EventKind::point_resumed, .subject = plan.snapshot});
    try {
      source_.wait_for_foreign_lock();
      receiver_ = work_.ports.receivers.begin(
          offer_, plan, [this](const std::string& note) { work_.note(note); }, work_.stop);
      replica_.emplace(work_, *receiver_, source_, diffs_, slots_);
      for (std::size_t first = 0; first < plan.steps.size();) first = carry_out_from(first);
      work_.report.outcome = Outcome::ok;
    } catch (const Error& error) {
      fail(error);
    } catch (const Cancelled&) {
      undo();
      throw;
    } catch (...) {
      fail(error_at_hand());
    }
    return std::move(work_.report);
  }

 private:
  void fail(const Error& error) {
    undo();
    // Before the snapshots nothing of the guest's was changed, so that a human can decide.
    const bool can_wait = !(receiver_ && receiver_->torn()) && !source_.snapshots_made();
    set_error(work_.report, error);
    if (!can_wait) work_.report.outcome = Outcome::failed;
  }

  /// On every way out that is not success, in order.
  void undo() {
    source_.undo(replica_ && replica_->recorded());
    if (receiver_) receiver_->abandon();
  }

  /// Carries out a step and those that follow it and do the same to other disks, and returns what comes then.
  std::size_t carry_out_from(std::size_t first) {
    const StepKind kind = work_.plan.steps[first].kind;
    std::size_t end = first + 1;
    while (is_of_one_disk(kind) && end < work_.plan.steps.size() && work_.plan.steps[end].kind == kind) ++end;
    if (is_at_replica(kind) && kind != StepKind::verify_content) {
      for (std::size_t step = first; step < end; ++step) announce(work_.plan.steps[step]);
      carry_out_at_replica(kind);
      return end;
    }
    if (kind == StepKind::verify_content) receiver_->carry_out(kind);
    in_parallel(end - first, work_.request.parallel, [&](std::size_t index) {
      const Step& step = work_.plan.steps[first + index];
      announce(step);
      carry_out(step);
    });
    return end;
  }

  void announce(const Step& step) const {
    if (work_.stop.stop_requested()) throw Cancelled{};
    work_.tell({.kind = EventKind::debug, .text = describe(work_.plan, step)});
  }

  static bool is_of_one_disk(StepKind kind) {
    return kind == StepKind::verify_content || kind == StepKind::check_origin || kind == StepKind::adopt ||
           kind == StepKind::create_image || kind == StepKind::check_head || kind == StepKind::check_cut ||
           kind == StepKind::roll_back || kind == StepKind::transfer;
  }

  void carry_out_at_replica(StepKind kind) {
    switch (kind) {
      case StepKind::lock_replica:
        return replica_->lock_replica();
      case StepKind::record_point:
        return replica_->record_point();
      case StepKind::commit:
        return replica_->commit();
      case StepKind::write_config:
        return replica_->write_config();
      default:
        return receiver_->carry_out(kind);
    }
  }

  void carry_out(const Step& step) {
    switch (step.kind) {
      case StepKind::verify_content:
        return check_content(work_, work_.plan.disks[step.disk]);
      case StepKind::record_source:
        record_source(work_);
        if (!work_.plan.resumes) diffs_.look();
        return;
      case StepKind::lock_source:
        return source_.lock();
      case StepKind::freeze:
        return source_.freeze();
      case StepKind::pause:
        return source_.pause();
      case StepKind::snapshot:
        return source_.snapshot();
      case StepKind::let_go:
        return source_.let_go();
      case StepKind::unlock_source:
        return source_.unlock();
      case StepKind::transfer:
        return replica_->transfer(step.disk);
      case StepKind::remove:
        return remove();
      default:
        return carry_out_at_replica(step.kind);
    }
  }

  void remove() {
    const MirrorOptions& options = work_.request.options;
    std::vector<ImageRef> replicas;
    for (const DiskPlan& disk : work_.plan.disks) replicas.push_back(disk.replica);
    work_.report.removed = crossover::carry_out(
        work_.plan.removals,
        {.source = {&work_.ports.source.images, work_.plan.source_node, options.keep_local, work_.plan.running},
         .destination = {&work_.ports.destination.images, work_.plan.target_node, options.keep_remote},
         .parallel = work_.request.parallel,
         .why_kept = kept_if_promoted(work_.ports.destination.images, std::move(replicas)),
         .tell = [this](Event event) { work_.tell(std::move(event)); },
         .note = [this](const std::string& warning) { work_.note(warning); }});
  }

  GuestWork work_;
  const PointOffer& offer_;
  TransferSlots& slots_;
  SourcePoint source_;
  FastDiff diffs_;
  std::unique_ptr<PointReceiver> receiver_;
  std::optional<PointTransfer> replica_;  // its parts go before the receiver
};

}  // namespace

GuestReport run_guest(const PointOffer& offer, const GuestPlan& plan, const Ports& ports, TransferSlots& slots,
                      MirrorTotals& totals, std::stop_token stop) {
  return GuestRun(offer, plan, ports, slots, totals, std::move(stop)).run();
}

}  // namespace crossover
