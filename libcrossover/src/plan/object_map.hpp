/// \file
/// RBD's object maps: two bits for each object of an image, one map for its head and one for each snapshot. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace crossover {

/// What a map says of an object (cls_rbd's OBJECT_*). The head's map becomes the new snapshot's when one is made,
/// and every object that was written is clean in the head's from then on.
enum class ObjectState : std::uint8_t {
  absent = 0,
  written = 1,  ///< it is there, and was written since the snapshot before
  pending = 2,  ///< it is being removed
  clean = 3,    ///< it is there, and was not written since
};

/// One map. What lies past its end is absent.
class ObjectMap {
 public:
  /// Reads a map as cls_rbd's method "object_map_load" answers it (ceph's common/bit_vector.hpp). ErrorCode::format
  /// if it is none.
  static ObjectMap parse(std::string_view bytes);

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] ObjectState operator[](std::uint64_t object) const noexcept {
    if (object >= size_) return ObjectState::absent;
    const auto four = static_cast<unsigned char>(packed_[object / 4]);
    return static_cast<ObjectState>(four >> (2 * (3 - object % 4)) & 3U);
  }

 private:
  ObjectMap(std::uint64_t size, std::string packed) : size_(size), packed_(std::move(packed)) {}

  std::uint64_t size_;
  std::string packed_;  // four objects a byte, the first in its highest bits
};

}  // namespace crossover
