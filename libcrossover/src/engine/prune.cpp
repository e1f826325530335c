#include "engine/prune.hpp"

#include <fmt/format.h>

#include <mutex>
#include <utility>

#include "crossover/error.hpp"
#include "engine/former_images.hpp"
#include "engine/guest_report.hpp"
#include "engine/removal_run.hpp"

namespace crossover {

namespace {

constexpr std::size_t images_at_once = 4;

/// What a dry run says of images whose disks are the guest's no more.
void plan_former_images(const PruneRequest& request, const Replica& replica, const PrunePlan& plan,
                        PrunedReplica& report) {
  std::set<std::string> removed;
  for (const Removal& removal : plan.removals) removed.insert(removal.snapshot.name);
  const bool may_go = request.options.former_images && !replica.promotion();
  for (const auto& [image, former] : replica.former(removed)) {
    if (may_go && former.points == 0) {
      report.trashed.push_back(fmt::format("{} ({})", former.image, image.state.id));
    } else {
      report.former_images.push_back(former);
    }
  }
}

PrunedReplica prune_one(const PruneRequest& request, const Replica& replica, const ReplicaPorts& ports,
                        const std::stop_token& stop) {
  PrunedReplica report;
  const ReplicaReport known = report_of(replica, ports.clock.now());
  report.vmid = known.vmid;
  report.node = known.node;
  report.name = known.name;
  report.job = known.job;
  const PrunePlan plan = plan_prune(request, replica, ports.clock.now());
  report.untouched = plan.untouched;
  if (plan.problem) {
    report.outcome = is_conflict(plan.problem->code) ? Outcome::conflict : Outcome::failed;
    report.error_code = plan.problem->code;
    report.error = plan.problem->text;
    return report;
  }
  if (request.options.dry_run) {
    report.outcome = Outcome::planned;
    for (const Removal& removal : plan.removals) {
      report.removed.push_back(to_string(removal.image.spec) + "@" + removal.snapshot.name);
    }
    plan_former_images(request, replica, plan, report);
    return report;
  }
  std::mutex mutex;
  const auto tell = [&](Event event) {
    event.vmid = replica.vmid;
    ports.events.on_event(event);
  };
  const auto note = [&](const std::string& warning) {
    {
      const std::scoped_lock lock(mutex);
      report.warnings.push_back(warning);
    }
    tell({.kind = EventKind::warning, .text = warning});
  };
  std::map<ImageRef, ReplicaRecord> known_records;
  for (const ReplicaImage& image : replica.images) known_records[image.ref] = image_record(image.state).replica.value();
  constexpr std::string_view side = "destination ";
  for (const std::string& removed :
       carry_out(plan.removals, {.source = {},
                                .destination = {&ports.images, known.node, request.options.keep_remote},
                                .parallel = images_at_once,
                                .why_kept = kept_if_changed(ports.images, std::move(known_records)),
                                .tell = tell,
                                .note = note})) {
    report.removed.push_back(removed.substr(side.size()));
  }
  if (request.options.former_images) {
    FormerImages former = trash_former_images(replica.vmid, ports, note, stop);
    report.trashed = std::move(former.trashed);
    report.former_images = std::move(former.stay);
  } else {
    std::set<std::string> gone;
    for (const Removal& removal : plan.removals) gone.insert(removal.snapshot.name);
    for (const auto& [image, former] : replica.former(gone)) report.former_images.push_back(former);
  }
  report.outcome = report.warnings.empty() ? Outcome::ok : Outcome::failed;
  if (!report.warnings.empty()) {
    report.error_code = ErrorCode::io;
    report.error = report.warnings.front();
  }
  return report;
}

}  // namespace

PruneReport prune(const PruneRequest& request, const ReplicaPorts& ports, std::stop_token stop) {
  using std::chrono::steady_clock;
  const auto begin = steady_clock::now();
  PruneReport report;
  report.keep_remote = request.options.keep_remote;
  report.job = request.options.job_name;
  report.dry_run = request.options.dry_run;
  report.started = ports.clock.now();
  std::set<std::uint32_t> named;
  for (const VmidPair& guest : request.vmids.guests) named.insert(guest.source);
  const ReplicaSurvey survey = survey_replicas(request.vmids.all ? std::set<std::uint32_t>{} : named, ports, stop);
  for (const std::uint32_t vmid : named) (void)find_replica(survey, vmid);
  for (const auto& [vmid, replica] : survey.replicas) {
    if (stop.stop_requested()) throw Cancelled{};
    const bool of_job = replica.images.empty() || request.options.job_name.empty() ||
                        replica.images.front().record.job == request.options.job_name;
    if (of_job) report.replicas.push_back(prune_one(request, replica, ports, stop));
  }
  report.duration = std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - begin);
  return report;
}

}  // namespace crossover
