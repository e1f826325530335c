/// \file
/// The banners of the rbd diff formats.
#pragma once

#include <cstddef>
#include <string_view>

namespace crossover::stream {

inline constexpr std::string_view diff_v1_banner = "rbd diff v1\n";
inline constexpr std::string_view diff_v2_banner = "rbd diff v2\n";
inline constexpr std::size_t diff_banner_bytes = 12;
static_assert(diff_v1_banner.size() == diff_banner_bytes && diff_v2_banner.size() == diff_banner_bytes);

}  // namespace crossover::stream
