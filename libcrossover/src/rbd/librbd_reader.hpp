/// \file
/// Reads diffs through librbd.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <vector>

#include "engine/image_store.hpp"
#include "rbd/librbd_handles.hpp"

namespace crossover::rbd {

/// How much is in flight.
struct ReadWindow {
  std::uint64_t max_bytes = 64U << 20;  ///< in buffers, read or being read
  std::size_t max_reads = 256;
};

/// Gives what differs between `from` (or nothing) and the snapshot that `image` shows to `sink`: its size, then
/// data and zeroes in ascending order, from `offset` on. Does not call finish(). One thread lists ahead, reads run
/// many at a time, and the sink is only called from the calling thread; it hears of ranges in which nothing differs
/// by alive().
void read_image_diff(const Image& image, const std::optional<Snapshot>& from, std::uint64_t offset, DiffSink& sink,
                     const ReadWindow& window, const std::stop_token& stop);

/// The same for what lies in `ranges`, which are ascending and do not overlap.
void read_image_diff(const Image& image, const std::optional<Snapshot>& from, std::vector<ByteRange> ranges,
                     DiffSink& sink, const ReadWindow& window, const std::stop_token& stop);

}  // namespace crossover::rbd
