#include "engine/zero_splitter.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace crossover {

namespace {

bool is_zero(std::span<const std::byte> bytes) {
  return bytes.front() == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace

void ZeroSplitter::data(std::uint64_t offset, std::span<const std::byte> bytes) {
  std::size_t start = 0;       // of what is not given on yet
  std::size_t zero_start = 0;  // of the run of zeroes that ends at `position`
  std::size_t position = 0;
  const auto close_run = [&](bool at_end) {
    const std::size_t run = position - zero_start;
    const bool at_edge = zero_start == 0 || at_end;
    if (run == 0 || (run < min_inner_run_bytes && !at_edge)) return;
    if (zero_start > start) {
      flush();
      sink_.data(offset + start, bytes.subspan(start, zero_start - start));
    }
    zero(offset + zero_start, run);
    start = position;
  };
  while (position < bytes.size()) {
    const auto to_boundary = static_cast<std::size_t>(block_bytes - (offset + position) % block_bytes);
    const std::size_t length = std::min(to_boundary, bytes.size() - position);
    if (!is_zero(bytes.subspan(position, length))) {
      close_run(false);
      zero_start = position + length;
    }
    position += length;
  }
  close_run(true);
  if (start < bytes.size()) {
    flush();
    sink_.data(offset + start, bytes.subspan(start));
  }
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
