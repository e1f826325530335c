/// \file
/// A look at an image through librbd.
#pragma once

#include <vector>

#include "crossover/image.hpp"
#include "rbd/librbd_handles.hpp"

namespace crossover::rbd {

/// User snapshots of the image, oldest first.
std::vector<Snapshot> list_snapshots(const Image& image);

/// Everything ImageState holds.
ImageState read_state(const Image& image);

}  // namespace crossover::rbd
