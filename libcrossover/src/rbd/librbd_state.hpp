/// \file
/// A look at an image through librbd.
#pragma once

#include <string>
#include <vector>

#include "crossover/image.hpp"
#include "rbd/librbd_handles.hpp"

namespace crossover::rbd {

/// "pool/image@snapshot" of what the image, as it is shown, is a clone of; empty: it is none.
std::string read_parent(const Image& image);

/// All snapshots of the image, those of groups and of the trash too, oldest first.
std::vector<Snapshot> list_all_snapshots(const Image& image);

/// User snapshots of the image, oldest first.
std::vector<Snapshot> list_snapshots(const Image& image);

/// Everything ImageState holds.
ImageState read_state(const Image& image);

}  // namespace crossover::rbd
