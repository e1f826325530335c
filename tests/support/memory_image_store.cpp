#include "support/memory_image_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "engine/block_hashes.hpp"
#include "engine/range_filter.hpp"

namespace crossover::test {

namespace {

void check_stop(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Cancelled{};
}

}  // namespace

namespace {

/// Gives on what lies in the ranges.
class ClippingSink final : public DiffSink {
 public:
  ClippingSink(DiffSink& next, std::span<const ByteRange> ranges) : next_(next), ranges_(ranges) {}

  void size(std::uint64_t size_bytes) override { next_.size(size_bytes); }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    clip(offset, bytes.size(),
         [&](std::uint64_t at, std::uint64_t length) { next_.data(at, bytes.subspan(at - offset, length)); });
  }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override {
    clip(offset, length_bytes, [&](std::uint64_t at, std::uint64_t length) { next_.zero(at, length); });
  }
  void alive() override { next_.alive(); }
  void finish() override { next_.finish(); }

 private:
  template <typename Give>
  void clip(std::uint64_t offset, std::uint64_t length_bytes, const Give& give) const {
    for (const ByteRange& range : ranges_) {
      const std::uint64_t begin = std::max(offset, range.offset);
      const std::uint64_t end = std::min(offset + length_bytes, range.offset + range.length_bytes);
      if (begin < end) give(begin, end - begin);
    }
  }

  DiffSink& next_;
  std::span<const ByteRange> ranges_;
};

/// Notes where a diff is.
class PlacesSink final : public DiffSink {
 public:
  explicit PlacesSink(std::vector<ByteRange>& places) : places_(places) {}
  void size(std::uint64_t) override {}
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    places_.push_back({offset, bytes.size()});
  }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override {
    places_.push_back({offset, length_bytes});
  }
  void finish() override {}

 private:
  std::vector<ByteRange>& places_;
};

bool covers(std::span<const ByteRange> ranges, const ByteRange& place) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const ByteRange& range) {
    return range.offset <= place.offset && place.offset + place.length_bytes <= range.offset + range.length_bytes;
  });
}

}  // namespace

/// Writes side by side, as librbd does: what is given gets to the head sooner or later, and all of it only by a mark
/// or the end. What is under way when the sink goes before never does.
class MemoryImageStore::Sink final : public DiffSink {
 public:
  Sink(MemoryImageStore& store, ImageSpec spec, const TransferProgress& from, std::stop_token stop)
      : store_(store), spec_(std::move(spec)), stop_(std::move(stop)), id_(from.id), position_(from.offset),
        epoch_(store.epoch_) {}

  void size(std::uint64_t size_bytes) override {
    step("size", [&](StoredImage& image) {
      if (sized_) fail("a second size");
      change_size(image, size_bytes);
      size_bytes_ = size_bytes;
      sized_ = true;
    });
  }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    step("data", [&](StoredImage& image) {
      take(offset, bytes.size());
      write(image, {offset, bytes.size(), {bytes.begin(), bytes.end()}});
    });
  }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override {
    step("zero", [&](StoredImage& image) {
      take(offset, length_bytes);
      write(image, {offset, length_bytes, {}});
    });
  }
  void mark() override {
    step("mark", [&](StoredImage& image) {
      if (!sized_) fail("a mark before a size");
      flush(image);
      if (id_.empty()) return;
      image.metadata.insert_or_assign(std::string(progress_key), render_progress({id_, position_}));
    });
  }
  void finish() override {
    step("finish", [&](StoredImage& image) {
      if (!sized_) fail("an end before a size");
      if (image.layout.size_bytes != size_bytes_) {
        throw Error(ErrorCode::io, "write diff", to_string(spec_), "the image has another size");
      }
      flush(image);
    });
  }

 private:
  struct Write {
    std::uint64_t offset;
    std::uint64_t length;
    std::vector<std::byte> bytes;  // none: zeroes
  };

  static void apply(StoredImage& image, const Write& write) {
    change(image, write.offset, write.length, write.bytes.empty() ? nullptr : write.bytes.data());
  }
  void write(StoredImage& image, Write write) {
    if (store_.order_() % 2 == 0) {
      apply(image, write);
    } else {
      under_way_.push_back(std::move(write));
    }
  }
  void flush(StoredImage& image) {
    for (const Write& write : std::exchange(under_way_, {})) apply(image, write);
  }
  template <typename Action>
  void step(const char* operation, const Action& action) {
    check_stop(stop_);
    const std::lock_guard lock(store_.mutex_);
    store_.enter(operation);
    if (epoch_ != store_.epoch_) throw Error(ErrorCode::unreachable, "write diff", to_string(spec_), "it was taken away");
    action(store_.image(spec_, "write diff"));
  }
  [[noreturn]] void fail(const char* cause) const {
    throw Error(ErrorCode::usage, "write diff", to_string(spec_), cause);
  }
  void take(std::uint64_t offset, std::uint64_t length) {
    if (!sized_) fail("content before a size");
    if (offset < position_) fail("content that is not in ascending order");
    if (offset > size_bytes_ || length > size_bytes_ - offset) fail("content past the image's end");
    position_ = offset + length;
  }

  MemoryImageStore& store_;
  ImageSpec spec_;
  std::stop_token stop_;
  std::string id_;
  std::uint64_t position_;
  std::uint64_t epoch_;
  bool sized_ = false;
  std::uint64_t size_bytes_ = 0;
  std::vector<Write> under_way_;
};

/// Only looks for other clients.
class MemoryImageStore::Hold final : public ImageHold {
 public:
  /// `id`: of the image, which is held already.
  Hold(MemoryImageStore& store, ImageSpec spec, std::string id)
      : store_(store), spec_(std::move(spec)), id_(std::move(id)), epoch_(store.epoch_) {}
  ~Hold() override {
    const std::lock_guard lock(store_.mutex_);
    if (epoch_ == store_.epoch_) store_.held_.erase(id_);
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

  ImageState state() override {
    require_alive();
    std::optional<ImageState> state = store_.find(spec_);
    if (!state) throw Error(ErrorCode::not_found, "look at image", to_string(spec_), "it is gone");
    return *std::move(state);
  }
  void set_metadata(const std::string& key, const std::string& value) override {
    require_alive();
    store_.set_metadata(spec_, key, value);
  }
  void remove_metadata(const std::string& key) override {
    require_alive();
    store_.remove_metadata(spec_, key);
  }
  void roll_back(const Snapshot& snapshot, std::stop_token stop) override {
    require_alive();
    store_.roll_back(spec_, snapshot, std::move(stop));
  }
  bool head_unchanged_since(const Snapshot& snapshot, std::stop_token stop) override {
    require_alive();
    return store_.head_unchanged_since(spec_, snapshot, std::move(stop));
  }
  bool head_unchanged_since_transfer(const std::string& id, std::stop_token stop) override {
    check_stop(stop);
    const std::lock_guard lock(store_.mutex_);
    return !id.empty() && store_.image(spec_, "compare with transfer").transfer == id;
  }
  std::unique_ptr<DiffSink> write_diff(const TransferProgress& from, std::stop_token stop) override {
    require_alive();
    return store_.write_diff(spec_, from, std::move(stop));
  }
  Snapshot create_snapshot(const std::string& name) override {
    require_alive();
    return store_.create_snapshot(spec_, name);
  }

 private:
  void require_alive() const {
    const std::lock_guard lock(store_.mutex_);
    if (epoch_ != store_.epoch_) throw Error(ErrorCode::unreachable, "use image", to_string(spec_), "it was taken away");
  }

  MemoryImageStore& store_;
  ImageSpec spec_;
  std::string id_;
  std::uint64_t epoch_;
};

MemoryImageStore::MemoryImageStore(std::string fsid, std::uint64_t available_bytes)
    : fsid_(std::move(fsid)), available_bytes_(available_bytes) {}

void MemoryImageStore::enter(const std::string& operation) {
  const int call = ++calls_[operation];
  const auto fault = faults_.find({operation, call});
  if (fault == faults_.end()) return;
  const Error error = fault->second;
  faults_.erase(fault);
  throw error;
}

void MemoryImageStore::fail_call(const std::string& operation, int nth, Error error) {
  const std::lock_guard lock(mutex_);
  faults_.insert_or_assign({operation, calls_[operation] + nth}, std::move(error));
}

int MemoryImageStore::calls(const std::string& operation) const {
  const std::lock_guard lock(mutex_);
  const auto found = calls_.find(operation);
  return found == calls_.end() ? 0 : found->second;
}

const MemoryImageStore::StoredImage& MemoryImageStore::image(const ImageSpec& spec,
                                                             const std::string& operation) const {
  const auto found = images_.find(spec);
  if (found == images_.end())
    throw Error(ErrorCode::not_found, operation, to_string(spec), "there is no such image");
  return found->second;
}

MemoryImageStore::StoredImage& MemoryImageStore::image(const ImageSpec& spec, const std::string& operation) {
  return const_cast<StoredImage&>(std::as_const(*this).image(spec, operation));
}

MemoryImageStore::StoredSnapshot& MemoryImageStore::snapshot(StoredImage& image, const ImageSpec& spec,
                                                             const Snapshot& wanted, const std::string& operation) {
  const std::string subject = to_string(spec) + "@" + wanted.name;
  for (StoredSnapshot& stored : image.snapshots) {
    if (stored.snapshot.name != wanted.name) continue;
    if (stored.snapshot.id == wanted.id) return stored;
    throw Error(ErrorCode::conflict, operation, subject, "the name now means another snapshot");
  }
  throw Error(ErrorCode::not_found, operation, subject, "there is no such snapshot");
}

void MemoryImageStore::change(StoredImage& image, std::uint64_t offset, std::uint64_t length,
                              const std::byte* bytes) {
  const std::uint64_t end = offset + length;
  while (offset < end) {
    const std::uint64_t number = offset / block_bytes;
    const std::uint64_t start = offset % block_bytes;
    const std::uint64_t count = std::min(block_bytes - start, end - offset);
    const auto old = image.head.find(number);
    const bool has_content = old != image.head.end() && old->second;
    if (bytes == nullptr && (!has_content || count == block_bytes)) {
      if (old != image.head.end()) old->second = nullptr;
    } else {
      auto block = has_content ? std::make_shared<Block>(*old->second) : std::make_shared<Block>();
      if (bytes != nullptr) {
        std::memcpy(block->data() + start, bytes, count);
        bytes += count;
      } else {
        std::memset(block->data() + start, 0, count);
      }
      image.head.insert_or_assign(number, std::move(block));
    }
    offset += count;
  }
}

void MemoryImageStore::change_size(StoredImage& image, std::uint64_t size_bytes) {
  if (size_bytes < image.layout.size_bytes) {
    const std::uint64_t whole = (size_bytes + block_bytes - 1) / block_bytes;
    change(image, size_bytes, std::min(whole * block_bytes, image.layout.size_bytes) - size_bytes, nullptr);
    image.head.erase(image.head.lower_bound(whole), image.head.end());
  }
  image.layout.size_bytes = size_bytes;
}

void MemoryImageStore::require_unwatched(const StoredImage& image, const ImageSpec& spec,
                                         const std::string& operation) {
  if (image.watchers.empty()) return;
  throw Error(ErrorCode::in_use, operation, to_string(spec), "open for writing by " + image.watchers.front(), true);
}

std::string MemoryImageStore::fsid() {
  const std::lock_guard lock(mutex_);
  enter("fsid");
  return fsid_;
}

std::optional<ImageState> MemoryImageStore::find(const ImageSpec& spec) {
  const std::lock_guard lock(mutex_);
  enter("find");
  const auto found = images_.find(spec);
  if (found == images_.end()) return std::nullopt;
  const StoredImage& stored = found->second;
  ImageState state;
  state.id = stored.id;
  state.pool_id = pools_.at(spec.pool);
  state.layout = stored.layout;
  for (const StoredSnapshot& entry : stored.snapshots) state.snapshots.push_back(entry.snapshot);
  for (const auto& [key, value] : stored.metadata) {
    if (key.starts_with("crossover.")) state.metadata.emplace(key, value);
  }
  state.watchers = stored.watchers;
  return state;
}

bool MemoryImageStore::lock_is_orphaned(const ImageSpec& spec) {
  const std::lock_guard lock(mutex_);
  enter("lock_is_orphaned");
  return image(spec, "look for lock").orphaned;
}

std::uint64_t MemoryImageStore::available_bytes(const std::string&) {
  const std::lock_guard lock(mutex_);
  enter("available_bytes");
  return available_bytes_;
}

void MemoryImageStore::create(const ImageSpec& spec, const ImageLayout& layout) {
  const std::lock_guard lock(mutex_);
  enter("create");
  if (images_.contains(spec)) {
    throw Error(ErrorCode::already_exists, "create image", to_string(spec), "an image of that name exists");
  }
  pools_.try_emplace(spec.pool, static_cast<std::int64_t>(pools_.size()) + 1);
  StoredImage stored;
  stored.id = fmt::format("{:012x}", next_image_++);
  stored.layout = layout;
  stored.layout.features |= image_feature::exclusive_lock;
  stored.layout.features &= ~image_feature::journaling;
  if (layout.stripe_count > 1) stored.layout.features |= image_feature::striping;
  if (!layout.data_pool.empty()) stored.layout.features |= image_feature::data_pool;
  images_.emplace(spec, std::move(stored));
}

void MemoryImageStore::remove(const ImageSpec& spec) {
  const std::lock_guard lock(mutex_);
  enter("remove");
  const StoredImage& stored = image(spec, "remove image");
  if (!stored.snapshots.empty()) {
    throw Error(ErrorCode::conflict, "remove image", to_string(spec), "it still has snapshots");
  }
  require_unwatched(stored, spec, "remove image");
  images_.erase(spec);
}

void MemoryImageStore::trash(const ImageSpec& spec, std::chrono::seconds delay) {
  const std::lock_guard lock(mutex_);
  enter("trash");
  require_unwatched(image(spec, "move image to trash"), spec, "move image to trash");
  trash_.insert_or_assign(spec, delay);
  images_.erase(spec);
}

std::map<ImageSpec, std::chrono::seconds> MemoryImageStore::trashed() const {
  const std::lock_guard lock(mutex_);
  return trash_;
}

Snapshot MemoryImageStore::create_snapshot(const ImageSpec& spec, const std::string& name) {
  const std::lock_guard lock(mutex_);
  enter("create_snapshot");
  StoredImage& stored = image(spec, "create snapshot");
  for (const StoredSnapshot& entry : stored.snapshots) {
    if (entry.snapshot.name == name) {
      throw Error(ErrorCode::already_exists, "create snapshot", to_string(spec) + "@" + name, "it exists");
    }
  }
  const Snapshot made{++last_snapshots_[spec.pool], name, stored.layout.size_bytes};
  stored.snapshots.push_back({made, stored.head, false});
  return made;
}

void MemoryImageStore::remove_snapshot(const ImageSpec& spec, const Snapshot& wanted) {
  const std::lock_guard lock(mutex_);
  enter("remove_snapshot");
  const auto found = images_.find(spec);
  if (found == images_.end()) return;
  auto& snapshots = found->second.snapshots;
  const auto has_name = [&](const StoredSnapshot& entry) { return entry.snapshot.name == wanted.name; };
  if (std::none_of(snapshots.begin(), snapshots.end(), has_name)) return;
  const StoredSnapshot& stored = snapshot(found->second, spec, wanted, "remove snapshot");
  if (stored.is_protected) {
    throw Error(ErrorCode::conflict, "remove snapshot", to_string(spec) + "@" + wanted.name, "it is protected");
  }
  snapshots.erase(std::find_if(snapshots.begin(), snapshots.end(), has_name));
}

std::unique_ptr<ImageHold> MemoryImageStore::hold(const ImageSpec& spec, std::stop_token stop) {
  check_stop(stop);
  const std::lock_guard lock(mutex_);
  enter("hold");
  const StoredImage& stored = image(spec, "hold image");
  require_unwatched(stored, spec, "hold image");
  if (!held_.insert(stored.id).second) {
    throw Error(ErrorCode::in_use, "hold image", to_string(spec), "another run holds it", true);
  }
  return std::make_unique<Hold>(*this, spec, stored.id);
}

void MemoryImageStore::break_holds() {
  const std::lock_guard lock(mutex_);
  held_.clear();
  ++epoch_;
}

bool MemoryImageStore::is_held() const {
  const std::lock_guard lock(mutex_);
  return !held_.empty();
}

void MemoryImageStore::roll_back(const ImageSpec& spec, const Snapshot& wanted, std::stop_token stop) {
  check_stop(stop);
  const std::lock_guard lock(mutex_);
  enter("roll_back");
  StoredImage& stored = image(spec, "roll back");
  const StoredSnapshot& target = snapshot(stored, spec, wanted, "roll back");
  require_unwatched(stored, spec, "roll back");
  stored.transfer.clear();
  stored.head = target.blocks;
  stored.layout.size_bytes = target.snapshot.size_bytes;
}

bool MemoryImageStore::replace_metadata(const ImageSpec& spec, const std::string& key,
                                        const std::optional<std::string>& expected,
                                        const std::optional<std::string>& wanted) {
  const std::lock_guard lock(mutex_);
  enter("replace_metadata");
  auto& metadata = image(spec, "replace metadata").metadata;
  const auto found = metadata.find(key);
  if ((found == metadata.end() ? std::nullopt : std::optional(found->second)) != expected) return false;
  if (wanted) {
    metadata.insert_or_assign(key, *wanted);
  } else {
    metadata.erase(key);
  }
  return true;
}

void MemoryImageStore::set_metadata(const ImageSpec& spec, const std::string& key, const std::string& value) {
  const std::lock_guard lock(mutex_);
  enter("set_metadata");
  image(spec, "set metadata").metadata.insert_or_assign(key, value);
}

void MemoryImageStore::remove_metadata(const ImageSpec& spec, const std::string& key) {
  const std::lock_guard lock(mutex_);
  enter("remove_metadata");
  image(spec, "remove metadata").metadata.erase(key);
}

bool MemoryImageStore::head_unchanged_since(const ImageSpec& spec, const Snapshot& wanted, std::stop_token stop) {
  check_stop(stop);
  const std::lock_guard lock(mutex_);
  enter("head_unchanged_since");
  StoredImage& stored = image(spec, "compare with snapshot");
  const StoredSnapshot& base = snapshot(stored, spec, wanted, "compare with snapshot");
  return stored.layout.size_bytes == base.snapshot.size_bytes && stored.head == base.blocks;
}

void MemoryImageStore::read_diff(const ImageSpec& spec, const std::optional<Snapshot>& from, const Snapshot& to,
                                 std::uint64_t start, DiffSink& sink, std::stop_token stop) {
  check_stop(stop);
  Blocks before;
  Blocks after;
  {
    const std::lock_guard lock(mutex_);
    enter("read_diff");
    if (from && from->id >= to.id) {
      throw Error(ErrorCode::usage, "read diff", to_string(spec), from->name + " is not older than " + to.name);
    }
    StoredImage& stored = image(spec, "read diff");
    after = snapshot(stored, spec, to, "read diff").blocks;
    if (from) before = snapshot(stored, spec, *from, "read diff").blocks;
  }
  sink.size(to.size_bytes);
  if (on_listing) on_listing(sink, stop);
  check_stop(stop);
  std::vector<std::uint64_t> changed;
  for (const auto& [number, block] : after) {
    const auto old = before.find(number);
    if (old == before.end() || old->second != block) changed.push_back(number);
  }
  for (const auto& [number, block] : before) {
    if (block && !after.contains(number)) changed.push_back(number);
  }
  std::sort(changed.begin(), changed.end());
  // Neighbouring zeroes become one record.
  std::uint64_t zero_offset = 0;
  std::uint64_t zero_bytes = 0;
  const auto give_zeroes = [&] {
    if (zero_bytes != 0) sink.zero(zero_offset, zero_bytes);
    zero_bytes = 0;
  };
  // A listing and what is read after it are of snapshots that can go meanwhile.
  const auto require_ends = [&] {
    const std::lock_guard lock(mutex_);
    StoredImage& stored = image(spec, "read diff");
    snapshot(stored, spec, to, "read diff");
    if (from) snapshot(stored, spec, *from, "read diff");
  };
  for (const std::uint64_t number : changed) {
    check_stop(stop);
    require_ends();
    const std::uint64_t block_offset = number * block_bytes;
    if (block_offset >= to.size_bytes) break;
    const std::uint64_t end = std::min(block_offset + block_bytes, to.size_bytes);
    if (end <= start) continue;
    const std::uint64_t offset = std::max(block_offset, start);
    const std::uint64_t length = end - offset;
    const auto block = after.find(number);
    const bool is_zero = block == after.end() || !block->second || *block->second == Block{};
    if (!is_zero || offset != zero_offset + zero_bytes) give_zeroes();
    if (!is_zero) {
      sink.data(offset, std::span(*block->second).subspan(offset - block_offset, length));
      continue;
    }
    if (zero_bytes == 0) zero_offset = offset;
    zero_bytes += length;
  }
  give_zeroes();
  check_stop(stop);
  require_ends();
  sink.finish();
}

void MemoryImageStore::read_ranges(const ImageSpec& spec, const Snapshot& snapshot,
                                   std::span<const ByteRange> ranges, DiffSink& sink, std::stop_token stop) {
  RangeFilter filter(sink, ranges);
  read_diff(spec, std::nullopt, snapshot, 0, filter, std::move(stop));
}

std::vector<ByteRange> MemoryImageStore::differing(const ImageSpec& spec, const Snapshot& from,
                                                   const Snapshot& to) {
  std::vector<ByteRange> places;
  PlacesSink sink(places);
  read_diff(spec, from, to, 0, sink, {});
  return places;
}

std::optional<std::vector<RollbackTarget>> MemoryImageStore::rollback_targets(const ImageSpec& spec) {
  const std::lock_guard lock(mutex_);
  enter("rollback_targets");
  std::vector<RollbackTarget> targets;
  for (const StoredSnapshot& one : image(spec, "list rollback targets").snapshots) {
    targets.push_back({one.snapshot.id, one.snapshot.name, {}, {}});
  }
  return targets;
}

FirstPass MemoryImageStore::first_pass(const ImageSpec& spec, const Snapshot& from, const Snapshot& to,
                                       const std::optional<RollbackTargets>& older) {
  std::vector<Snapshot> before;
  {
    const std::lock_guard lock(mutex_);
    enter("first_pass");
    for (const StoredSnapshot& one : image(spec, "compare object maps").snapshots) {
      if (one.snapshot.id < from.id) before.push_back(one.snapshot);
    }
  }
  if (!older || older->base_id != from.id) return {{}, "nothing was kept with " + from.name};
  for (const Snapshot& one : before) {
    const auto target = std::find_if(older->targets.begin(), older->targets.end(),
                                     [&](const RollbackTarget& kept) { return kept.snapshot_id == one.id; });
    if (target == older->targets.end()) return {{}, "nothing was kept of " + one.name};
    if (!target->changed) continue;
    for (const ByteRange& place : differing(spec, one, from)) {
      if (!covers(*target->changed, place)) {
        throw std::logic_error(fmt::format("not all that differs between {} and {} is known", one.name, from.name));
      }
    }
  }
  FirstPass pass{differing(spec, from, to), ""};
  join(pass.ranges);
  return pass;
}

void MemoryImageStore::read_diff_in(const ImageSpec& spec, const Snapshot& from, const Snapshot& to,
                                    std::span<const ByteRange> ranges, DiffSink& sink, std::stop_token stop) {
  ClippingSink clipped(sink, ranges);
  read_diff(spec, from, to, 0, clipped, std::move(stop));
}

void MemoryImageStore::hash_blocks(const ImageSpec& spec, const Snapshot& snapshot, const BlockSelection& blocks,
                                   const std::function<void(const BlockHash&)>& take, std::stop_token stop) {
  hash_blocks_here(*this, spec, snapshot, blocks, take, stop);
}

std::unique_ptr<DiffSink> MemoryImageStore::write_diff(const ImageSpec& spec, const TransferProgress& from,
                                                       std::stop_token stop) {
  check_stop(stop);
  const std::lock_guard lock(mutex_);
  enter("write_diff");
  StoredImage& stored = image(spec, "write diff");
  require_unwatched(stored, spec, "write diff");
  const std::string key(progress_key);
  if (from.offset == 0) {
    stored.metadata.erase(key);
  } else {
    const auto found = stored.metadata.find(key);
    require_progress(found == stored.metadata.end() ? std::nullopt : std::optional(found->second), from,
                     to_string(spec));
  }
  stored.transfer = from.id;
  return std::make_unique<Sink>(*this, spec, from, std::move(stop));
}

void MemoryImageStore::write(const ImageSpec& spec, std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  StoredImage& stored = image(spec, "write");
  stored.transfer.clear();
  change(stored, offset, bytes.size(), bytes.data());
}

void MemoryImageStore::zero(const ImageSpec& spec, std::uint64_t offset, std::uint64_t length_bytes) {
  const std::lock_guard lock(mutex_);
  StoredImage& stored = image(spec, "zero");
  stored.transfer.clear();
  change(stored, offset, length_bytes, nullptr);
}

void MemoryImageStore::damage(const ImageSpec& spec, std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  StoredImage& stored = image(spec, "damage");
  const Blocks before = stored.head;
  change(stored, offset, bytes.size(), bytes.data());
  for (StoredSnapshot& entry : stored.snapshots) {
    for (const auto& [number, block] : stored.head) {
      const auto old = before.find(number);
      const auto shared = entry.blocks.find(number);
      const bool is_shared = old == before.end() || shared == entry.blocks.end()
                                 ? old == before.end() && shared == entry.blocks.end()
                                 : old->second == shared->second;
      if (is_shared) entry.blocks.insert_or_assign(number, block);
    }
  }
}

void MemoryImageStore::resize(const ImageSpec& spec, std::uint64_t size_bytes) {
  const std::lock_guard lock(mutex_);
  StoredImage& stored = image(spec, "resize");
  stored.transfer.clear();
  change_size(stored, size_bytes);
}

void MemoryImageStore::protect(const ImageSpec& spec, const std::string& name, bool is_protected) {
  const std::lock_guard lock(mutex_);
  for (StoredSnapshot& entry : image(spec, "protect").snapshots) {
    if (entry.snapshot.name == name) entry.is_protected = is_protected;
  }
}

void MemoryImageStore::set_orphaned(const ImageSpec& spec, bool orphaned) {
  const std::lock_guard lock(mutex_);
  image(spec, "set orphaned").orphaned = orphaned;
}

void MemoryImageStore::set_watchers(const ImageSpec& spec, std::vector<std::string> watchers) {
  const std::lock_guard lock(mutex_);
  image(spec, "set watchers").watchers = std::move(watchers);
}

std::vector<std::byte> MemoryImageStore::content(const ImageSpec& spec, const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const StoredImage& stored = image(spec, "read");
  const Blocks* blocks = &stored.head;
  std::uint64_t size = stored.layout.size_bytes;
  if (!name.empty()) {
    const auto found = std::find_if(stored.snapshots.begin(), stored.snapshots.end(),
                                    [&](const StoredSnapshot& entry) { return entry.snapshot.name == name; });
    if (found == stored.snapshots.end())
      throw Error(ErrorCode::not_found, "read", name, "there is no such snapshot");
    blocks = &found->blocks;
    size = found->snapshot.size_bytes;
  }
  std::vector<std::byte> out(size);
  for (const auto& [number, block] : *blocks) {
    const std::uint64_t offset = number * block_bytes;
    if (block && offset < size)
      std::memcpy(out.data() + offset, block->data(), std::min(block_bytes, size - offset));
  }
  return out;
}

std::vector<ImageSpec> MemoryImageStore::images() const {
  const std::lock_guard lock(mutex_);
  std::vector<ImageSpec> out;
  for (const auto& [spec, stored] : images_) out.push_back(spec);
  return out;
}

}  // namespace crossover::test
