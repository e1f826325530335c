#include "engine/guest_mirror.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "engine/guest_lease.hpp"
#include "engine/guest_report.hpp"
#include "engine/guest_run.hpp"
#include "engine/retry.hpp"
#include "engine/survey.hpp"
#include "engine/unexpected_error.hpp"
#include "model/text.hpp"

namespace crossover {

namespace {

class GuestMirror {
 public:
  /// `disks` are the source's as they were surveyed.
  GuestMirror(const MirrorRequest& request, PointOffer offer, GuestPlan plan, ImageStates disks, const Ports& ports,
              TransferSlots& slots, MirrorTotals& totals, std::stop_token stop)
      : request_(request),
        offer_(std::move(offer)),
        plan_(std::move(plan)),
        disks_(std::move(disks)),
        ports_(ports),
        slots_(slots),
        totals_(totals),
        stop_(std::move(stop)) {}

  GuestReport run() {
    return tell_about([this] { return run_leased(); });
  }

  /// `leased` is triggered when the caller's lease is lost; `removals` are the caller's to carry out.
  GuestReport run_under(const std::stop_token& leased, std::vector<Removal>& removals) {
    removals_ = &removals;
    return tell_about([&] { return try_often(leased); });
  }

 private:
  template <typename Work>
  GuestReport tell_about(const Work& work) {
    tell({.kind = EventKind::guest_started, .subject = plan_.name});
    tell({.kind = EventKind::target_checked});
    ++(plan_.running ? totals_.guests_running : totals_.guests_stopped);
    GuestReport report = plan_.problem && !may_pass() ? tell_and_report_problem() : attempt(work);
    if (resumed_) report.resumed = resumed_;
    keep_once(earlier_warnings_, report.warnings);
    report.warnings = std::move(earlier_warnings_);
    // A migration has looked for itself whether all of a guest moves.
    if (removals_ == nullptr && !request_.options.allow_left_out) require_complete(report);
    ++(report.outcome == Outcome::ok           ? totals_.guests_ok
       : report.outcome == Outcome::incomplete ? totals_.guests_incomplete
                                               : totals_.guests_failed);
    tell({.kind = EventKind::guest_finished,
          .text = report.outcome == Outcome::ok ? std::string("ok") : report.error});
    return report;
  }

  /// Whatever ends it has been undone by now. It ends this guest, and no other one.
  template <typename Work>
  GuestReport attempt(const Work& work) {
    try {
      return work();
    } catch (...) {
      return failed(failure_at_hand());
    }
  }

  void tell(Event event) const {
    event.vmid = plan_.vmid;
    event.target_vmid = plan_.target_vmid;
    event.host = plan_.target_node;
    ports_.events.on_event(event);
  }

  /// What the plan leaves out and warns of, once.
  void tell_of_plan() {
    if (std::exchange(told_, true)) return;
    for (const LeftOut& left_out : plan_.left_out) {
      tell({.kind = EventKind::left_out, .subject = left_out.key, .text = left_out.reason});
    }
    for (const FormerImage& former : former_images(plan_)) {
      tell({.kind = EventKind::former_image, .subject = former.image, .text = describe(former)});
    }
    for (const std::string& warning : plan_.warnings) tell({.kind = EventKind::warning, .text = warning});
  }

  GuestReport tell_and_report_problem() {
    tell_of_plan();
    return report_of(plan_);
  }

  GuestReport failed(const Error& error) const {
    GuestReport report = report_of(plan_);
    set_error(report, error);
    return report;
  }

  /// Whoever has a replica open may be another run, or what is left of one; and what one did since the survey can
  /// look like a conflict of any kind.
  [[nodiscard]] bool may_pass() const {
    if (!plan_.problem) return false;
    if (plan_.problem->code == ErrorCode::in_use) return true;
    try {
      return !are_as_surveyed();
    } catch (...) {
      return false;
    }
  }

  GuestReport run_leased() {
    std::optional<GuestLease> lease;
    try {
      lease.emplace(ports_, plan_.vmid, leased_images(disks_), request_.lock_wait, stop_);
      if (lease->waited() || plan_.problem || !are_as_surveyed()) look_again();
    } catch (const Error& error) {
      return failed(error);
    }
    try {
      return try_often(lease->stop());
    } catch (const Cancelled&) {
      if (stop_.stop_requested() || !lease->lost()) throw;
      return failed(Error(ErrorCode::locked, "mirror", fmt::format("VM {}", plan_.vmid),
                          "the lease on its disks could not be renewed in time, so the run was ended; the next one "
                          "goes on from there",
                          true));
    }
  }

  /// Between the survey and the lease another run may have come and gone: with many guests hours lie between them.
  [[nodiscard]] bool are_as_surveyed() const {
    return std::all_of(disks_.begin(), disks_.end(), [this](const auto& disk) {
      const auto& [image, surveyed] = disk;
      return ports_.source.images.open(image.access).find(image.spec) == surveyed;
    });
  }

  /// Whoever changed what the plan was made of has done so: a new plan is of what is there now.
  GuestReport run_planned(const std::stop_token& stop) {
    GuestReport report = run_plan(stop);
    if (!report.retryable || report.error_code != ErrorCode::conflict) return report;
    keep_warnings(report);
    earlier_warnings_.push_back(report.error + "; planned again");
    resumed_.reset();
    return run_again(stop);
  }

  GuestReport try_often(const std::stop_token& stop) {
    for (std::size_t attempt = 0;; ++attempt) {
      GuestReport report = attempt == 0 ? run_planned(stop) : run_again(stop);
      const bool broke = report.retryable &&
                         (report.error_code == ErrorCode::unreachable || report.error_code == ErrorCode::timeout);
      if (report.outcome == Outcome::ok || !broke || attempt == request_.retries) return report;
      keep_warnings(report);
      const std::chrono::milliseconds pause = pause_before(attempt);
      earlier_warnings_.push_back(report.error + "; tried again");
      tell({.kind = EventKind::retrying, .text = report.error, .elapsed = pause});
      ports_.clock.wait(pause, stop);
    }
  }

  GuestReport run_again(const std::stop_token& stop) {
    try {
      look_again();
    } catch (const Error& error) {
      return failed(error);
    }
    return run_plan(stop);
  }

  /// Carries the plan out, and after one that completes an earlier run's point the one for a new point.
  GuestReport run_plan(const std::stop_token& stop) {
    if (plan_.problem) return tell_and_report_problem();
    if (!plan_.resumes) {
      tell_of_plan();
      if (removals_ != nullptr) leave_removals();
      return run_guest(offer_, plan_, ports_, slots_, totals_, stop);
    }
    GuestReport report = run_guest(offer_, plan_, ports_, slots_, totals_, stop);
    resumed_ = report.resumed;
    if (report.outcome != Outcome::ok) return report;
    keep_warnings(report);
    return run_again(stop);
  }

  void leave_removals() {
    *removals_ = std::exchange(plan_.removals, {});
    std::erase_if(plan_.steps, [](const Step& step) { return step.kind == StepKind::remove; });
  }

  void keep_warnings(const GuestReport& report) { keep_once(earlier_warnings_, report.warnings); }

  /// An attempt may warn of what an earlier one did.
  static void keep_once(std::vector<std::string>& kept, const std::vector<std::string>& warnings) {
    for (const std::string& warning : warnings) {
      std::string line = text::one_line(warning);
      if (std::find(kept.begin(), kept.end(), line) == kept.end()) kept.push_back(std::move(line));
    }
  }

  /// Plans the guest after all that happened since the run's survey.
  void look_again() {
    MirrorRequest alone = request_;
    alone.vmids = {.all = false, .guests = {{plan_.vmid, plan_.target_vmid}}};
    alone.tag.clear();
    const Survey found = settled_survey(alone, ports_, stop_);
    const GuestScope& scope = found.guests.at(0);
    offer_ = offer_point(alone, found.inventory, scope, ports_.clock.now(), offer_.repair);
    plan_ = plan_guest(alone, found.inventory, scope, offer_.now, offer_.repair);
  }

  const MirrorRequest& request_;
  PointOffer offer_;  // what the plan was made of
  GuestPlan plan_;
  ImageStates disks_;
  const Ports& ports_;
  TransferSlots& slots_;
  MirrorTotals& totals_;
  std::stop_token stop_;
  std::optional<ResumedPoint> resumed_;
  std::vector<std::string> earlier_warnings_;
  bool told_ = false;
  std::vector<Removal>* removals_ = nullptr;
};

}  // namespace

GuestReport mirror_guest(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
                         const Ports& ports, TransferSlots& slots, MirrorTotals& totals, std::stop_token stop,
                         const Repair& repair) {
  PointOffer offer = offer_point(request, inventory, scope, ports.clock.now(), repair);
  GuestPlan plan = plan_guest(request, inventory, scope, offer.now, repair);
  if (request.options.dry_run) {
    GuestReport report = report_of(plan);
    if (!request.options.allow_left_out) require_complete(report);
    return report;
  }
  return GuestMirror(request, std::move(offer), std::move(plan), surveyed_disks(scope, inventory.source_images), ports,
                     slots, totals, std::move(stop))
      .run();
}

GuestReport mirror_leased_guest(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
                                const Ports& ports, TransferSlots& slots, MirrorTotals& totals,
                                std::vector<Removal>& removals, std::stop_token leased) {
  PointOffer offer = offer_point(request, inventory, scope, ports.clock.now(), {});
  GuestPlan plan = plan_guest(request, inventory, scope, offer.now);
  return GuestMirror(request, std::move(offer), std::move(plan), {}, ports, slots, totals, leased)
      .run_under(leased, removals);
}

}  // namespace crossover
