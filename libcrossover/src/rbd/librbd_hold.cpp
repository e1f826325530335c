#include "rbd/librbd_hold.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "crossover/error.hpp"
#include "rbd/head_lock.hpp"
#include "rbd/librbd_state.hpp"
#include "rbd/rbd_error.hpp"

namespace crossover::rbd {

namespace {

class LibrbdHold final : public ImageHold {
 public:
  LibrbdHold(Image image, const WriteWindow& window, HeadComparison compare)
      : image_(std::move(image)), window_(window), compare_(std::move(compare)) {
    image_.require_unwatched("hold image");
    if ((image_.features() & image_feature::exclusive_lock) == 0) return;
    const std::optional<FoundSeal> seal = find_seal(image_);
    const std::string killed = seal ? std::string() : transfer_of_killed();
    lock_.emplace(image_, seal);
    if (!killed.empty()) lock_->forget(killed);
    // Who opened the image between the two looks has lost the lock to us by now, but would be written under.
    image_.require_unwatched("hold image");
  }

  bool head_unchanged_since_transfer(const std::string& id, std::stop_token stop) override {
    if (stop.stop_requested()) throw Cancelled{};
    return lock_ && !id.empty() && lock_->transfer() == id;
  }

  ImageState state() override { return read_state(image_); }

  void set_metadata(const std::string& key, const std::string& value) override {
    rbd::set_metadata(image_, key, value);
  }

  void remove_metadata(const std::string& key) override { rbd::remove_metadata(image_, key); }

  void roll_back(const Snapshot& snapshot, std::stop_token stop) override {
    if (stop.stop_requested()) throw Cancelled{};
    image_.require_snapshot(snapshot, "roll back");
    if (lock_) lock_->forget();
    // librbd does not ask its progress callback whether to go on: a rollback runs to its end.
    const int result = rbd_snap_rollback(image_.get(), snapshot.name.c_str());
    if (result < 0) throw error_of_return(result, "roll back", image_.subject() + "@" + snapshot.name);
    if (lock_) lock_->learn(snapshot.id, lock_->moment());
    if (stop.stop_requested()) throw Cancelled{};
  }

  bool head_unchanged_since(const Snapshot& snapshot, std::stop_token stop) override {
    if (stop.stop_requested()) throw Cancelled{};
    image_.require_snapshot(snapshot, "compare with snapshot");
    if (image_.size_bytes() != snapshot.size_bytes) return false;
    if (lock_ && lock_->knows(snapshot.id)) return true;
    const std::uint64_t before = lock_ ? lock_->moment() : 0;
    if (!compare_(snapshot, std::move(stop))) return false;
    if (lock_) lock_->learn(snapshot.id, before);
    return true;
  }

  std::unique_ptr<DiffSink> write_diff(const TransferProgress& from, std::stop_token stop) override {
    if (stop.stop_requested()) throw Cancelled{};
    if (lock_) lock_->forget(from.id);
    return make_librbd_writer(image_, from, window_, std::move(stop));
  }

  Snapshot create_snapshot(const std::string& name) override {
    Snapshot snapshot = rbd::create_snapshot(image_, name);
    if (lock_) lock_->learn(snapshot.id, lock_->moment());
    return snapshot;
  }

 private:
  /// The transfer in which a client died that still has the image's lock, or empty. Who takes the lock next puts
  /// its own name there.
  [[nodiscard]] std::string transfer_of_killed() const {
    const std::optional<std::string> progress = image_.metadata(progress_key.data());  // of a literal
    const std::optional<TransferProgress> known = progress ? parse_progress(*progress) : std::nullopt;
    if (!known) return {};
    const std::optional<std::uint64_t> client = progress_client(*progress);
    return client && is_locked_by(image_, *client) ? known->id : std::string();
  }

  Image image_;
  WriteWindow window_;
  HeadComparison compare_;
  std::optional<HeadLock> lock_;  // last: it goes before the image is closed
};

}  // namespace

Snapshot create_snapshot(const Image& image, const std::string& name) {
  const std::string subject = image.subject() + "@" + name;
  int result = rbd_snap_create(image.get(), name.c_str());
  if (result < 0) throw error_of_return(result, "create snapshot", subject);
  std::uint64_t id = 0;
  result = rbd_snap_get_id(image.get(), name.c_str(), &id);
  if (result < 0) throw error_of_return(result, "create snapshot", subject);
  // The head may have been resized meanwhile; the snapshot says what it has.
  for (const Snapshot& listed : list_snapshots(image)) {
    if (listed.id == id) return listed;
  }
  throw Error(ErrorCode::not_found, "create snapshot", subject, "it was removed right after it was made");
}

void set_metadata(const Image& image, const std::string& key, const std::string& value) {
  image.check(rbd_metadata_set(image.get(), key.c_str(), value.c_str()), "set metadata");
}

void remove_metadata(const Image& image, const std::string& key) {
  const int result = rbd_metadata_remove(image.get(), key.c_str());
  if (result != -ENOENT) image.check(result, "remove metadata");
}

bool replace_metadata(const Image& image, const std::string& key, const std::optional<std::string>& expected,
                      const std::optional<std::string>& wanted) {
  std::array<char, 256> id{};
  image.check(rbd_get_id(image.get(), id.data(), id.size()), "read image id");
  // Where librbd's class of the OSDs keeps them, in the header's omap. A key that is not there compares as empty.
  const std::string name = "metadata_" + key;
  const std::string before = expected.value_or("");
  const std::unique_ptr<void, void (*)(rados_write_op_t)> op(rados_create_write_op(), rados_release_write_op);
  int compared = 0;
  rados_write_op_assert_exists(op.get());
  rados_write_op_omap_cmp(op.get(), name.c_str(), LIBRADOS_CMPXATTR_OP_EQ, before.data(), before.size(), &compared);
  const char* const names[] = {name.c_str()};
  if (wanted) {
    const char* const values[] = {wanted->data()};
    const std::size_t lengths[] = {wanted->size()};
    rados_write_op_omap_set(op.get(), names, values, lengths, 1);
  } else {
    rados_write_op_omap_rm_keys(op.get(), names, 1);
  }
  const std::string header = fmt::format("rbd_header.{}", id.data());
  const int result = rados_write_op_operate(op.get(), image.context().get(), header.c_str(), nullptr, 0);
  if (result == -ECANCELED) return false;
  image.check(result, "replace metadata");
  return true;
}

std::unique_ptr<ImageHold> hold_image(Image image, const WriteWindow& window, HeadComparison compare) {
  return std::make_unique<LibrbdHold>(std::move(image), window, std::move(compare));
}

}  // namespace crossover::rbd
