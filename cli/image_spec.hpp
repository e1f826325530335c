/// \file
/// "[pool/[namespace/]]image[@snapshot]", as `rbd` writes images.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "crossover/image.hpp"

namespace crossover::cli {

struct SnapshotSpec {
  ImageSpec image;       ///< an empty pool: the default one
  std::string snapshot;  ///< empty: the head

  bool operator==(const SnapshotSpec&) const = default;
};

/// Reads a spec; nothing if it is none. As with `rbd`, the pool ends at the first '/', the namespace at the second,
/// and the snapshot begins at the first '@' behind them; a part that would be empty belongs to the name.
std::optional<SnapshotSpec> parse_snapshot_spec(std::string_view text);

}  // namespace crossover::cli
