/// \file
/// What a recovery leaves on the images of a replica that are being written to: whoever receives for it gives way. Pure.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "crossover/image.hpp"

namespace crossover {

/// Metadata key of the mark. Written and removed by recover, whoever holds the image; it decides nothing but who gives
/// way.
inline constexpr std::string_view recovery_key = "crossover.recovery";

/// One that was cut does not keep runs off for ever.
inline constexpr std::chrono::minutes recovery_mark_lasts{10};

/// What stands there.
std::string render_recovery_mark(std::chrono::sys_seconds now);

/// Whether the image has a mark that is not too old. One that cannot be read is none.
bool has_recovery_mark(const ImageState& image, std::chrono::sys_seconds now);

}  // namespace crossover
