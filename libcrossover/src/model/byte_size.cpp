#include "crossover/byte_size.hpp"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace crossover {

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 7> units = {"Bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) {
    return fmt::format("{} {}", bytes, units[0]);
  }
  std::size_t unit = 1;
  while (bytes / 1024 >= 1024) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{}.{:02} {}", bytes / 1024, bytes % 1024 * 100 / 1024, units[unit]);
}

}  // namespace crossover
