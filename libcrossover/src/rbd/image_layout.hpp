/// \file
/// What of an image's layout a new image may take over.
#pragma once

#include <cstdint>

#include "crossover/image.hpp"

namespace crossover::rbd {

/// The features to create an image with: those of `layout` that do not bind it to its old surroundings (no
/// journaling, migration or mirroring), exclusive-lock always, and none without those it needs. Striping and the
/// data pool follow from the layout's other members.
std::uint64_t features_to_create(const ImageLayout& layout);

/// True if the image's data goes to several objects at a time.
bool is_striped(const ImageLayout& layout);

/// The layout as it stands in ImageState: no stripes where there is but one.
void normalise(ImageLayout& layout);

/// Prefix of the metadata keys that are ours.
inline constexpr const char* metadata_prefix = "crossover.";

}  // namespace crossover::rbd
