#include "engine/guest_run.hpp"

#include <memory>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "engine/destination_point.hpp"
#include "engine/fast_diff.hpp"
#include "engine/guest_report.hpp"
#include "engine/guest_work.hpp"
#include "engine/in_parallel.hpp"
#include "engine/removal_run.hpp"
#include "engine/replaced_images.hpp"
#include "engine/replica_configuration.hpp"
#include "engine/source_point.hpp"
#include "engine/source_record.hpp"
#include "engine/unexpected_error.hpp"

namespace crossover {

namespace {

class GuestRun {
 public:
  GuestRun(const MirrorRequest& request, const GuestPlan& plan, const Ports& ports, TransferSlots& slots,
           MirrorTotals& totals, std::stop_token stop)
      : work_{request, plan, ports, totals, std::move(stop)},
        source_(work_),
        diffs_(work_),
        replica_(work_, source_, diffs_, slots),
        configuration_(work_) {}

  GuestReport run() {
    const GuestPlan& plan = work_.plan;
    work_.report = report_of(plan);
    if (plan.resumes) work_.tell({.kind = EventKind::point_resumed, .subject = plan.snapshot});
    try {
      source_.wait_for_foreign_lock();
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
    // Before the snapshots nothing of the guest's was changed, so that a human can decide.
    const bool can_wait = !replica_.torn() && !source_.snapshots_made();
    set_error(work_.report, error);
    if (!can_wait) work_.report.outcome = Outcome::failed;
    undo();
  }

  /// On every way out that is not success, in order. A replica whose head is torn stays locked.
  void undo() {
    source_.undo(replica_.recorded());
    if (!replica_.torn()) configuration_.undo();
  }

  /// Carries out a step and those that follow it and do the same to other disks, and returns what comes then.
  std::size_t carry_out_from(std::size_t first) {
    const StepKind kind = work_.plan.steps[first].kind;
    std::size_t end = first + 1;
    while (is_of_one_disk(kind) && end < work_.plan.steps.size() && work_.plan.steps[end].kind == kind) ++end;
    in_parallel(end - first, work_.request.parallel, [&](std::size_t index) {
      const Step& step = work_.plan.steps[first + index];
      if (work_.stop.stop_requested()) throw Cancelled{};
      work_.tell({.kind = EventKind::debug, .text = describe(work_.plan, step)});
      carry_out(step);
    });
    return end;
  }

  static bool is_of_one_disk(StepKind kind) {
    return kind == StepKind::verify_content || kind == StepKind::check_origin || kind == StepKind::adopt ||
           kind == StepKind::create_image || kind == StepKind::check_head || kind == StepKind::check_cut ||
           kind == StepKind::roll_back || kind == StepKind::transfer;
  }

  void carry_out(const Step& step) {
    switch (step.kind) {
      case StepKind::lock_replica:
        return configuration_.lock();
      case StepKind::create_image:
        return replica_.create_image(step.disk);
      case StepKind::verify_content:
        return replica_.verify_content(step.disk);
      case StepKind::check_origin:
        return replica_.check_origin(step.disk);
      case StepKind::adopt:
        return replica_.adopt(step.disk);
      case StepKind::check_head:
        return replica_.check_head(step.disk);
      case StepKind::check_cut:
        return replica_.check_cut(step.disk);
      case StepKind::roll_back:
        return replica_.roll_back(step.disk);
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
      case StepKind::record_point:
        return replica_.record_point();
      case StepKind::transfer:
        return replica_.transfer(step.disk);
      case StepKind::commit:
        return replica_.commit();
      case StepKind::write_config:
        return write_config();
      case StepKind::retire:
        return replica_.retire();
      case StepKind::remove:
        return remove();
    }
  }

  /// A replica that was copied anew could be started up to now: nobody may have done so.
  void write_config() {
    std::vector<std::unique_ptr<ImageHold>> replaced;
    if (work_.plan.reseeds) replaced = hold_replaced(work_);
    configuration_.write();
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
  SourcePoint source_;
  FastDiff diffs_;
  DestinationPoint replica_;
  ReplicaConfiguration configuration_;
};

}  // namespace

GuestReport run_guest(const MirrorRequest& request, const GuestPlan& plan, const Ports& ports, TransferSlots& slots,
                      MirrorTotals& totals, std::stop_token stop) {
  return GuestRun(request, plan, ports, slots, totals, std::move(stop)).run();
}

}  // namespace crossover
