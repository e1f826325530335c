#include "rbd/librbd_lister.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "crossover/error.hpp"

namespace crossover::rbd {

namespace {

constexpr std::uint64_t objects_per_range = 256;
constexpr std::size_t ranges_ahead = 3;

struct Listing {
  const std::stop_token& stop;
  std::vector<Extent> extents;
  std::exception_ptr failure;
};

int take_extent(std::uint64_t offset, std::size_t length, int exists, void* context) noexcept {
  Listing& listing = *static_cast<Listing*>(context);
  if (listing.stop.stop_requested()) return -ECANCELED;
  try {
    listing.extents.push_back({offset, length, exists != 0});
    return 0;
  } catch (...) {
    listing.failure = std::current_exception();
    return -ENOMEM;
  }
}

/// Joins neighbours of one kind in place.
void join(std::vector<Extent>& extents) {
  // Inside a stripe period the pieces of several objects interleave.
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  std::size_t kept = 0;
  for (const Extent& extent : extents) {
    if (extent.length == 0) continue;
    if (kept > 0) {
      Extent& last = extents[kept - 1];
      if (last.offset + last.length == extent.offset && last.exists == extent.exists) {
        last.length += extent.length;
        continue;
      }
    }
    extents[kept++] = extent;
  }
  extents.resize(kept);
}

/// What of the ranges lies in `window`.
std::vector<ByteRange> overlap(const std::vector<ByteRange>& ranges, const ByteRange& window) {
  const std::uint64_t end = window.offset + window.length_bytes;
  auto range =
      std::lower_bound(ranges.begin(), ranges.end(), window.offset,
                       [](const ByteRange& one, std::uint64_t at) { return one.offset + one.length_bytes <= at; });
  std::vector<ByteRange> inside;
  for (; range != ranges.end() && range->offset < end; ++range) {
    const std::uint64_t from = std::max(range->offset, window.offset);
    const std::uint64_t until = std::min(range->offset + range->length_bytes, end);
    if (until > from) inside.push_back({from, until - from});
  }
  return inside;
}

/// What of the extents lies in the ranges.
std::vector<Extent> cut(const std::vector<Extent>& extents, const std::vector<ByteRange>& ranges) {
  std::vector<Extent> inside;
  for (const Extent& extent : extents) {
    for (const ByteRange& part : overlap(ranges, {extent.offset, extent.length})) {
      inside.push_back({part.offset, part.length_bytes, extent.exists});
    }
  }
  return inside;
}

/// What is listed at once to see the ranges: the objects of one listing are asked side by side, so that a few more
/// of them are cheaper than another listing. Each begins where a stripe period does.
std::vector<ByteRange> listings_for(const std::vector<ByteRange>& wanted, std::uint64_t period_bytes) {
  constexpr std::uint64_t worth_another = 16;  // periods that nobody wants
  std::vector<ByteRange> listings;
  for (const ByteRange& range : wanted) {
    const std::uint64_t begin = range.offset - range.offset % period_bytes;
    const std::uint64_t end = range.offset + range.length_bytes;
    if (!listings.empty()) {
      ByteRange& last = listings.back();
      if (begin < last.offset + last.length_bytes + worth_another * period_bytes) {
        last.length_bytes = end - last.offset;
        continue;
      }
    }
    listings.push_back({begin, end - begin});
  }
  return listings;
}

void append(std::vector<Extent>& extents, const std::vector<Extent>& more) {
  extents.insert(extents.end(), more.begin(), more.end());
}

}  // namespace

std::vector<Extent> list_diff(const Image& image, const std::optional<Snapshot>& from, std::uint64_t offset,
                              std::uint64_t length, const std::stop_token& stop) {
  if (stop.stop_requested()) throw Cancelled{};
  Listing listing{stop, {}, {}};
  // Without a start the parent's content belongs to a clone's.
  const int result = rbd_diff_iterate2(image.get(), from ? from->name.c_str() : nullptr, offset, length, 1, 0,
                                       take_extent, &listing);
  if (listing.failure) std::rethrow_exception(listing.failure);
  if (stop.stop_requested()) throw Cancelled{};
  image.check(result, "list changes");
  join(listing.extents);
  for (std::size_t index = 0; index < listing.extents.size(); ++index) {
    const Extent& extent = listing.extents[index];
    const std::uint64_t after =
        index == 0 ? offset : listing.extents[index - 1].offset + listing.extents[index - 1].length;
    if (extent.offset < after || extent.offset + extent.length > offset + length) {
      throw Error(ErrorCode::io, "list changes", image.subject(),
                  fmt::format("the listing of {} bytes at {} names {} bytes at {} after {}", length, offset,
                              extent.length, extent.offset, after));
    }
  }
  return std::move(listing.extents);
}

std::uint64_t list_range_bytes(const Image& image) {
  const std::uint64_t stripes = std::max<std::uint64_t>(1, image.stripe_count());
  return image.object_bytes() * stripes * std::max<std::uint64_t>(1, objects_per_range / stripes);
}

DiffLister::DiffLister(const Image& image, std::optional<Snapshot> from, std::vector<ByteRange> ranges)
    : image_(image),
      from_(std::move(from)),
      wanted_(std::move(ranges)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

void DiffLister::run(const std::stop_token& stop) {
  try {
    const std::uint64_t size = image_.size_bytes();
    const std::uint64_t step = list_range_bytes(image_);
    const std::uint64_t period = image_.object_bytes() * std::max<std::uint64_t>(1, image_.stripe_count());
    for (std::uint64_t offset = 0; offset < size; offset += std::min(step, size - offset)) {
      const std::vector<ByteRange> wanted = overlap(wanted_, {offset, std::min(step, size - offset)});
      if (wanted.empty()) continue;
      std::vector<Extent> extents;
      for (const ByteRange& part : listings_for(wanted, period)) {
        append(extents, cut(list_diff(image_, from_, part.offset, part.length_bytes, stop), wanted));
      }
      std::unique_lock lock(mutex_);
      if (extents.empty()) {
        // Takes no place in the queue: the listing goes on while nobody takes what is in it.
        passed_empty_ = true;
        changed_.notify_all();
        continue;
      }
      if (!changed_.wait(lock, stop, [this] { return ranges_.size() < ranges_ahead; })) return;
      ranges_.push_back(std::move(extents));
      changed_.notify_all();
    }
  } catch (const Cancelled&) {
    return;  // only the destructor stops this thread
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

std::optional<std::vector<Extent>> DiffLister::next(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait(lock, stop, [this] { return !ranges_.empty() || passed_empty_ || ended_; })) {
    throw Cancelled{};
  }
  const bool passed_empty = std::exchange(passed_empty_, false);
  if (ranges_.empty()) {
    if (!ended_ && passed_empty) return std::vector<Extent>{};
    if (failure_) std::rethrow_exception(failure_);
    return std::nullopt;
  }
  std::vector<Extent> extents = std::move(ranges_.front());
  ranges_.pop_front();
  changed_.notify_all();
  return extents;
}

}  // namespace crossover::rbd
