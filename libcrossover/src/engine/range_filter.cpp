#include "engine/range_filter.hpp"

#include <algorithm>

namespace crossover {

std::uint64_t RangeFilter::end_of_range() const {
  const ByteRange& range = ranges_.front();
  return range.offset >= size_bytes_ ? range.offset
                                     : range.offset + std::min(range.length_bytes, size_bytes_ - range.offset);
}

void RangeFilter::size(std::uint64_t size_bytes) {
  size_bytes_ = size_bytes;
  sink_.size(size_bytes);
}

void RangeFilter::advance(std::uint64_t end) {
  while (!ranges_.empty()) {
    position_ = std::max(position_, ranges_.front().offset);
    const std::uint64_t until = std::min(end, end_of_range());
    if (until > position_) {
      sink_.zero(position_, until - position_);
      position_ = until;
    }
    if (position_ < end_of_range()) return;
    ranges_ = ranges_.subspan(1);
  }
}

void RangeFilter::data(std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::uint64_t end = offset + bytes.size();
  advance(offset);
  while (!ranges_.empty() && ranges_.front().offset < end) {
    const std::uint64_t from = std::max(offset, ranges_.front().offset);
    const std::uint64_t until = std::min(end, end_of_range());
    if (until > from) {
      sink_.data(from,
                 bytes.subspan(static_cast<std::size_t>(from - offset), static_cast<std::size_t>(until - from)));
      position_ = until;
    }
    if (end < end_of_range()) return;
    ranges_ = ranges_.subspan(1);
  }
}

void RangeFilter::finish() {
  advance(size_bytes_);
  sink_.finish();
}

}  // namespace crossover
