/// \file
/// Everything the engine touches the world through.
#pragma once

#include <chrono>
#include <stop_token>

#include "crossover/events.hpp"
#include "engine/hypervisor.hpp"
#include "engine/image_store.hpp"
#include "engine/leases.hpp"

namespace crossover {

/// Time. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  /// The time of day, which somebody may set.
  virtual std::chrono::sys_seconds now() = 0;
  /// Time that only passes: what a deadline is measured by.
  virtual std::chrono::steady_clock::time_point steady() = 0;
  /// Waits; throws Cancelled as soon as `stop` is triggered.
  virtual void wait(std::chrono::milliseconds duration, std::stop_token stop) = 0;
};

/// The image stores of one side. Thread-safe.
class ImageStores {
 public:
  virtual ~ImageStores() = default;
  /// The store that is reached by `access`; connected at the first use and kept.
  virtual ImageStore& open(const CephAccess& access) = 0;
  /// How much of a transfer's content may be under way on this side at once, in bytes, for images that are held
  /// from now on; until it is called, as much as leaves enough for as many as there could be. A side that keeps
  /// nothing under way has nothing to do.
  virtual void set_transfer_memory(std::uint64_t /*bytes*/) {}
};

/// One side of a run.
struct Side {
  Hypervisor& hypervisor;
  GuestPower& power;
  ImageStores& images;
};

class Receivers;

struct Ports {
  Side source;
  Side destination;
  Receivers& receivers;  ///< of the destination
  Leases& leases;  ///< on the source's images
  Clock& clock;
  EventSink& events;
};

}  // namespace crossover
