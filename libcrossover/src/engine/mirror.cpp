#include "engine/mirror.hpp"

#include <mutex>

#include "engine/guest_mirror.hpp"
#include "engine/in_parallel.hpp"
#include "engine/retry.hpp"
#include "engine/survey.hpp"

namespace crossover {

namespace {

Survey survey_often(const MirrorRequest& request, const Ports& ports, const std::stop_token& stop) {
  for (std::size_t attempt = 0;; ++attempt) {
    try {
      return survey(request, ports, stop);
    } catch (const Error& error) {
      if (!is_connectivity(error) || attempt == request.retries) throw;
      const std::chrono::milliseconds pause = pause_before(attempt);
      ports.events.on_event({.kind = EventKind::retrying, .text = error.what(), .elapsed = pause});
      ports.clock.wait(pause, stop);
    }
  }
}

}  // namespace

MirrorReport mirror(const MirrorRequest& request, const Ports& ports, std::stop_token stop) {
  using std::chrono::steady_clock;
  const auto begin = steady_clock::now();
  MirrorReport report;
  report.job = request.job_name;
  report.destination = request.destination;
  report.dry_run = request.options.dry_run;
  report.started = ports.clock.now();
  ports.events.on_event({.kind = EventKind::run_started});

  const Survey found = survey_often(request, ports, stop);
  report.guests.resize(found.guests.size());
  TransferSlots slots(request.parallel);
  std::mutex totals;
  in_parallel(found.guests.size(), request.parallel, [&](std::size_t index) {
    MirrorTotals of_guest;
    report.guests[index] =
        mirror_guest(request, found.inventory, found.guests[index], ports, slots, of_guest, stop);
    const std::scoped_lock lock(totals);
    report.totals += of_guest;
  });

  report.duration = std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - begin);
  ports.events.on_event({.kind = EventKind::run_finished, .elapsed = report.duration});
  return report;
}

}  // namespace crossover
