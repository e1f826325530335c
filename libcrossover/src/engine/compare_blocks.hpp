/// \file
/// Compares blocks of two snapshots by their hashes.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <vector>

#include "engine/image_store.hpp"

namespace crossover {

/// One side of a comparison.
struct ComparedSnapshot {
  ImageStore& store;
  ImageSpec image;
  Snapshot snapshot;
};

struct BlockComparison {
  std::vector<ByteRange> differing;  ///< whole blocks; ascending, neighbours joined
  std::uint64_t blocks = 0;          ///< that hold something on either side
};

/// Both sides hash at the same time. `progress` is called with the blocks compared so far, from one thread at a
/// time. Throws what either side throws first, and Cancelled once `stop` is triggered.
BlockComparison compare_blocks(const ComparedSnapshot& one, const ComparedSnapshot& other,
                               const BlockSelection& blocks, const std::function<void(std::uint64_t)>& progress,
                               const std::stop_token& stop);

}  // namespace crossover
