/// \file
/// Trying again where a connection broke.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <stop_token>

#include "crossover/error.hpp"
#include "engine/ports.hpp"

namespace crossover {

/// Whether an error is of the connection, not of what was asked: only such are tried again by themselves.
inline bool is_connectivity(const Error& error) {
  return error.retryable() && (error.code() == ErrorCode::unreachable || error.code() == ErrorCode::timeout);
}

/// How long to wait before the `nth` new attempt (0: the first): 1 s, twice as long each time, at most 30 s.
inline std::chrono::milliseconds pause_before(std::size_t nth) {
  constexpr std::chrono::seconds longest{30};
  return nth >= 5 ? longest : std::min(longest, std::chrono::seconds(1 << nth));
}

/// Does something, and again where the connection breaks, up to `retries` times. `tell` hears of the error and of
/// how long it waits before each of these.
template <typename Action>
auto with_retries(std::size_t retries, Clock& clock, const std::stop_token& stop, const Action& action,
                  const std::function<void(const Error&, std::chrono::milliseconds)>& tell = {}) {
  for (std::size_t attempt = 0;; ++attempt) {
    try {
      return action();
    } catch (const Error& error) {
      if (!is_connectivity(error) || attempt >= retries) throw;
      if (tell) tell(error, pause_before(attempt));
    }
    clock.wait(pause_before(attempt), stop);
  }
}

}  // namespace crossover
