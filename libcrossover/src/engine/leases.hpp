/// \file
/// The port to leases: one run per guest, from whichever node it starts. Implementation: rbd/librbd_leases; the tests'
/// leases in memory.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "plan/inventory.hpp"

namespace crossover {

/// An image a lease is on, by the id that survives renaming.
struct LeasedImage {
  ImageRef image;
  std::string id;
};

/// Held and renewed for as long as this object lives. A process that dies leaves one that runs out by itself.
class Lease {
 public:
  virtual ~Lease() = default;
};

/// Thread-safe.
class Leases {
 public:
  virtual ~Leases() = default;

  /// Takes the lease on every image, in the order given: who takes several takes them in the order of their names.
  /// ErrorCode::locked, retryable, with who holds it in the cause, if another run has one of them; none is held
  /// then. `lost` is called once, from any thread, if it could not be renewed in time: others may have it then.
  virtual std::unique_ptr<Lease> take(std::span<const LeasedImage> images, std::function<void()> lost) = 0;
};

}  // namespace crossover
