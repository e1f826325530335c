#include "rbd/librbd_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <exception>
#include <limits>
#include <memory>
#include <thread>
#include <utility>

#include "crossover/error.hpp"
#include "engine/block_hashes.hpp"
#include "engine/range_filter.hpp"
#include "model/image_access.hpp"
#include "rbd/head_lock.hpp"
#include "rbd/image_layout.hpp"
#include "rbd/librbd_capacity.hpp"
#include "rbd/librbd_hold.hpp"
#include "rbd/librbd_lister.hpp"
#include "rbd/librbd_maps.hpp"
#include "rbd/librbd_state.hpp"
#include "rbd/rbd_error.hpp"

namespace crossover {

using rbd::error_of_return;
using rbd::Image;

namespace {

constexpr std::size_t max_lookers = 8;

/// Options of a new image.
class CreateOptions {
 public:
  CreateOptions() { rbd_image_options_create(&options_); }
  ~CreateOptions() { rbd_image_options_destroy(options_); }
  CreateOptions(const CreateOptions&) = delete;
  CreateOptions& operator=(const CreateOptions&) = delete;

  void set(int option, std::uint64_t value) { check(rbd_image_options_set_uint64(options_, option, value)); }
  void set(int option, const std::string& value) {
    check(rbd_image_options_set_string(options_, option, value.c_str()));
  }
  [[nodiscard]] rbd_image_options_t get() const noexcept { return options_; }

 private:
  static void check(int result) {
    if (result < 0) throw error_of_return(result, "set image option", {});
  }
  rbd_image_options_t options_ = nullptr;
};

void check_stop(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Cancelled{};
}

void read(const Image& image, std::uint64_t offset, std::span<char> bytes) {
  const ssize_t count =
      rbd_read2(image.get(), offset, bytes.size(), bytes.data(), LIBRADOS_OP_FLAG_FADVISE_NOCACHE);
  if (count < 0) image.check(static_cast<int>(count), "read");
  if (static_cast<std::size_t>(count) != bytes.size()) {
    throw Error(ErrorCode::io, "read", image.subject(),
                fmt::format("{} bytes instead of {} at {}", count, bytes.size(), offset));
  }
}

bool reads_the_same(const Image& one, const Image& other, const rbd::Extent& extent, const std::stop_token& stop) {
  constexpr std::uint64_t most = std::uint64_t{4} << 20;
  std::vector<char> bytes_of_one;
  std::vector<char> bytes_of_other;
  for (std::uint64_t done = 0; done < extent.length;) {
    check_stop(stop);
    const auto length = static_cast<std::size_t>(std::min(most, extent.length - done));
    bytes_of_one.resize(length);
    bytes_of_other.resize(length);
    read(one, extent.offset + done, bytes_of_one);
    read(other, extent.offset + done, bytes_of_other);
    if (bytes_of_one != bytes_of_other) return false;
    done += length;
  }
  return true;
}

}  // namespace

LibrbdStore::LibrbdStore(CephAccess access, rbd::ReadWindow reads, rbd::WriteWindow writes)
    : access_(std::move(access)), reads_(reads), writes_(writes) {}

void LibrbdStore::set_write_bytes(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  writes_.max_bytes = bytes;
}

std::shared_ptr<rbd::Cluster> LibrbdStore::cluster() {
  return cluster_.get([this] { return std::make_shared<rbd::Cluster>(access_, ceph_options_); });
}

rbd::IoContext LibrbdStore::context(const ImageSpec& image) {
  return rbd::IoContext(cluster(), image.pool, image.rados_namespace);
}

Image LibrbdStore::open(const ImageSpec& image, Image::Mode mode) {
  return Image(context(image), image, mode);
}

std::string LibrbdStore::fsid() {
  return cluster()->fsid();
}

std::optional<ImageState> LibrbdStore::find(const ImageSpec& spec) {
  const std::optional<Image> image = Image::open_if_exists(context(spec), spec, Image::Mode::read);
  if (!image) return std::nullopt;
  return rbd::read_state(*image);
}

std::vector<std::optional<ImageState>> LibrbdStore::find_all(std::span<const ImageSpec> images) {
  std::vector<std::optional<ImageState>> states(images.size());
  std::vector<std::exception_ptr> failures(images.size());
  std::atomic<std::size_t> next{0};
  const auto look = [&] {
    for (std::size_t index = next++; index < images.size(); index = next++) {
      try {
        states[index] = find(images[index]);
      } catch (...) {
        failures[index] = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> lookers;
    for (std::size_t count = 1; count < std::min(max_lookers, images.size()); ++count) lookers.emplace_back(look);
    look();
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  return states;
}

std::string LibrbdStore::why_missing(const ImageSpec& spec) {
  return rbd::why_missing(context(spec), spec);
}

bool LibrbdStore::lock_is_orphaned(const ImageSpec& spec) {
  // To open it for writing takes no lock. Whoever only reads is not told of locks.
  const Image image = open(spec, Image::Mode::write);
  return rbd::is_locked(image) && rbd::foreign_watchers(image).empty();
}

std::uint64_t LibrbdStore::available_bytes(const std::string& pool) {
  return rbd::available_bytes(*cluster(), pool);
}

void LibrbdStore::create(const ImageSpec& image, const ImageLayout& layout) {
  const rbd::IoContext pool = context(image);
  CreateOptions options;
  options.set(RBD_IMAGE_OPTION_FORMAT, 2);
  options.set(RBD_IMAGE_OPTION_ORDER, layout.order);
  options.set(RBD_IMAGE_OPTION_FEATURES, rbd::features_to_create(layout));
  if (rbd::is_striped(layout)) {
    options.set(RBD_IMAGE_OPTION_STRIPE_UNIT,
                layout.stripe_unit != 0 ? layout.stripe_unit : std::uint64_t{1} << layout.order);
    options.set(RBD_IMAGE_OPTION_STRIPE_COUNT, layout.stripe_count);
  }
  if (!layout.data_pool.empty()) options.set(RBD_IMAGE_OPTION_DATA_POOL, layout.data_pool);
  const int result = rbd_create4(pool.get(), image.name.c_str(), layout.size_bytes, options.get());
  if (result < 0) throw error_of_return(result, "create image", to_string(image));
}

void LibrbdStore::remove(const ImageSpec& image) {
  const rbd::IoContext pool = context(image);
  const int result = rbd_remove(pool.get(), image.name.c_str());
  if (result < 0) throw error_of_return(result, "remove image", to_string(image));
}

void LibrbdStore::trash(const ImageSpec& image, std::chrono::seconds delay) {
  // RBD itself moves an image that is open, too.
  open(image, Image::Mode::write).require_unwatched("move image to trash");
  const rbd::IoContext pool = context(image);
  const int result = rbd_trash_move(pool.get(), image.name.c_str(), static_cast<std::uint64_t>(delay.count()));
  if (result < 0) throw error_of_return(result, "move image to trash", to_string(image));
}

Snapshot LibrbdStore::create_snapshot(const ImageSpec& spec, const std::string& name) {
  return rbd::create_snapshot(open(spec, Image::Mode::write), name);
}

void LibrbdStore::remove_snapshot(const ImageSpec& spec, const Snapshot& snapshot) {
  const std::optional<Image> image = Image::open_if_exists(context(spec), spec, Image::Mode::write);
  if (!image) return;
  const std::string subject = to_string(spec) + "@" + snapshot.name;
  std::uint64_t id = 0;
  if (rbd_snap_get_id(image->get(), snapshot.name.c_str(), &id) == -ENOENT) return;
  image->require_snapshot(snapshot, "remove snapshot");
  int is_protected = 0;
  int result = rbd_snap_is_protected(image->get(), snapshot.name.c_str(), &is_protected);
  if (result >= 0 && is_protected != 0) {
    throw Error(ErrorCode::conflict, "remove snapshot", subject, "it is protected");
  }
  if (result >= 0) {
    const rbd::SealKeeper keeper(*image);
    result = rbd_snap_remove(image->get(), snapshot.name.c_str());
  }
  if (result < 0 && result != -ENOENT) throw error_of_return(result, "remove snapshot", subject);
}

std::unique_ptr<ImageHold> LibrbdStore::hold(const ImageSpec& spec, std::stop_token stop) {
  check_stop(stop);
  const rbd::WriteWindow window = [this] {
    const std::lock_guard lock(mutex_);
    return writes_;
  }();
  return rbd::hold_image(open(spec, Image::Mode::write), window,
                         [this, spec](const Snapshot& snapshot, std::stop_token stopped) {
                           return head_unchanged_since(spec, snapshot, std::move(stopped));
                         });
}

void LibrbdStore::set_metadata(const ImageSpec& spec, const std::string& key, const std::string& value) {
  const Image image = open(spec, Image::Mode::write);
  const rbd::SealKeeper keeper(image);
  rbd::set_metadata(image, key, value);
}

void LibrbdStore::remove_metadata(const ImageSpec& spec, const std::string& key) {
  const Image image = open(spec, Image::Mode::write);
  const rbd::SealKeeper keeper(image);
  rbd::remove_metadata(image, key);
}

bool LibrbdStore::replace_metadata(const ImageSpec& spec, const std::string& key,
                                   const std::optional<std::string>& expected,
                                   const std::optional<std::string>& wanted) {
  const Image image = open(spec, Image::Mode::read);
  require_writable("replace metadata", spec, image.features());  // what writes past librbd has to ask itself
  return rbd::replace_metadata(image, key, expected, wanted);
}

bool LibrbdStore::head_unchanged_since(const ImageSpec& spec, const Snapshot& snapshot, std::stop_token stop) {
  const Image image = open(spec, Image::Mode::read);
  image.require_snapshot(snapshot, "compare with snapshot");
  const std::uint64_t size = image.size_bytes();
  if (size != snapshot.size_bytes) return false;
  const std::uint64_t step = rbd::list_range_bytes(image);
  std::optional<Image> before;
  for (std::uint64_t offset = 0; offset < size; offset += std::min(step, size - offset)) {
    const auto extents = rbd::list_diff(image, snapshot, offset, std::min(step, size - offset), stop);
    if (extents.empty()) continue;
    // After a rollback everything that was written before it is listed, and reads the same.
    if (!before) {
      before.emplace(open(spec, Image::Mode::read));
      before->show(snapshot);
    }
    for (const rbd::Extent& extent : extents) {
      if (!reads_the_same(image, *before, extent, stop)) return false;
    }
  }
  return true;
}

void LibrbdStore::read_diff(const ImageSpec& spec, const std::optional<Snapshot>& from, const Snapshot& to,
                            std::uint64_t offset, DiffSink& sink, std::stop_token stop) {
  constexpr std::uint64_t end = std::numeric_limits<std::uint64_t>::max();
  read_parts(spec, from, to, {{offset, end - offset}}, sink, stop);
}

void LibrbdStore::read_diff_in(const ImageSpec& spec, const Snapshot& from, const Snapshot& to,
                               std::span<const ByteRange> ranges, DiffSink& sink, std::stop_token stop) {
  read_parts(spec, from, to, {ranges.begin(), ranges.end()}, sink, stop);
}

void LibrbdStore::read_parts(const ImageSpec& spec, const std::optional<Snapshot>& from, const Snapshot& to,
                             std::vector<ByteRange> ranges, DiffSink& sink, const std::stop_token& stop) {
  const auto require_both = [&](const Image& image) {
    image.require_snapshot(to, "read diff");
    if (from) image.require_snapshot(*from, "read diff");
  };
  if (from && from->id >= to.id) {
    throw Error(ErrorCode::usage, "read diff", to_string(spec),
                fmt::format("{} is not older than {}", from->name, to.name));
  }
  Image image = open(spec, Image::Mode::read);
  require_both(image);
  image.show(to);
  rbd::read_image_diff(image, from, std::move(ranges), sink, reads_, stop);
  // What is read of a snapshot that is removed meanwhile is zeroes, without an error. A handle for reading does not
  // learn of removals, so this looks with a new one.
  require_both(open(spec, Image::Mode::read));
  check_stop(stop);
  sink.finish();
}

std::optional<std::vector<RollbackTarget>> LibrbdStore::rollback_targets(const ImageSpec& spec) {
  Image image = open(spec, Image::Mode::read);
  const auto maps = rbd::read_maps(image);
  return maps ? find_rollback_targets(*maps) : std::nullopt;
}

FirstPass LibrbdStore::first_pass(const ImageSpec& spec, const Snapshot& from, const Snapshot& to,
                                  const std::optional<RollbackTargets>& older) {
  Image image = open(spec, Image::Mode::read);
  const ObjectLayout layout{image.object_bytes(), image.stripe_count()};
  const auto maps = rbd::read_maps(image);
  if (!maps) return {{}, "it has a parent, or no object map that tells of writes"};
  return crossover::first_pass(layout, *maps, from, to, older);
}

void LibrbdStore::read_ranges(const ImageSpec& spec, const Snapshot& snapshot, std::span<const ByteRange> ranges,
                              DiffSink& sink, std::stop_token stop) {
  Image image = open(spec, Image::Mode::read);
  image.require_snapshot(snapshot, "read ranges");
  image.show(snapshot);
  RangeFilter filter(sink, ranges);
  rbd::read_image_diff(image, std::nullopt, {ranges.begin(), ranges.end()}, filter, reads_, stop);
  open(spec, Image::Mode::read).require_snapshot(snapshot, "read ranges");  // as in read_diff()
  check_stop(stop);
  filter.finish();
}

void LibrbdStore::hash_blocks(const ImageSpec& image, const Snapshot& snapshot, const BlockSelection& blocks,
                              const std::function<void(const BlockHash&)>& take, std::stop_token stop) {
  hash_blocks_here(*this, image, snapshot, blocks, take, stop);
}

void LibrbdStore::read_head_diff(const ImageSpec& spec, const std::optional<Snapshot>& from, DiffSink& sink,
                                 std::stop_token stop) {
  const Image image = open(spec, Image::Mode::read);
  if (from) image.require_snapshot(*from, "read diff");
  rbd::read_image_diff(image, from, 0, sink, reads_, stop);
  if (from) open(spec, Image::Mode::read).require_snapshot(*from, "read diff");
  check_stop(stop);
  sink.finish();
}

bool LibrbdStore::is_empty(const ImageSpec& spec) {
  const Image image = open(spec, Image::Mode::read);
  const std::uint64_t size = image.size_bytes();
  const std::uint64_t step = rbd::list_range_bytes(image);
  for (std::uint64_t offset = 0; offset < size; offset += std::min(step, size - offset)) {
    const auto extents = rbd::list_diff(image, std::nullopt, offset, std::min(step, size - offset), {});
    if (std::any_of(extents.begin(), extents.end(), [](const rbd::Extent& extent) { return extent.exists; })) {
      return false;
    }
  }
  return true;
}

void LibrbdStore::protect_snapshot(const ImageSpec& spec, const std::string& name) {
  const Image image = open(spec, Image::Mode::write);
  const int result = rbd_snap_protect(image.get(), name.c_str());
  if (result < 0) throw error_of_return(result, "protect snapshot", to_string(spec) + "@" + name);
}

void LibrbdStore::set_ceph_options(std::vector<std::string> words) {
  ceph_options_ = std::move(words);
}

std::string LibrbdStore::default_pool() {
  return cluster()->setting("rbd_default_pool");
}

}  // namespace crossover
