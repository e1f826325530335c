/// \file
/// Leases as locks of RADOS that run out.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "engine/leases.hpp"
#include "rbd/librbd_store.hpp"

namespace crossover {

/// A lease is an exclusive lock of the class `lock` with the name "crossover.run" on the image's header object
/// ("rbd_header." and the image's id), with a duration of 30 seconds and renewed every 10. It is no lock of RBD's and
/// keeps nobody from the image. Its description says who holds it; that of a process of this host that is gone is
/// broken at once, without waiting for it to run out.
class LibrbdLeases final : public Leases {
 public:
  /// The store an access leads to; it has to outlive this object and its leases.
  using Open = std::function<LibrbdStore&(const CephAccess&)>;

  explicit LibrbdLeases(Open open);

  std::unique_ptr<Lease> take(std::span<const LeasedImage> images, std::function<void()> lost) override;

 private:
  Open open_;
  std::string holder_;  // what the description says of this process
};

}  // namespace crossover
