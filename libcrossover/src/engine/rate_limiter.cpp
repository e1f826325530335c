#include "engine/rate_limiter.hpp"

#include <algorithm>
#include <cstddef>

#include "crossover/error.hpp"

namespace crossover {

using std::chrono::steady_clock;

RateLimiter::RateLimiter(std::uint64_t bytes_per_second)
    : bytes_per_second_(bytes_per_second), free_at_(steady_clock::now()) {}

void RateLimiter::take(std::uint64_t bytes, const std::stop_token& stop) {
  const std::chrono::duration<double> cost(static_cast<double>(bytes) / static_cast<double>(bytes_per_second_));
  std::unique_lock lock(mutex_);
  const steady_clock::time_point begin = std::max(free_at_, steady_clock::now());
  free_at_ = begin + std::chrono::duration_cast<steady_clock::duration>(cost);
  never_.wait_until(lock, stop, begin, [] { return false; });
  if (stop.stop_requested()) throw Cancelled{};
}

std::size_t RateLimiter::step_bytes() const noexcept {
  return static_cast<std::size_t>(std::clamp<std::uint64_t>(bytes_per_second_ / 10, 1024, 1U << 20));
}

}  // namespace crossover
