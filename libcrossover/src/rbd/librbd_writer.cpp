#include "rbd/librbd_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "rbd/data_gatherer.hpp"
#include "rbd/rbd_error.hpp"

namespace crossover::rbd {

namespace {

constexpr int op_flags = LIBRADOS_OP_FLAG_FADVISE_NOCACHE;
// librbd makes an operation per object of a range of zeroes, all at once.
constexpr std::uint64_t objects_per_zero = 16;
constexpr std::uint64_t max_write_bytes = 4U << 20;
// What is handed over and at least so large is written as it is; joining it with neighbours would cost a copy.
constexpr std::size_t min_single_write_bytes = std::size_t{256} << 10;

/// Writes in flight to one image. The first that fails is kept.
class WriteQueue {
 public:
  WriteQueue(const Image& image, const WriteWindow& window) : image_(image), window_(window) {}
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  ~WriteQueue() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return in_flight_.empty(); });
  }

  void write(std::uint64_t offset, OwnedBytes bytes, const std::stop_token& stop) {
    auto write = std::make_unique<Write>(*this, offset, std::move(bytes));
    const std::size_t length = write->bytes.size();
    const char* data = reinterpret_cast<const char*>(write->bytes.span().data());
    start(std::move(write), stop, [&](rbd_completion_t completion) {
      return rbd_aio_write2(image_.get(), offset, length, data, completion, op_flags);
    });
  }

  /// Never a discard: librbd skips the parts of one that are smaller than its granularity.
  void zero(std::uint64_t offset, std::uint64_t length, const std::stop_token& stop) {
    start(std::make_unique<Write>(*this, offset, OwnedBytes{}), stop, [&](rbd_completion_t completion) {
      return rbd_aio_write_zeroes(image_.get(), offset, length, completion, 0, op_flags);
    });
  }

  /// Makes everything before it stable, without waiting for that: see is_done(). Without a cache writes are stable
  /// when they are done, but an image's own settings can bring the cache back.
  std::uint64_t flush(const std::stop_token& stop) {
    return start(std::make_unique<Write>(*this, 0, OwnedBytes{}), stop,
                 [&](rbd_completion_t completion) { return rbd_aio_flush(image_.get(), completion); });
  }

  /// True when everything up to the operation of that number is done. Throws if anything failed.
  bool is_done(std::uint64_t number) {
    const std::lock_guard lock(mutex_);
    throw_failure();
    return in_flight_.empty() || *in_flight_.begin() > number;
  }

  void drain(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, stop, [this] { return in_flight_.empty(); })) throw Cancelled{};
    throw_failure();
  }

 private:
  struct Write {
    Write(WriteQueue& owner, std::uint64_t at, OwnedBytes content)
        : queue(owner), offset(at), bytes(std::move(content)) {}
    WriteQueue& queue;
    std::uint64_t number = 0;
    std::uint64_t offset;
    OwnedBytes bytes;
  };

  /// The operation's number; they count up.
  template <typename Submit>
  std::uint64_t start(std::unique_ptr<Write> write, const std::stop_token& stop, const Submit& submit) {
    const std::size_t length = write->bytes.size();
    const std::uint64_t number = enter(length, stop);
    write->number = number;
    rbd_completion_t completion = nullptr;
    int result = rbd_aio_create_completion(write.get(), &WriteQueue::completed, &completion);
    if (result >= 0) {
      result = submit(completion);
      if (result >= 0) {
        static_cast<void>(write.release());  // completed() owns it now
        return number;
      }
      rbd_aio_release(completion);
    }
    leave(number, length, 0, 0);
    throw error_of_return(result, "write", image_.subject());
  }

  std::uint64_t enter(std::size_t length, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    const auto has_room = [&] {
      return failure_ < 0 || in_flight_.empty() ||
             (in_flight_.size() < window_.max_writes && bytes_ + length <= window_.max_bytes);
    };
    if (stop.stop_requested() || !changed_.wait(lock, stop, has_room)) throw Cancelled{};
    throw_failure();
    bytes_ += length;
    in_flight_.insert(++last_number_);
    return last_number_;
  }

  void leave(std::uint64_t number, std::size_t length, std::uint64_t offset, int result) {
    const std::lock_guard lock(mutex_);
    in_flight_.erase(number);
    bytes_ -= length;
    if (result < 0 && failure_ == 0) {
      failure_ = result;
      failure_offset_ = offset;
    }
    changed_.notify_all();
  }

  static void completed(rbd_completion_t completion, void* context) noexcept {
    const std::unique_ptr<Write> write(static_cast<Write*>(context));
    const auto result = static_cast<int>(std::min<ssize_t>(0, rbd_aio_get_return_value(completion)));
    rbd_aio_release(completion);
    write->queue.leave(write->number, write->bytes.size(), write->offset, result);
  }

  void throw_failure() const {
    if (failure_ == 0) return;
    const Error error = error_of_return(failure_, "write", image_.subject());
    throw Error(error.code(), error.operation(), error.subject(),
                fmt::format("at {}: {}", failure_offset_, error.cause()), error.retryable());
  }

  const Image& image_;
  WriteWindow window_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::set<std::uint64_t> in_flight_;  // numbers
  std::uint64_t last_number_ = 0;
  std::uint64_t bytes_ = 0;
  int failure_ = 0;
  std::uint64_t failure_offset_ = 0;
};

class LibrbdWriter final : public DiffSink {
 public:
  LibrbdWriter(const Image& image, TransferProgress from, const WriteWindow& window, std::stop_token stop)
      : image_(image),
        object_bytes_(image_.object_bytes()),
        queue_(image_, window),
        gatherer_(
            std::min(object_bytes_, max_write_bytes),
            [this](std::uint64_t offset, OwnedBytes bytes) { queue_.write(offset, std::move(bytes), stop_); }),
        stop_(std::move(stop)),
        id_(std::move(from.id)),
        position_(from.offset) {
    if (from.offset == 0) {
      forget_progress();
    } else {
      require_progress(image_.metadata(key()), {id_, from.offset}, image_.subject());
    }
  }

  ~LibrbdWriter() override {
    try {
      // What was cut goes on from as far as possible.
      if (marks_.empty()) return;
      queue_.drain({});
      save_progress();
    } catch (...) {
      // The transfer failed already, and its last progress stands.
    }
  }

  void size(std::uint64_t size_bytes) override {
    if (sized_) fail("a second size");
    if (image_.size_bytes() != size_bytes) image_.check(rbd_resize(image_.get(), size_bytes), "resize image");
    size_bytes_ = size_bytes;
    sized_ = true;
  }

  void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    take(offset, bytes.size());
    gatherer_.data(offset, bytes);
    save_progress();
  }

  void hand_over(std::uint64_t offset, OwnedBytes bytes) override {
    const std::uint64_t boundary = std::min(object_bytes_, max_write_bytes);
    const bool in_one = bytes.size() != 0 && offset / boundary == (offset + bytes.size() - 1) / boundary;
    if (bytes.size() < min_single_write_bytes || !in_one) return data(offset, bytes.span());
    take(offset, bytes.size());
    gatherer_.flush();
    queue_.write(offset, std::move(bytes), stop_);
    save_progress();
  }

  void zero(std::uint64_t offset, std::uint64_t length_bytes) override {
    take(offset, length_bytes);
    gatherer_.flush();
    const std::uint64_t step = object_bytes_ * objects_per_zero;
    const std::uint64_t end = offset + length_bytes;
    while (offset < end) {
      const std::uint64_t to_boundary = step - offset % step;
      const std::uint64_t length = std::min(end - offset, to_boundary);
      queue_.zero(offset, length, stop_);
      offset += length;
    }
    save_progress();
  }

  void mark() override {
    if (!sized_) fail("a mark before a size");
    if (id_.empty() || position_ == marked_) return;
    gatherer_.flush();
    marked_ = position_;
    marks_.push_back({queue_.flush(stop_), position_});
    save_progress();
  }

  void finish() override {
    if (!sized_) fail("an end before a size");
    gatherer_.flush();
    queue_.drain(stop_);
    save_progress();
    image_.check(rbd_flush(image_.get()), "flush image");
    if (const std::uint64_t size = image_.size_bytes(); size != size_bytes_) {
      throw Error(ErrorCode::io, "write diff", image_.subject(),
                  fmt::format("the image has {} bytes instead of {}", size, size_bytes_));
    }
  }

 private:
  /// Everything before `position` is stable when the queue has done the operation `number`.
  struct Mark {
    std::uint64_t number = 0;
    std::uint64_t position = 0;
  };

  /// Saves the last mark that everything before is stable of.
  void save_progress() {
    std::optional<std::uint64_t> reached;
    for (; !marks_.empty() && queue_.is_done(marks_.front().number); marks_.pop_front()) {
      reached = marks_.front().position;
    }
    if (!reached) return;
    const std::string value = render_progress({id_, *reached}, image_.context().cluster().instance_id());
    image_.check(rbd_metadata_set(image_.get(), key(), value.c_str()), "save progress");
  }

  void forget_progress() {
    const int result = rbd_metadata_remove(image_.get(), key());
    if (result != -ENOENT) image_.check(result, "forget progress");
  }

  static const char* key() { return progress_key.data(); }  // of a literal

  [[noreturn]] void fail(const char* cause) const {
    throw Error(ErrorCode::usage, "write diff", image_.subject(), cause);
  }

  /// librbd cuts writes at the image's end without a word.
  void take(std::uint64_t offset, std::uint64_t length) {
    if (!sized_) fail("content before a size");
    if (offset < position_) fail("content that is not in ascending order");
    if (offset > size_bytes_ || length > size_bytes_ - offset) fail("content past the image's end");
    position_ = offset + length;
  }

  const Image& image_;
  std::uint64_t object_bytes_;
  WriteQueue queue_;
  DataGatherer gatherer_;
  std::stop_token stop_;
  std::string id_;
  std::uint64_t position_;
  std::uint64_t marked_ = 0;
  std::deque<Mark> marks_;  // those that are not saved
  bool sized_ = false;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace

std::unique_ptr<DiffSink> make_librbd_writer(const Image& image, const TransferProgress& from, const WriteWindow& window,
                                             std::stop_token stop) {
  return std::make_unique<LibrbdWriter>(image, from, window, std::move(stop));
}

}  // namespace crossover::rbd
