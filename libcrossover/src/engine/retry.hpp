/// \file
/// Trying again where a connection broke.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "crossover/error.hpp"

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

}  // namespace crossover
