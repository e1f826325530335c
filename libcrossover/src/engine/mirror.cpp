#include "engine/mirror.hpp"

#include "engine/guest_run.hpp"
#include "engine/survey.hpp"

namespace crossover {

MirrorReport mirror(const MirrorRequest& request, const Ports& ports, std::stop_token stop) {
  using std::chrono::steady_clock;
  const auto begin = steady_clock::now();
  MirrorReport report;
  report.job = request.job_name;
  report.destination = request.destination;
  report.dry_run = request.options.dry_run;
  report.started = ports.clock.now();
  ports.events.on_event({.kind = EventKind::run_started});

  const Survey found = survey(request, ports, stop);
  for (const GuestScope& scope : found.guests) {
    const GuestPlan plan = plan_guest(request, found.inventory, scope, ports.clock.now());
    report.guests.push_back(report.dry_run ? report_of(plan)
                                           : run_guest(request, plan, ports, report.totals, stop));
  }

  report.duration = std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - begin);
  ports.events.on_event({.kind = EventKind::run_finished, .elapsed = report.duration});
  return report;
}

}  // namespace crossover
