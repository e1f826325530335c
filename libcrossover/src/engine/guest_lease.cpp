#include "engine/guest_lease.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "crossover/error.hpp"

namespace crossover {

namespace {

constexpr std::chrono::milliseconds poll_interval{500};

std::vector<LeasedImage> images_of(const GuestPlan& plan) {
  std::vector<LeasedImage> images;
  for (const DiskPlan& disk : plan.disks) images.push_back({disk.disk.image, disk.identity.image_id});
  // Two runs that take them in one order do not wait for each other.
  std::sort(images.begin(), images.end(),
            [](const LeasedImage& one, const LeasedImage& other) { return one.image.spec < other.image.spec; });
  return images;
}

}  // namespace

GuestLease::GuestLease(const Ports& ports, const GuestPlan& plan, std::chrono::seconds wait, std::stop_token stop)
    : forward_(stop, Forward{&ending_}) {
  const std::vector<LeasedImage> images = images_of(plan);
  if (images.empty()) return;
  for (std::chrono::milliseconds waited{0};; waited += poll_interval) {
    try {
      lease_ = ports.leases.take(images, [this] {
        lost_ = true;
        ending_.request_stop();
      });
      return;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::locked) throw;
      if (waited >= wait) {
        throw Error(ErrorCode::locked, "mirror", fmt::format("VM {}", plan.vmid),
                    fmt::format("another run is at it: {}", error.cause()), true);
      }
    }
    waited_ = true;
    ports.clock.wait(poll_interval, stop);
  }
}

}  // namespace crossover
