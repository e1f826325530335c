/// \file
/// The real clock.
#pragma once

#include <condition_variable>
#include <mutex>

#include "crossover/error.hpp"
#include "engine/ports.hpp"

namespace crossover {

class SystemClock final : public Clock {
 public:
  std::chrono::sys_seconds now() override {
    return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  }

  std::chrono::steady_clock::time_point steady() override { return std::chrono::steady_clock::now(); }

  void wait(std::chrono::milliseconds duration, std::stop_token stop) override {
    std::mutex mutex;
    std::condition_variable_any woken;
    std::unique_lock lock(mutex);
    woken.wait_for(lock, stop, duration, [] { return false; });
    if (stop.stop_requested()) throw Cancelled{};
  }
};

}  // namespace crossover
