/// \file
/// The layout of the images that are made on the destination. Pure.
#pragma once

#include "crossover/image.hpp"
#include "crossover/storage_config.hpp"

namespace crossover {

/// What a copy of an image is made like, on a storage of the destination.
ImageLayout replica_layout(const ImageLayout& source, const RbdStorage& storage);

}  // namespace crossover
