#include "engine/guest_work.hpp"

#include <utility>

#include "engine/in_parallel.hpp"
#include "engine/live_lock.hpp"

namespace crossover {

ImageStore& GuestWork::source(const DiskPlan& disk) const {
  return ports.source.images.open(disk.disk.image.access);
}

ImageStore& GuestWork::destination(const DiskPlan& disk) const {
  return ports.destination.images.open(disk.replica.access);
}

void GuestWork::require_live_lock(const DiskPlan& disk) const {
  if (plan.running) crossover::require_live_lock(source(disk), disk.disk.image.spec);
}

void GuestWork::tell(Event event) const {
  event.vmid = plan.vmid;
  if (event.target_vmid == 0) event.target_vmid = plan.target_vmid;
  if (event.host.empty()) event.host = plan.target_node;
  ports.events.on_event(event);
}

void GuestWork::warn(const std::string& text) const {
  tell({.kind = EventKind::warning, .text = text});
}

void GuestWork::note(const std::string& warning) {
  {
    const std::scoped_lock lock(mutex);
    report.warnings.push_back(warning);
  }
  warn(warning);
}

void GuestWork::for_disks(const std::function<void(const DiskPlan& disk, std::size_t index)>& work) const {
  in_parallel(plan.disks.size(), request.parallel, [&](std::size_t i) { work(plan.disks[i], i); });
}

std::string GuestWork::point_name(const ImageRef& image) const {
  return to_string(image.spec) + "@" + plan.snapshot;
}

}  // namespace crossover
