/// \file
/// Which ranges of an image differ between two snapshots.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "rbd/librbd_handles.hpp"

namespace crossover::rbd {

/// A range that differs.
struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool exists = false;  ///< false: it reads as zeroes

  bool operator==(const Extent&) const = default;
};

/// Lists one range of what `image` shows, byte by byte; ascending, without overlaps, neighbours joined. Throws
/// Cancelled if `stop` is triggered meanwhile.
std::vector<Extent> list_diff(const Image& image, const std::optional<Snapshot>& from, std::uint64_t offset,
                              std::uint64_t length, const std::stop_token& stop);

/// Bytes of image that one listing covers: about 256 objects, whole stripe periods.
std::uint64_t list_range_bytes(const Image& image);

/// Lists an image range by range in a thread of its own, a few ranges ahead of who takes them.
class DiffLister {
 public:
  /// Lists what lies in `ranges`, which are ascending and do not overlap. `image` must outlive the lister.
  DiffLister(const Image& image, std::optional<Snapshot> from, std::vector<ByteRange> ranges);

  /// The extents of the next range that has any; nothing after the last. None, too, if ranges without any were
  /// listed since the last call while there is no other: a sign of life. Throws Cancelled, and what the listing
  /// threw.
  std::optional<std::vector<Extent>> next(const std::stop_token& stop);

 private:
  void run(const std::stop_token& stop);

  const Image& image_;
  std::optional<Snapshot> from_;
  std::vector<ByteRange> wanted_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::vector<Extent>> ranges_;
  bool passed_empty_ = false;  // ranges without extents, since next() last looked
  bool ended_ = false;
  std::exception_ptr failure_;
  std::jthread thread_;  // last: it uses everything above
};

}  // namespace crossover::rbd
