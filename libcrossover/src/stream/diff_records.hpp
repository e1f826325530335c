/// \file
/// The banners of the rbd diff formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace crossover::stream {

inline constexpr std::string_view diff_v1_banner = "rbd diff v1\n";
inline constexpr std::string_view diff_v2_banner = "rbd diff v2\n";
inline constexpr std::size_t diff_banner_bytes = 12;
/// What a v2 protection record says of the length of its body: `rbd export` writes 8, the format's rule would be 1.
/// The body is one byte in both cases, and rbd's importer does not look at the length. Written is 8, read are both.
inline constexpr std::uint64_t diff_protection_length = 8;
inline constexpr std::uint64_t diff_protection_true_length = 1;
static_assert(diff_v1_banner.size() == diff_banner_bytes && diff_v2_banner.size() == diff_banner_bytes);

}  // namespace crossover::stream
