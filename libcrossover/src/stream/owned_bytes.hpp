/// \file
/// Bytes that are handed over instead of copied. Pure.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace crossover {

/// What `storage` holds from `begin` on.
struct OwnedBytes {
  std::vector<std::byte> storage;
  std::size_t begin = 0;

  [[nodiscard]] std::size_t size() const noexcept { return storage.size() - begin; }
  [[nodiscard]] std::span<const std::byte> span() const noexcept { return std::span(storage).subspan(begin); }
};

}  // namespace crossover
