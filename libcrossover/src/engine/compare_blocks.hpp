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

/// Blocks in which whole snapshots are compared.
inline constexpr std::uint64_t whole_block_bytes = std::uint64_t{4} << 20;

/// All of a snapshot of that size, in such blocks.
BlockSelection whole_snapshot(std::uint64_t size_bytes, std::uint64_t block_bytes = whole_block_bytes);

/// Both sides hash at the same time. `progress` is called with the blocks compared so far, from one thread at a
/// time. Throws what either side throws first, and Cancelled once `stop` is triggered.
BlockComparison compare_blocks(const ComparedSnapshot& one, const ComparedSnapshot& other,
                               const BlockSelection& blocks, const std::function<void(std::uint64_t)>& progress,
                               const std::stop_token& stop);

/// Names what was found to differ to 4 KiB, unless it is more than 1 GiB or a side is not permitted to hash so small
/// blocks, and not past `size_bytes`.
std::vector<ByteRange> narrow(const ComparedSnapshot& one, const ComparedSnapshot& other,
                              std::vector<ByteRange> differing, std::uint64_t size_bytes,
                              const std::stop_token& stop);

std::uint64_t sum(const std::vector<ByteRange>& ranges);

}  // namespace crossover
