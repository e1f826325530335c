/// \file
/// A limit of bytes a second that everybody who sends shares.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>

namespace crossover {

/// Lets bytes pass at a rate, in the order in which they are asked for. Thread-safe.
class RateLimiter {
 public:
  /// `bytes_per_second` is more than 0.
  explicit RateLimiter(std::uint64_t bytes_per_second);

  /// Waits until these bytes may be sent. What was not sent for a while is not made up for. Throws Cancelled.
  void take(std::uint64_t bytes, const std::stop_token& stop);

  /// How many bytes to take at a time, so that they go out evenly: a tenth of a second's.
  [[nodiscard]] std::size_t step_bytes() const noexcept;

 private:
  std::uint64_t bytes_per_second_;
  std::mutex mutex_;
  std::condition_variable_any never_;
  std::chrono::steady_clock::time_point free_at_;  // when everything that was asked for has gone
};

}  // namespace crossover
