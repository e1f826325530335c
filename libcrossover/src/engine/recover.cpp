#include "engine/recover.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "crossover/error.hpp"
#include "engine/guest_report.hpp"
#include "engine/in_parallel.hpp"
#include "engine/unexpected_error.hpp"
#include "engine/wait_until_running.hpp"
#include "plan/migration_record.hpp"
#include "plan/points.hpp"
#include "plan/recovery_mark.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr std::size_t images_at_once = 4;
constexpr seconds interval{1};
/// An agent gives up a client that is silent for 45 s; the watch of one that died goes after about 30 s.
constexpr seconds longest_wait_for_writer{90};

class Recovery {
 public:
  Recovery(const RecoverPlan& plan, const ReplicaPorts& ports, std::stop_token stop)
      : plan_(plan), ports_(ports), stop_(std::move(stop)), version_{plan.config_before} {
    for (const ReplicaImage& image : plan.images) records_.push_back(image_record(image.state).replica.value());
  }

  void run(RecoverReport& report) {
    for (std::size_t first = 0; first < plan_.steps.size();) {
      std::size_t end = first + 1;
      while (end < plan_.steps.size() && plan_.steps[end].kind == plan_.steps[first].kind) ++end;
      in_parallel(end - first, images_at_once, [&](std::size_t index) {
        const RecoverStep& step = plan_.steps[first + index];
        if (stop_.stop_requested()) throw Cancelled{};
        tell({.kind = EventKind::step, .text = describe(plan_, step)});
        carry_out(step);
        if (step.kind == RecoverStepKind::start) report.started = true;
      });
      first = end;
    }
  }

 private:
  void carry_out(const RecoverStep& step) {
    switch (step.kind) {
      case RecoverStepKind::promote:
        hold_images();
        promote(false);
        return require_point();
      case RecoverStepKind::lock:
        version_ = ports_.hypervisor.write_config(plan_.node, plan_.vmid, version_, plan_.locked_config, stop_);
        return;
      case RecoverStepKind::check:
        return check();
      case RecoverStepKind::roll_back: {
        const auto& [ref, snapshot] = plan_.disks[step.disk];
        return hold(ref).roll_back(snapshot, stop_);
      }
      case RecoverStepKind::settle:
        check();
        promote(true);
        // Whoever starts it opens them.
        holds_.clear();
        return;
      case RecoverStepKind::write_config:
        if (plan_.write_firewall) ports_.hypervisor.write_firewall(plan_.vmid, plan_.firewall, stop_);
        version_ = ports_.hypervisor.write_config(plan_.node, plan_.vmid, version_, plan_.config, stop_);
        return;
      case RecoverStepKind::start:
        return start();
    }
  }

  void tell(Event event) const {
    event.vmid = plan_.vmid;
    event.host = plan_.node;
    ports_.events.on_event(event);
  }

  void promote(bool done) {
    Promotion promotion = plan_.promotion;
    promotion.done = done;
    in_parallel(plan_.images.size(), images_at_once, [&](std::size_t i) {
      const ImageState& image = plan_.images[i].state;
      // It is to be a guest of its own: what once took it away from here is over.
      if (image.metadata.contains(std::string(migration_key))) {
        holds_[i]->remove_metadata(std::string(migration_key));
      }
      set_promotion(records_[i], promotion, image);
      holds_[i]->set_metadata(std::string(promotion_key), render_promotion(records_[i]));
    });
  }

  /// Whoever removes points looks for the promotion once they are none any more: one of the two gives way.
  void require_point() {
    const std::string key = std::string(point_key_prefix) + plan_.point;
    bool is_point = false;
    bool has_snapshots = true;
    for (std::size_t i = 0; i < plan_.images.size(); ++i) {
      const ImageState now = holds_[i]->state();
      is_point = is_point || now.metadata.contains(key);
      for (const auto& [ref, snapshot] : plan_.disks) {
        if (ref != plan_.images[i].ref) continue;
        has_snapshots = has_snapshots && find_snapshot(now, snapshot.name, snapshot.id) != nullptr;
      }
    }
    if (is_point && has_snapshots) return;
    take_back_promotion();
    refuse(ErrorCode::conflict, plan_.point, "another command is removing it; nothing was changed");
  }

  /// To what it was; the images are held.
  void take_back_promotion() {
    in_parallel(plan_.images.size(), images_at_once, [&](std::size_t i) {
      const auto& metadata = plan_.images[i].state.metadata;
      const auto before = metadata.find(std::string(promotion_key));
      if (before == metadata.end()) return holds_[i]->remove_metadata(std::string(promotion_key));
      holds_[i]->set_metadata(std::string(promotion_key), before->second);
    });
  }

  /// From here to the end nobody else writes to any of them; what was looked at is what is there.
  void hold_images() {
    holds_.resize(plan_.images.size());
    in_parallel(plan_.images.size(), images_at_once, [&](std::size_t i) {
      const ImageRef& ref = plan_.images[i].ref;
      holds_[i] = ports_.images.open(ref.access).hold(ref.spec, stop_);
    });
    check_images();
  }

  ImageHold& hold(const ImageRef& ref) {
    const auto image = std::find_if(plan_.images.begin(), plan_.images.end(),
                                    [&](const ReplicaImage& one) { return one.ref == ref; });
    return *holds_.at(static_cast<std::size_t>(image - plan_.images.begin()));
  }

  [[noreturn]] static void refuse(ErrorCode code, const std::string& subject, const std::string& cause) {
    throw Error(code, "recover", subject, cause + "; recover it again", true);
  }

  void check() {
    if (ports_.power.power(plan_.node, plan_.vmid, stop_) != Power::stopped) {
      refuse(ErrorCode::conflict, fmt::format("VM {}", plan_.vmid), "it was started meanwhile");
    }
    check_images();
  }

  void check_images() {
    in_parallel(plan_.images.size(), images_at_once, [&](std::size_t i) {
      const std::string subject = to_string(plan_.images[i].ref.spec);
      const ImageState now = holds_[i]->state();
      if (!now.watchers.empty()) {
        refuse(ErrorCode::in_use, subject,
               fmt::format("it is open elsewhere, by {}", fmt::join(now.watchers, ", ")));
      }
      if (image_record(now).replica != records_[i]) {
        refuse(ErrorCode::conflict, subject, "another run wrote its record meanwhile");
      }
    });
  }

  void start() {
    ports_.power.start(plan_.node, plan_.vmid, stop_);
    wait_until_running(ports_.power, ports_.clock, plan_.node, plan_.vmid, stop_);
  }

  const RecoverPlan& plan_;
  const ReplicaPorts& ports_;
  std::stop_token stop_;
  ConfigVersion version_;
  std::vector<ReplicaRecord> records_;             // as they stand on the images
  std::vector<std::unique_ptr<ImageHold>> holds_;  // on the same, from the mark until the head is settled
};

bool is_open(const Replica& replica) {
  return std::any_of(replica.images.begin(), replica.images.end(),
                     [](const ReplicaImage& image) { return !image.state.watchers.empty(); });
}

/// The mark by which whoever receives for a replica gives way to its recovery, on each of its images.
class RecoveryMarks {
 public:
  explicit RecoveryMarks(const ReplicaPorts& ports) : ports_(ports) {}

  /// Whatever it throws, what was marked is unmarked at the end.
  void mark(const Replica& replica) {
    for (const ReplicaImage& image : replica.images) {
      try {
        // Beside whoever holds it: it is that one's to see.
        marked_.push_back(image.ref);
        ports_.images.open(image.ref.access)
            .set_metadata(image.ref.spec, std::string(recovery_key), render_recovery_mark(ports_.clock.now()));
      } catch (const Error& error) {
        // Then it is waited for, as for anybody else.
        ports_.events.on_event(
            {.kind = EventKind::warning, .vmid = replica.vmid, .host = replica.guest.node, .text = error.what()});
      }
    }
  }
  ~RecoveryMarks() {
    for (const ImageRef& image : marked_) {
      try {
        ports_.images.open(image.access).remove_metadata(image.spec, std::string(recovery_key));
      } catch (...) {  // NOLINT(bugprone-empty-catch): it does not last
      }
    }
  }
  RecoveryMarks(const RecoveryMarks&) = delete;
  RecoveryMarks& operator=(const RecoveryMarks&) = delete;

 private:
  const ReplicaPorts& ports_;
  std::vector<ImageRef> marked_;
};

/// The source is gone, and so may be who wrote here for it: Ceph takes a while to notice. Whoever receives for it still
/// sees the marks, and ends.
void wait_for_writers(const Replica& replica, const ReplicaPorts& ports, const std::stop_token& stop) {
  seconds waited{0};
  for (const ReplicaImage& image : replica.images) {
    if (image.state.watchers.empty()) continue;
    if (waited == seconds{0}) {
      ports.events.on_event(
          {.kind = EventKind::step,
           .vmid = replica.vmid,
           .host = replica.guest.node,
           .text = fmt::format("wait up to {} s for {}, which is open by {}", longest_wait_for_writer.count(),
                               to_string(image.ref.spec), fmt::join(image.state.watchers, ", "))});
    }
    ImageStore& store = ports.images.open(image.ref.access);
    while (waited < longest_wait_for_writer) {
      ports.clock.wait(interval, stop);
      waited += interval;
      const auto now = store.find(image.ref.spec);
      if (!now || now->watchers.empty()) break;
    }
  }
}

}  // namespace

RecoverReport recover(const RecoverRequest& request, const ReplicaPorts& ports, std::stop_token stop) {
  const auto begin = steady_clock::now();
  ReplicaSurvey survey = survey_replicas({request.vmid}, ports, stop);
  Replica replica = find_replica(survey, request.vmid);
  const bool is_stopped = replica.guest.power == Power::stopped;
  RecoveryMarks marks(ports);  // until the replica is a guest of its own, or is not to be one
  if (!request.dry_run && is_stopped && is_open(replica)) {
    marks.mark(replica);
    wait_for_writers(replica, ports, stop);
    // Whoever it was may have changed what there is.
    survey = survey_replicas({request.vmid}, ports, stop);
    replica = find_replica(survey, request.vmid);
  }
  const RecoverPlan plan = plan_recover(request, survey.cluster, replica, ports.clock.now());
  RecoverReport report;
  report.vmid = plan.vmid;
  report.node = plan.node;
  report.name = plan.name;
  report.dry_run = request.dry_run;
  report.point = plan.point;
  report.was_recovered = plan.was_recovered;
  for (const RecoverStep& step : plan.steps) report.steps.push_back(describe(plan, step));
  const auto fail = [&](ErrorCode code, const std::string& text, bool undecided) {
    report.outcome = undecided ? Outcome::conflict : Outcome::failed;
    report.error_code = code;
    report.error = text;
  };
  if (plan.problem) {
    fail(plan.problem->code, plan.problem->text, is_conflict(plan.problem->code));
  } else if (request.dry_run) {
    report.outcome = Outcome::planned;
  } else {
    report.started = plan.was_recovered && plan.running;
    try {
      Recovery(plan, ports, stop).run(report);
      report.outcome = Outcome::ok;
    } catch (...) {
      const Error error = failure_at_hand();
      fail(error.code(), error.what(), is_conflict(error.code()) && !error.retryable());
    }
  }
  report.duration = duration_cast<milliseconds>(steady_clock::now() - begin);
  return report;
}

}  // namespace crossover
