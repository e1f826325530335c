#include "engine/guest_mirror.hpp"

#include <algorithm>
#include <utility>

#include "crossover/error.hpp"
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

}  // namespace

GuestReport mirror_guest(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
                         const Ports& ports, TransferSlots& slots, MirrorTotals& totals, std::stop_token stop) {
  const GuestPlan plan = plan_guest(request, inventory, scope, ports.clock.now());
  if (request.options.dry_run) return report_of(plan);
  GuestReport report = run_guest(request, plan, ports, slots, totals, nullptr, stop);
  if (!plan.resumes || report.outcome != Outcome::ok) return report;
  const GuestPlan next = plan_again(request, plan, ports, stop);
  GuestReport last = run_guest(request, next, ports, slots, totals, &*report.resumed, std::move(stop));
  // Both say what the plans warn of.
  std::erase_if(report.warnings, [&](const std::string& warning) {
    return std::find(last.warnings.begin(), last.warnings.end(), warning) != last.warnings.end();
  });
  last.warnings.insert(last.warnings.begin(), report.warnings.begin(), report.warnings.end());
  return last;
}

}  // namespace crossover
