#include "engine/guest_lease.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "crossover/error.hpp"

namespace crossover {

namespace {

constexpr std::chrono::milliseconds poll_interval{500};

}  // namespace

ImageStates surveyed_disks(const GuestScope& scope, const ImageStates& images) {
  ImageStates disks;
  for (const GuestDisk& disk : scope.disks.replicated) {
    const auto found = images.find(disk.image);
    if (found != images.end() && found->second) disks.insert(*found);
  }
  return disks;
}

std::vector<LeasedImage> leased_images(const ImageStates& disks) {
  std::vector<LeasedImage> leased;
  leased.reserve(disks.size());
  for (const auto& [image, state] : disks) leased.push_back({image, state->id});
  std::sort(leased.begin(), leased.end(),
            [](const LeasedImage& one, const LeasedImage& other) { return one.image.spec < other.image.spec; });
  return leased;
}

GuestLease::GuestLease(const Ports& ports, std::uint32_t vmid, std::span<const LeasedImage> images,
                       std::chrono::seconds wait, std::stop_token stop)
    : forward_(stop, Forward{&ending_}) {
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
        throw Error(ErrorCode::locked, "mirror", fmt::format("VM {}", vmid),
                    fmt::format("another run is at it: {}", error.cause()), true);
      }
    }
    waited_ = true;
    ports.clock.wait(poll_interval, stop);
  }
}

}  // namespace crossover
