#include "engine/block_hashes.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <new>
#include <string>

#include "crossover/error.hpp"
#include "stream/little_endian.hpp"

namespace crossover {

namespace {

constexpr std::uint64_t min_block_bytes = 4096;
constexpr std::uint64_t max_block_bytes = std::uint64_t{4} << 20;
constexpr std::uint32_t million = 1'000'000;

const std::vector<std::byte>& zeroes() {
  static const std::vector<std::byte> block(max_block_bytes);
  return block;
}

class Chooser {
 public:
  explicit Chooser(const BlockSample& sample)
      : seed_(sample.seed),
        all_(sample.per_million == million),
        limit_(std::numeric_limits<std::uint64_t>::max() / million * sample.per_million) {}

  [[nodiscard]] bool takes(std::uint64_t number) const {
    std::string bytes;
    stream::append_little_endian(bytes, number);
    return all_ || XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed_) < limit_;
  }

 private:
  std::uint64_t seed_;
  bool all_;
  std::uint64_t limit_;
};

void append(std::vector<ByteRange>& ranges, std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return;
  if (!ranges.empty() && ranges.back().offset + ranges.back().length_bytes == offset) {
    ranges.back().length_bytes += length;
  } else {
    ranges.push_back({offset, length});
  }
}

}  // namespace

void check_selection(const BlockSelection& blocks) {
  const auto refuse = [](const std::string& cause) { throw Error(ErrorCode::usage, "hash blocks", "", cause); };
  const std::uint64_t block_bytes = blocks.block_bytes;
  if (!std::has_single_bit(block_bytes) || block_bytes < min_block_bytes || block_bytes > max_block_bytes) {
    refuse(fmt::format("blocks of {} bytes", block_bytes));
  }
  std::uint64_t end = 0;
  for (const ByteRange& range : blocks.ranges) {
    const std::uint64_t room = std::numeric_limits<std::uint64_t>::max() - range.offset;
    if (range.offset % block_bytes != 0 || range.length_bytes % block_bytes != 0 || range.offset < end ||
        range.length_bytes > room) {
      refuse(fmt::format("{} bytes at {} are not the next whole blocks", range.length_bytes, range.offset));
    }
    end = range.offset + range.length_bytes;
  }
  if (blocks.sample && (blocks.sample->per_million == 0 || blocks.sample->per_million > million)) {
    refuse(fmt::format("a sample of {} millionths", blocks.sample->per_million));
  }
}

std::vector<ByteRange> selected_ranges(const BlockSelection& blocks, std::uint64_t size_bytes) {
  std::vector<ByteRange> selected;
  std::optional<Chooser> chooser;
  if (blocks.sample) chooser.emplace(*blocks.sample);
  for (const ByteRange& range : blocks.ranges) {
    if (range.offset >= size_bytes) break;
    const std::uint64_t end = std::min(range.offset + range.length_bytes, size_bytes);
    if (!chooser) {
      append(selected, range.offset, end - range.offset);
      continue;
    }
    for (std::uint64_t offset = range.offset; offset < end; offset += std::min(blocks.block_bytes, end - offset)) {
      if (chooser->takes(offset / blocks.block_bytes)) {
        append(selected, offset, std::min(blocks.block_bytes, end - offset));
      }
    }
  }
  return selected;
}

std::vector<BlockSelection> split_selection(const BlockSelection& blocks, std::uint64_t max_blocks) {
  const std::uint64_t share = blocks.sample ? blocks.sample->per_million : million;
  const std::uint64_t piece_bytes = max_blocks * million / share * blocks.block_bytes;
  std::vector<BlockSelection> pieces;
  std::uint64_t room = 0;
  for (ByteRange range : blocks.ranges) {
    while (range.length_bytes > 0) {
      if (room == 0) {
        pieces.push_back({blocks.block_bytes, {}, blocks.sample});
        room = piece_bytes;
      }
      const std::uint64_t length = std::min(range.length_bytes, room);
      pieces.back().ranges.push_back({range.offset, length});
      range.offset += length;
      range.length_bytes -= length;
      room -= length;
    }
  }
  return pieces;
}

struct BlockHasher::State {
  explicit State(std::uint64_t block_bytes) : hash(XXH3_createState()) {
    if (hash == nullptr) throw std::bad_alloc();
    of_zeroes = XXH3_128bits(zeroes().data(), block_bytes);
  }
  ~State() { XXH3_freeState(hash); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  XXH3_state_t* hash;
  XXH128_hash_t of_zeroes{};
  std::optional<std::uint64_t> number;  // of the block that is begun
  std::uint64_t position = 0;           // bytes of it that are hashed
};

BlockHasher::BlockHasher(std::uint64_t block_bytes, std::function<void(const BlockHash&)> take)
    : block_bytes_(block_bytes), take_(std::move(take)), state_(std::make_unique<State>(block_bytes)) {}

BlockHasher::~BlockHasher() = default;

void BlockHasher::pad(std::uint64_t until) {
  XXH3_128bits_update(state_->hash, zeroes().data(), until - state_->position);
  state_->position = until;
}

void BlockHasher::end_block() {
  if (!state_->number) return;
  pad(block_bytes_);
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->hash);
  // Whether zeroes come as data is up to who reads.
  if (XXH128_isEqual(hash, state_->of_zeroes) == 0) take_({*state_->number, hash.high64, hash.low64});
  state_->number.reset();
}

void BlockHasher::data(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::uint64_t number = offset / block_bytes_;
    const std::uint64_t start = offset % block_bytes_;
    if (state_->number != number) {
      end_block();
      state_->number = number;
      state_->position = 0;
      XXH3_128bits_reset(state_->hash);
    }
    pad(start);
    const auto part =
        bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), block_bytes_ - start)));
    XXH3_128bits_update(state_->hash, part.data(), part.size());
    state_->position = start + part.size();
    offset += part.size();
    bytes = bytes.subspan(part.size());
  }
}

void BlockHasher::finish() {
  end_block();
}

void hash_blocks_here(ImageStore& store, const ImageSpec& image, const Snapshot& snapshot,
                      const BlockSelection& blocks, const std::function<void(const BlockHash&)>& take,
                      const std::stop_token& stop) {
  check_selection(blocks);
  BlockHasher hasher(blocks.block_bytes, take);
  store.read_ranges(image, snapshot, selected_ranges(blocks, snapshot.size_bytes), hasher, stop);
}

}  // namespace crossover
