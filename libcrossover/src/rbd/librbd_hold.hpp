/// \file
/// What changes an image through a handle that is open for writing.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
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
/// As ImageStore::replace_metadata(). It leaves the image's lock alone, whoever has it.
bool replace_metadata(const Image& image, const std::string& key, const std::optional<std::string>& expected,
                      const std::optional<std::string>& wanted);

/// Whether the head of the image reads as a snapshot does, by what is in it.
using HeadComparison = std::function<bool(const Snapshot& snapshot, std::stop_token stop)>;

/// Refuses an image that another client has open for writing, and holds the exclusive lock explicitly while it
/// lives. `compare` is asked where the lock tells nothing of the head.
std::unique_ptr<ImageHold> hold_image(Image image, const WriteWindow& window, HeadComparison compare);

}  // namespace crossover::rbd
