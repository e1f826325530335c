/// \file
/// Writes diffs through librbd.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>

#include "engine/image_store.hpp"
#include "rbd/librbd_handles.hpp"

namespace crossover::rbd {

/// How much is in flight.
struct WriteWindow {
  std::uint64_t max_bytes = 64U << 20;
  std::size_t max_writes = 128;
};

/// A sink that writes to the head of an image that is open for writing and outlives it. The progress of marks is
/// saved through the same handle, from the thread that calls the sink: a mark's as soon as everything before it is on
/// stable storage and the next call comes, or the sink goes.
std::unique_ptr<DiffSink> make_librbd_writer(const Image& image, const TransferProgress& from, const WriteWindow& window,
                                             std::stop_token stop);

}  // namespace crossover::rbd
