/// \file
/// Images that are there, and that nobody may write to or nothing can be told of. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "crossover/error.hpp"
#include "crossover/image.hpp"

namespace crossover {

/// Feature bits that ImageLayout may have beside those of image_feature (librbd.h, RBD_FEATURE_*).
namespace image_feature {
inline constexpr std::uint64_t migrating = 1U << 9;     ///< a live migration to it is prepared, and not committed
inline constexpr std::uint64_t non_primary = 1U << 10;  ///< rbd-mirror's copy: only rbd-mirror may write to it
}  // namespace image_feature

/// Why nobody but rbd-mirror may write to an image of these features, and what to do; empty: everybody may.
std::string why_unwritable(const ImageSpec& image, std::uint64_t features);

/// Why nothing is told of what changed between an image's snapshots, and what to do; empty: it is told. While a
/// live migration to it is prepared RBD lists them, and nothing of what was not copied yet.
std::string why_unlisted(const ImageSpec& image, std::uint64_t features);

/// The same as Errors (conflict): EROFS and EBUSY.
void require_writable(const char* operation, const ImageSpec& image, std::uint64_t features);
void require_listed(const char* operation, const ImageSpec& image, std::uint64_t features);

/// Where an image is whose name is in the trash, with that id, and how it comes back.
std::string why_in_trash(const ImageSpec& image, std::string_view id, bool is_migration);

/// The refusal of an image of format 1.
Error old_format(const char* operation, const ImageSpec& image);

}  // namespace crossover
