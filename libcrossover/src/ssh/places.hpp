/// \file
/// So many at once.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "ssh/deadline.hpp"
#include "ssh/stop_event.hpp"

namespace crossover {

/// A number of places; who finds all taken waits. Thread-safe.
class Places : public std::enable_shared_from_this<Places> {
 public:
  explicit Places(std::size_t count) : free_(count) {}

  /// A place that is taken until it is destroyed.
  class Place {
   public:
    explicit Place(std::shared_ptr<Places> places) noexcept : places_(std::move(places)) {}
    Place(Place&&) = default;
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (places_) places_->put();
    }

   private:
    std::shared_ptr<Places> places_;
  };

  /// Nothing at the deadline; Cancelled.
  std::optional<Place> take(const StopEvent& stop, Deadline deadline) {
    stop.check();
    std::unique_lock lock(mutex_);
    if (!freed_.wait_until(lock, stop.token(), deadline.time_point(), [this] { return free_ > 0; })) {
      // The wake-up this one may have consumed belongs to the next in line.
      lock.unlock();
      freed_.notify_one();
      stop.check();
      return std::nullopt;
    }
    --free_;
    return Place(shared_from_this());
  }

 private:
  void put() noexcept {
    {
      const std::lock_guard lock(mutex_);
      ++free_;
    }
    freed_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable_any freed_;
  std::size_t free_;
};

}  // namespace crossover
