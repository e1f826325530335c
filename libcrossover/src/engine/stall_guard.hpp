/// \file
/// An end to what makes no progress.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "crossover/error.hpp"

namespace crossover {

/// Triggers its stop token when nothing was reported for a while. Thread-safe.
class StallGuard {
 public:
  /// `timeout` zero: never. The token is triggered with `outer`, too.
  StallGuard(std::chrono::milliseconds timeout, std::stop_token outer);
  StallGuard(const StallGuard&) = delete;
  StallGuard& operator=(const StallGuard&) = delete;

  void progress();
  [[nodiscard]] std::stop_token stop() const { return ending_.get_token(); }
  [[nodiscard]] bool stalled() const;

 private:
  struct Forward {
    std::stop_source* ending;
    void operator()() const noexcept { ending->request_stop(); }
  };

  void watch(const std::stop_token& destroyed);

  std::chrono::milliseconds timeout_;
  std::stop_source ending_;
  std::stop_callback<Forward> forward_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  bool stalled_ = false;
  std::jthread watching_;  // last: it uses everything above
};

/// Sends something under a guard that it tells of its progress. Returns what `send` returns; ErrorCode::timeout if
/// the guard ended it.
template <typename Send>
auto send_guarded(std::chrono::seconds timeout, const std::stop_token& stop, const std::string& subject,
                  const Send& send) {
  StallGuard guard(timeout, stop);
  try {
    return send(guard);
  } catch (const Cancelled&) {
    if (stop.stop_requested() || !guard.stalled()) throw;
    throw Error(ErrorCode::timeout, "send", subject, fmt::format("nothing moved for {} s", timeout.count()), true);
  }
}

}  // namespace crossover
