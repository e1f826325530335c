/// \file
/// Makes few large writes of many small pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "stream/owned_bytes.hpp"

namespace crossover::rbd {

/// Joins pieces of data that follow each other, up to the next multiple of a boundary (an object's end).
class DataGatherer {
 public:
  /// Takes a joined piece, never across a boundary.
  using Write = std::function<void(std::uint64_t offset, OwnedBytes bytes)>;

  DataGatherer(std::uint64_t boundary_bytes, Write write);

  void data(std::uint64_t offset, std::span<const std::byte> bytes);
  /// Writes what is held back.
  void flush();

 private:
  std::uint64_t boundary_bytes_;
  Write write_;
  std::uint64_t offset_ = 0;
  OwnedBytes bytes_;
};

}  // namespace crossover::rbd
