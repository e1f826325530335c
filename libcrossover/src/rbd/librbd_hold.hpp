/// \file
/// What changes an image through a handle that is open for writing.
#pragma once

#include <memory>
#include <string>

#include "engine/image_store.hpp"
#include "rbd/librbd_handles.hpp"
#include "rbd/librbd_writer.hpp"

namespace crossover::rbd {

/// The head's snapshot of that name, which is new.
Snapshot create_snapshot(const Image& image, const std::string& name);
void set_metadata(const Image& image, const std::string& key, const std::string& value);
/// A value that is not there is no error.
void remove_metadata(const Image& image, const std::string& key);

/// Refuses an image that another client has open for writing, and holds the exclusive lock explicitly while it
/// lives, since a lock taken automatically is given away to who asks.
std::unique_ptr<ImageHold> hold_image(Image image, const WriteWindow& window);

}  // namespace crossover::rbd
