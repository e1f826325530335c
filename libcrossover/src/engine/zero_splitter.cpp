#include "engine/zero_splitter.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace crossover {

namespace {

bool is_zero(std::span<const std::byte> bytes) {
  return bytes.front() == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

/// The runs of zeroes that are cut out of `bytes`, which stand at `offset` of the image; where they are in `bytes`.
std::vector<ByteRange> zero_runs(std::uint64_t offset, std::span<const std::byte> bytes) {
  std::vector<ByteRange> runs;
  std::size_t run_start = 0;
  std::size_t position = 0;
  const auto close_run = [&] {
    const std::size_t run = position - run_start;
    const bool at_edge = run_start == 0 || position == bytes.size();
    if (run > 0 && (at_edge || run >= ZeroSplitter::min_inner_run_bytes)) runs.push_back({run_start, run});
  };
  while (position < bytes.size()) {
    const auto to_boundary =
        static_cast<std::size_t>(ZeroSplitter::block_bytes - (offset + position) % ZeroSplitter::block_bytes);
    const std::size_t length = std::min(to_boundary, bytes.size() - position);
    if (!is_zero(bytes.subspan(position, length))) {
      close_run();
      run_start = position + length;
    }
    position += length;
  }
  close_run();
  return runs;
}

}  // namespace

void ZeroSplitter::data(std::uint64_t offset, std::span<const std::byte> bytes) {
  cut(offset, bytes, zero_runs(offset, bytes));
}

void ZeroSplitter::hand_over(std::uint64_t offset, OwnedBytes bytes) {
  const std::vector<ByteRange> runs = zero_runs(offset, bytes.span());
  if (!runs.empty()) return cut(offset, bytes.span(), runs);
  flush();
  sink_.hand_over(offset, std::move(bytes));
}

void ZeroSplitter::cut(std::uint64_t offset, std::span<const std::byte> bytes, const std::vector<ByteRange>& runs) {
  std::size_t start = 0;  // of what is not given on yet
  const auto give_until = [&](std::size_t end) {
    if (start == end) return;
    flush();
    sink_.data(offset + start, bytes.subspan(start, end - start));
  };
  for (const ByteRange& run : runs) {
    give_until(static_cast<std::size_t>(run.offset));
    zero(offset + run.offset, run.length_bytes);
    start = static_cast<std::size_t>(run.offset + run.length_bytes);
  }
  give_until(bytes.size());
}

void ZeroSplitter::zero(std::uint64_t offset, std::uint64_t length_bytes) {
  if (length_bytes == 0) return;
  if (zero_bytes_ != 0 && offset == zero_offset_ + zero_bytes_) {
    zero_bytes_ += length_bytes;
    return;
  }
  flush();
  zero_offset_ = offset;
  zero_bytes_ = length_bytes;
}

void ZeroSplitter::flush() {
  const std::uint64_t length = std::exchange(zero_bytes_, 0);
  if (length != 0) sink_.zero(zero_offset_, length);
}

}  // namespace crossover
