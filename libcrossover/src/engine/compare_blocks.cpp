#include "engine/compare_blocks.hpp"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "crossover/error.hpp"

namespace crossover {

namespace {

/// Hashes one side may be ahead of the other.
constexpr std::size_t max_ahead = 65536;

constexpr std::uint64_t fine_block_bytes = 4096;
// Beyond it the exact ranges cost more than they tell.
constexpr std::uint64_t max_refined_bytes = std::uint64_t{1} << 30;

/// Brings two ascending rows of hashes together; a block that one of them lacks reads as zeroes there.
class Pairing {
 public:
  Pairing(std::uint64_t block_bytes, const std::function<void(std::uint64_t)>& progress)
      : block_bytes_(block_bytes), progress_(progress) {}

  void push(std::size_t side, const BlockHash& hash, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    rows_[side].push_back(hash);
    pair();
    // The other row is empty now if this one is not, so its side never waits at the same time.
    if (!moved_.wait(lock, stop, [&] { return rows_[side].size() < max_ahead; })) throw Cancelled{};
  }

  void end(std::size_t side) {
    const std::scoped_lock lock(mutex_);
    ended_[side] = true;
    pair();
  }

  BlockComparison result() { return std::move(result_); }

 private:
  void pair() {
    auto& [one, other] = rows_;
    for (;;) {
      const bool take_one =
          !one.empty() && (other.empty() ? ended_[1] : one.front().number <= other.front().number);
      const bool take_other =
          !other.empty() && (one.empty() ? ended_[0] : other.front().number <= one.front().number);
      if (!take_one && !take_other) break;
      if (!take_one || !take_other || one.front() != other.front()) {
        differs((take_one ? one : other).front().number);
      }
      if (take_one) one.pop_front();
      if (take_other) other.pop_front();
      ++result_.blocks;
    }
    moved_.notify_all();
    progress_(result_.blocks);
  }

  void differs(std::uint64_t number) {
    std::vector<ByteRange>& ranges = result_.differing;
    const std::uint64_t offset = number * block_bytes_;
    if (!ranges.empty() && ranges.back().offset + ranges.back().length_bytes == offset) {
      ranges.back().length_bytes += block_bytes_;
    } else {
      ranges.push_back({offset, block_bytes_});
    }
  }

  const std::uint64_t block_bytes_;
  const std::function<void(std::uint64_t)>& progress_;
  std::mutex mutex_;
  std::condition_variable_any moved_;
  std::array<std::deque<BlockHash>, 2> rows_;
  std::array<bool, 2> ended_{};
  BlockComparison result_;
};

}  // namespace

BlockComparison compare_blocks(const ComparedSnapshot& one, const ComparedSnapshot& other,
                               const BlockSelection& blocks, const std::function<void(std::uint64_t)>& progress,
                               const std::stop_token& stop) {
  Pairing pairing(blocks.block_bytes, progress);
  std::stop_source ending;
  const std::stop_callback forward(stop, [&ending] { ending.request_stop(); });
  std::mutex mutex;
  std::exception_ptr failure;
  const auto hash = [&](const ComparedSnapshot& compared, std::size_t side) {
    try {
      compared.store.hash_blocks(
          compared.image, compared.snapshot, blocks,
          [&](const BlockHash& one_hash) { pairing.push(side, one_hash, ending.get_token()); }, ending.get_token());
      pairing.end(side);
    } catch (...) {
      const std::scoped_lock lock(mutex);
      // The other side ends because of this one.
      if (!failure) failure = std::current_exception();
      ending.request_stop();
    }
  };
  {
    const std::jthread beside([&] { hash(one, 0); });
    hash(other, 1);
  }
  if (stop.stop_requested()) throw Cancelled{};
  if (failure) std::rethrow_exception(failure);
  return pairing.result();
}

BlockSelection whole_snapshot(std::uint64_t size_bytes, std::uint64_t block_bytes) {
  const std::uint64_t count = (size_bytes + block_bytes - 1) / block_bytes;
  BlockSelection blocks;
  blocks.block_bytes = block_bytes;
  blocks.ranges = {{0, count * block_bytes}};
  return blocks;
}

std::vector<ByteRange> narrow(const ComparedSnapshot& one, const ComparedSnapshot& other,
                              std::vector<ByteRange> differing, std::uint64_t size_bytes,
                              const std::stop_token& stop) {
  if (!differing.empty() && sum(differing) <= max_refined_bytes) {
    try {
      differing = compare_blocks(
                      one, other, {fine_block_bytes, differing}, [](std::uint64_t) {}, stop)
                      .differing;
    } catch (const Error& error) {
      // Whoever is restricted to receiving hashes no such blocks: the large ones are named.
      if (error.code() != ErrorCode::permission) throw;
    }
  }
  if (!differing.empty()) {
    // The last block may reach past the end.
    ByteRange& last = differing.back();
    last.length_bytes = std::min(last.length_bytes, size_bytes - last.offset);
  }
  return differing;
}

std::uint64_t sum(const std::vector<ByteRange>& ranges) {
  std::uint64_t bytes = 0;
  for (const ByteRange& range : ranges) bytes += range.length_bytes;
  return bytes;
}

}  // namespace crossover
