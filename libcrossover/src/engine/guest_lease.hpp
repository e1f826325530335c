/// \file
/// One run at a time on a guest.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/ports.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

/// The disks of a source guest that are there, out of the images that were surveyed.
ImageStates surveyed_disks(const GuestScope& scope, const ImageStates& images);

/// Disks that are there, in the order in which they are leased: two runs that take them in one order do not wait
/// for each other.
std::vector<LeasedImage> leased_images(const ImageStates& disks);

/// The lease on a source guest's disks, and a stop token that ends the run when it is lost.
class GuestLease {
 public:
  /// Waits for another run's lease up to `wait`; ErrorCode::locked if that run goes on. A guest without disks has
  /// nothing to be leased, and nothing that two runs could spoil.
  GuestLease(const Ports& ports, std::uint32_t vmid, std::span<const LeasedImage> images, std::chrono::seconds wait,
             std::stop_token stop);
  GuestLease(const GuestLease&) = delete;
  GuestLease& operator=(const GuestLease&) = delete;

  /// Triggered by the token given, and when the lease is lost.
  [[nodiscard]] std::stop_token stop() const { return ending_.get_token(); }
  [[nodiscard]] bool lost() const noexcept { return lost_; }
  /// Whether another run had it before: what was known of the guest is old.
  [[nodiscard]] bool waited() const noexcept { return waited_; }

 private:
  struct Forward {
    std::stop_source* ending;
    void operator()() const noexcept { ending->request_stop(); }
  };

  std::stop_source ending_;
  std::stop_callback<Forward> forward_;
  std::atomic<bool> lost_ = false;
  bool waited_ = false;
  std::unique_ptr<Lease> lease_;  // last: it may call back as long as it lives
};

}  // namespace crossover
