/// \file
/// Hashes of a snapshot's blocks, for every store.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/image_store.hpp"

namespace crossover {

/// Throws Error{usage} if a selection is not as BlockSelection describes it.
void check_selection(const BlockSelection& blocks);

/// The bytes a selection means, as far as `size_bytes` reach; neighbours joined.
std::vector<ByteRange> selected_ranges(const BlockSelection& blocks, std::uint64_t size_bytes);

/// The same selection in pieces of which each is expected to give at most `max_blocks` hashes.
std::vector<BlockSelection> split_selection(const BlockSelection& blocks, std::uint64_t max_blocks);

/// Hashes the blocks of what it is given, and gives on those that do not read as zeroes. Of a block that is begun
/// everything has to come, but for zeroes.
class BlockHasher final : public DiffSink {
 public:
  BlockHasher(std::uint64_t block_bytes, std::function<void(const BlockHash&)> take);
  ~BlockHasher() override;
  BlockHasher(const BlockHasher&) = delete;
  BlockHasher& operator=(const BlockHasher&) = delete;

  void size(std::uint64_t /*size_bytes*/) override {}
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override;
  void zero(std::uint64_t /*offset*/, std::uint64_t /*length_bytes*/) override {}
  void finish() override;

 private:
  struct State;
  void pad(std::uint64_t until);
  void end_block();

  std::uint64_t block_bytes_;
  std::function<void(const BlockHash&)> take_;
  std::unique_ptr<State> state_;
};

/// What ImageStore::hash_blocks() promises, by reading the blocks from `store` and hashing them here.
void hash_blocks_here(ImageStore& store, const ImageSpec& image, const Snapshot& snapshot,
                      const BlockSelection& blocks, const std::function<void(const BlockHash&)>& take,
                      const std::stop_token& stop);

}  // namespace crossover
