#include "rbd/data_gatherer.hpp"

#include <algorithm>
#include <utility>

namespace crossover::rbd {

DataGatherer::DataGatherer(std::uint64_t boundary_bytes, Write write)
    : boundary_bytes_(boundary_bytes), write_(std::move(write)) {}

void DataGatherer::data(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (!bytes_.empty() && offset != offset_ + bytes_.size()) flush();
  while (!bytes.empty()) {
    if (bytes_.empty()) offset_ = offset;
    const std::uint64_t room = boundary_bytes_ - offset % boundary_bytes_;
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(room, bytes.size()));
    bytes_.append(bytes.first(count));
    offset += count;
    bytes = bytes.subspan(count);
    if (count == room) flush();
  }
}

void DataGatherer::flush() {
  if (bytes_.empty()) return;
  write_(offset_, std::exchange(bytes_, {}));
}

}  // namespace crossover::rbd
