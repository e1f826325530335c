/// \file
/// Copying what was saved of a guest's memory to the other cluster.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "engine/ports.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

struct StateCopy {
  ImageRef from;
  ImageRef to;
  std::string snapshot;                         ///< the copy's fixed end, which is made of `from` and stays with it
  RbdStorage storage;                           ///< of `to`
  std::chrono::seconds stall_timeout{};         ///< no progress for so long ends it; 0: never
  std::function<void(std::uint64_t)> progress;  ///< with the stream bytes so far, at most five times a second
};

/// Makes the copy. Returns its stream bytes; what came is verified by the transfer's own digest.
/// ErrorCode::already_exists if there is one, ErrorCode::timeout if nothing moves any more.
std::uint64_t copy_state(const StateCopy& what, const Ports& ports, const std::stop_token& stop);

}  // namespace crossover
