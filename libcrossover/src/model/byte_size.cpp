#include "crossover/byte_size.hpp"

#include <fmt/format.h>

#include <array>
#include <limits>

#include "crossover/error.hpp"
#include "text.hpp"

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

std::uint64_t parse_bytes(std::string_view option, std::string_view value) {
  constexpr std::string_view units = "kmgt";
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  const auto refuse = [&](std::string_view why) {
    throw Error(ErrorCode::usage, "read option", fmt::format("{}={}", option, value),
                fmt::format("{}; allowed is a number of bytes, also with the unit K, M, G or T, such as 64M", why));
  };
  std::string_view digits = value;
  unsigned shift = 0;
  if (!value.empty()) {
    if (const std::size_t unit = units.find(text::to_lower(value.back())); unit != std::string_view::npos) {
      shift = 10 * (static_cast<unsigned>(unit) + 1);
      digits.remove_suffix(1);
    }
  }
  if (digits.empty() || !text::all_digits(digits)) refuse("no number of bytes");
  const auto count = text::to_uint64(digits);
  if (!count || *count > most >> shift) refuse("too large");
  return *count << shift;
}

}  // namespace crossover
