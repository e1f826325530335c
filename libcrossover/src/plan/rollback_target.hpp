/// \file
/// What is kept to find out whether an image was rolled back. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "crossover/image.hpp"

namespace crossover {

/// A snapshot that was there when a base was made, so that the head may have been rolled back to it since, even if
/// it is gone by now.
struct RollbackTarget {
  std::uint64_t snapshot_id = 0;
  std::string name;  ///< for people
  /// Objects that its map has as written. A rollback makes its map the head's, so that these are listed as changed
  /// afterwards: one that is not tells that there was none.
  std::vector<std::uint64_t> witnesses;
  /// All that a rollback to it could change without a trace in the maps, where that is known.
  std::optional<std::vector<ByteRange>> changed;

  bool operator==(const RollbackTarget&) const = default;
};

/// What was there to roll back to when a snapshot was made that is a base now.
struct RollbackTargets {
  std::uint64_t base_id = 0;
  std::vector<RollbackTarget> targets;

  bool operator==(const RollbackTargets&) const = default;
};

}  // namespace crossover
