/// \file
/// A moment up to which something may take, or none.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

namespace crossover {

/// A point in time, or "never". Plain value.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline never() noexcept { return Deadline(); }
  /// Limits of a year and more (such as milliseconds::max()) count as never.
  static Deadline after(std::chrono::milliseconds limit) noexcept {
    Deadline deadline;
    if (limit < std::chrono::hours(24 * 365)) deadline.at_ = Clock::now() + limit;
    return deadline;
  }

  [[nodiscard]] bool passed() const noexcept { return at_ && Clock::now() >= *at_; }
  /// What poll() takes: -1 for never, else whole milliseconds, rounded up so that a wait never ends too early.
  [[nodiscard]] int poll_timeout() const noexcept {
    if (!at_) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*at_ - Clock::now()).count();
    return static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(left, 0, 1 << 30));
  }
  /// The sooner of the two.
  [[nodiscard]] Deadline sooner(const Deadline& other) const noexcept {
    if (!at_) return other;
    if (!other.at_) return *this;
    return *at_ < *other.at_ ? *this : other;
  }

 private:
  std::optional<Clock::time_point> at_;
};

}  // namespace crossover
