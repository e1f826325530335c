#include <fmt/format.h>

#include "crossover/diff_stream.hpp"

namespace crossover::detail {

std::string DiffExtentRule::take(std::uint64_t offset, std::uint64_t length_bytes) {
  if (length_bytes == 0) return fmt::format("an empty extent at {}", offset);
  if (offset < position_) return fmt::format("an extent at {} after one that ended at {}", offset, position_);
  // Written so that neither offset nor length can overflow.
  if (offset > size_bytes_ || length_bytes > size_bytes_ - offset) {
    return fmt::format("an extent of {} bytes at {} in an image of {} bytes", length_bytes, offset, size_bytes_);
  }
  position_ = offset + length_bytes;
  return {};
}

}  // namespace crossover::detail
