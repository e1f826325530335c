#include "engine/guest_mirror.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "crossover/error.hpp"
#include "engine/guest_lease.hpp"
#include "engine/guest_report.hpp"
#include "engine/guest_run.hpp"
#include "engine/survey.hpp"

namespace crossover {

namespace {

/// The guest's plan after all that happened since the run's survey.
GuestPlan plan_again(const MirrorRequest& request, const GuestPlan& before, const Ports& ports,
                     const std::stop_token& stop) {
  try {
    MirrorRequest alone = request;
    alone.vmids = {.all = false, .guests = {{before.vmid, before.target_vmid}}};
    alone.tag.clear();
    const Survey found = survey(alone, ports, stop);
    return plan_guest(alone, found.inventory, found.guests.at(0), ports.clock.now());
  } catch (const Error& error) {
    GuestPlan plan = before;
    plan.resumes = false;
    plan.steps.clear();
    plan.problem = Problem{error.code(), error.what()};
    return plan;
  }
}

/// The run that has the guest for itself.
GuestReport run_leased(const MirrorRequest& request, const GuestPlan& plan, const Ports& ports,
                       TransferSlots& slots, MirrorTotals& totals, const std::stop_token& stop) {
  GuestReport report = run_guest(request, plan, ports, slots, totals, nullptr, stop);
  if (!plan.resumes || report.outcome != Outcome::ok) return report;
  const GuestPlan next = plan_again(request, plan, ports, stop);
  GuestReport last = run_guest(request, next, ports, slots, totals, &*report.resumed, stop);
  // Both say what the plans warn of.
  std::erase_if(report.warnings, [&](const std::string& warning) {
    return std::find(last.warnings.begin(), last.warnings.end(), warning) != last.warnings.end();
  });
  last.warnings.insert(last.warnings.begin(), report.warnings.begin(), report.warnings.end());
  return last;
}

GuestReport report_lost(GuestPlan plan, const Ports& ports, MirrorTotals& totals) {
  plan.problem =
      Problem{ErrorCode::locked, fmt::format("VM {}: the lease on its disks could not be renewed in time, "
                                             "so the run was ended; the next one goes on from there",
                                             plan.vmid)};
  const GuestReport report = report_of(plan);
  ++totals.guests_failed;
  ports.events.on_event({.kind = EventKind::guest_finished,
                         .vmid = plan.vmid,
                         .target_vmid = plan.target_vmid,
                         .host = plan.target_node,
                         .text = report.error});
  return report;
}

}  // namespace

GuestReport mirror_guest(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
                         const Ports& ports, TransferSlots& slots, MirrorTotals& totals, std::stop_token stop) {
  GuestPlan plan = plan_guest(request, inventory, scope, ports.clock.now());
  if (request.options.dry_run) return report_of(plan);
  std::optional<GuestLease> lease;
  try {
    if (!plan.problem) lease.emplace(ports, plan, request.lock_wait, stop);
  } catch (const Error& error) {
    plan.problem = Problem{error.code(), error.what()};
  }
  if (!lease) return run_guest(request, plan, ports, slots, totals, nullptr, std::move(stop));
  if (lease->waited()) plan = plan_again(request, plan, ports, stop);
  try {
    return run_leased(request, plan, ports, slots, totals, lease->stop());
  } catch (const Cancelled&) {
    if (stop.stop_requested() || !lease->lost()) throw;
    return report_lost(plan, ports, totals);
  }
}

}  // namespace crossover
