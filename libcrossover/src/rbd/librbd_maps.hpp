/// \file
/// The object maps of an image's snapshots.
#pragma once

#include <optional>
#include <vector>

#include "plan/first_pass.hpp"
#include "rbd/librbd_handles.hpp"

namespace crossover::rbd {

/// All snapshots of an image with their maps, oldest first. Nothing if the image has no maps that tell of writes,
/// or it has a parent. `image` is open for reading, and shows something else afterwards.
std::optional<std::vector<MappedSnapshot>> read_maps(Image& image);

}  // namespace crossover::rbd
