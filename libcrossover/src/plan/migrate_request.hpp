/// \file
/// What a migration was asked for, checked. Pure.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "plan/mirror_request.hpp"

namespace crossover {

struct MigrateRequest {
  MirrorRequest mirror;
  std::optional<std::uint64_t> precopy_threshold;  ///< stream bytes; nothing: what takes precopy_time
  std::size_t precopy_rounds = 1;
  std::chrono::seconds shutdown_timeout{};
  bool suspend =
      false;  ///< a running guest is suspended to disk and goes on there, instead of shut down and booted
  MigrateOptions options;  ///< where the flags are read
};

/// A round whose transfer takes no longer is short enough to be one while the guest is down.
inline constexpr std::chrono::seconds precopy_time{2};

/// Checks all options. ErrorCode::usage names the first option that is wrong, its value, and what is expected.
MigrateRequest parse_options(const MirrorOptions& mirror, const MigrateOptions& options);

}  // namespace crossover
