/// \file
/// Applies a diff stream to an image of any store.
#pragma once

#include <stop_token>

#include "crossover/byte_stream.hpp"
#include "crossover/diff_transfer.hpp"
#include "engine/image_store.hpp"

namespace crossover {

/// What import_diff() promises, over a port. The end snapshot is made, but not protected, whatever a v2 stream asks
/// for.
DiffHeader import_diff_stream(ImageStore& store, const ImageSpec& image, const ByteSource& source,
                              const DiffProgress& progress, const std::stop_token& stop);

}  // namespace crossover
