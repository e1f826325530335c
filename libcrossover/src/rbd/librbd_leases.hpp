/// \file
/// Leases as locks of RADOS that run out.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "engine/leases.hpp"
#include "rbd/librbd_store.hpp"

namespace crossover {

/// How long a lease lasts that nobody renews, and how often it is renewed.
struct LeaseTimes {
  std::chrono::seconds duration{30};
  std::chrono::milliseconds renewal{10'000};
};

/// A lease is an exclusive lock of the class `lock` with the name "crossover.run" on the image's header object
/// ("rbd_header." and the image's id), that runs out by itself. It is no lock of RBD's and keeps nobody from the image.
/// Its description says who holds it; that of a process of this host that is gone is broken at once, without waiting for
/// it to run out. It is lost as soon as a renewal finds that it is not there any more, or when it was not renewed for as
/// long as it lasts, even if the call that renews it has not come back by then.
class LibrbdLeases final : public Leases {
 public:
  /// The store an access leads to; it has to outlive this object and its leases.
  using Open = std::function<LibrbdStore&(const CephAccess&)>;

  explicit LibrbdLeases(Open open, LeaseTimes times = {});

  std::unique_ptr<Lease> take(std::span<const LeasedImage> images, std::function<void()> lost) override;

 private:
  Open open_;
  LeaseTimes times_;
  std::string holder_;  // what the description says of this process
};

}  // namespace crossover
