#include "engine/mirror.hpp"

#include <mutex>

#include "engine/guest_mirror.hpp"
#include "engine/in_parallel.hpp"
#include "engine/survey.hpp"
#include "engine/transfers_at_once.hpp"

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

  const Survey found = survey_often(request, ports, stop);
  report.containers = left_out_containers(request, found.inventory.source);
  for (const LeftOutContainer& container : report.containers) {
    ports.events.on_event({.kind = EventKind::left_out,
                           .vmid = container.vmid,
                           .subject = "container on " + container.node,
                           .text = container.reason});
  }
  report.guests.resize(found.guests.size());
  std::size_t disks = 0;
  for (const GuestScope& guest : found.guests) disks += guest.disks.replicated.size();
  TransferSlots slots(transfers_at_once(request, disks, ports.destination.images));
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
