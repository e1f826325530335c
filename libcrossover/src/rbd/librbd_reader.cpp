#include "rbd/librbd_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "engine/zero_splitter.hpp"
#include "rbd/librbd_lister.hpp"
#include "rbd/rbd_error.hpp"

namespace crossover::rbd {

namespace {

constexpr std::uint64_t max_read_bytes = 4U << 20;
// Reading over a gap is cheaper than another operation. What is in the gap is not given on.
constexpr std::uint64_t max_gap_bytes = 16U << 10;
constexpr int op_flags_random = LIBRADOS_OP_FLAG_FADVISE_NOCACHE;
constexpr int op_flags_sequential = LIBRADOS_OP_FLAG_FADVISE_SEQUENTIAL | LIBRADOS_OP_FLAG_FADVISE_NOCACHE;

/// The next thing the sink is to get: one read with the extents of it that count, or a run of zeroes.
struct Piece {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::vector<Extent> extents;  ///< empty: zeroes
};

/// Cuts the extents of a range into pieces.
std::vector<Piece> plan_pieces(const std::vector<Extent>& extents) {
  std::vector<Piece> pieces;
  for (const Extent& extent : extents) {
    if (!extent.exists) {
      pieces.push_back({extent.offset, extent.length, {}});
      continue;
    }
    const std::uint64_t end = extent.offset + extent.length;
    for (std::uint64_t offset = extent.offset; offset < end;) {
      // Aligned, so that a read asks one object where images are not striped.
      const std::uint64_t boundary = offset - offset % max_read_bytes + max_read_bytes;
      const std::uint64_t length = std::min(end, boundary) - offset;
      Piece* last = pieces.empty() || pieces.back().extents.empty() ? nullptr : &pieces.back();
      const bool joins = last != nullptr && last->offset / max_read_bytes == offset / max_read_bytes &&
                         offset - (last->offset + last->length) <= max_gap_bytes;
      if (joins) {
        last->extents.push_back({offset, length, true});
        last->length = offset + length - last->offset;
      } else {
        pieces.push_back({offset, length, {{offset, length, true}}});
      }
      offset += length;
    }
  }
  return pieces;
}

/// Reads that are in flight, in the order they were asked for.
class ReadQueue {
 public:
  ReadQueue(const Image& image, int op_flags) : image_(image), op_flags_(op_flags) {}

  ~ReadQueue() {
    // librbd still writes into the buffers.
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return in_flight_ == 0; });
  }

  ReadQueue(const ReadQueue&) = delete;
  ReadQueue& operator=(const ReadQueue&) = delete;

  [[nodiscard]] bool empty() const noexcept { return reads_.empty(); }
  [[nodiscard]] bool has_room(std::uint64_t bytes, const ReadWindow& window) const noexcept {
    return reads_.empty() || (reads_.size() < window.max_reads && bytes_ + bytes <= window.max_bytes);
  }

  void push(Piece piece) {
    auto read = std::make_unique<Read>();
    read->queue = this;
    read->piece = std::move(piece);
    const bool is_data = !read->piece.extents.empty();
    read->done = !is_data;
    reads_.push_back(std::move(read));
    if (is_data) start(*reads_.back());
  }

  /// Waits for the oldest and gives it on.
  void pop(ZeroSplitter& out, const std::stop_token& stop) {
    Read& read = *reads_.front();
    {
      std::unique_lock lock(mutex_);
      if (!done_.wait(lock, stop, [&read] { return read.done; })) throw Cancelled{};
    }
    if (read.piece.extents.empty()) {
      out.zero(read.piece.offset, read.piece.length);
    } else {
      give(read, out);
      bytes_ -= read.piece.length;
    }
    reads_.pop_front();
  }

 private:
  struct Read {
    ReadQueue* queue = nullptr;
    Piece piece;
    OwnedBytes bytes;
    ssize_t result = 0;
    bool done = false;
  };

  void start(Read& read) {
    const auto length = static_cast<std::size_t>(read.piece.length);
    read.bytes = OwnedBytes(length, header_room_bytes);
    rbd_completion_t completion = nullptr;
    image_.check(rbd_aio_create_completion(&read, &ReadQueue::completed, &completion), "read");
    {
      const std::lock_guard lock(mutex_);
      ++in_flight_;
    }
    const int result = rbd_aio_read2(image_.get(), read.piece.offset, length,
                                     reinterpret_cast<char*>(read.bytes.span().data()), completion, op_flags_);
    if (result < 0) {
      rbd_aio_release(completion);
      {
        const std::lock_guard lock(mutex_);
        --in_flight_;
      }
      image_.check(result, "read");
    }
    bytes_ += length;
  }

  static void completed(rbd_completion_t completion, void* context) noexcept {
    Read& read = *static_cast<Read*>(context);
    ReadQueue& queue = *read.queue;
    const ssize_t result = rbd_aio_get_return_value(completion);
    rbd_aio_release(completion);
    // Told under the lock: whoever waits may destroy the queue as soon as it has it.
    const std::lock_guard lock(queue.mutex_);
    read.result = result;
    read.done = true;
    --queue.in_flight_;
    queue.done_.notify_all();
  }

  void give(Read& read, ZeroSplitter& out) const {
    if (read.result < 0) throw error_of_return(static_cast<int>(read.result), "read", image_.subject());
    if (static_cast<std::uint64_t>(read.result) != read.piece.length) {
      throw Error(ErrorCode::io, "read", image_.subject(),
                  fmt::format("{} bytes instead of {} at {}", read.result, read.piece.length, read.piece.offset));
    }
    if (read.piece.extents.size() == 1) return out.hand_over(read.piece.offset, std::move(read.bytes));
    for (const Extent& extent : read.piece.extents) {
      out.data(extent.offset, read.bytes.span().subspan(static_cast<std::size_t>(extent.offset - read.piece.offset),
                                                        static_cast<std::size_t>(extent.length)));
    }
  }

  const Image& image_;
  int op_flags_;
  std::deque<std::unique_ptr<Read>> reads_;  // unique_ptr: librbd keeps their addresses
  std::uint64_t bytes_ = 0;
  std::mutex mutex_;
  std::condition_variable_any done_;
  std::size_t in_flight_ = 0;
};

}  // namespace

void read_image_diff(const Image& image, const std::optional<Snapshot>& from, std::uint64_t offset, DiffSink& sink,
                     const ReadWindow& window, const std::stop_token& stop) {
  const std::uint64_t size = image.size_bytes();
  std::vector<ByteRange> ranges;
  if (offset < size) ranges.push_back({offset, size - offset});
  read_image_diff(image, from, std::move(ranges), sink, window, stop);
}

void read_image_diff(const Image& image, const std::optional<Snapshot>& from, std::vector<ByteRange> ranges,
                     DiffSink& sink, const ReadWindow& window, const std::stop_token& stop) {
  sink.size(image.size_bytes());
  ZeroSplitter out(sink);
  DiffLister lister(image, from, std::move(ranges));
  ReadQueue queue(image, from ? op_flags_random : op_flags_sequential);
  while (const auto extents = lister.next(stop)) {
    sink.alive();
    for (Piece& piece : plan_pieces(*extents)) {
      const std::uint64_t bytes = piece.extents.empty() ? 0 : piece.length;
      while (!queue.has_room(bytes, window)) queue.pop(out, stop);
      queue.push(std::move(piece));
    }
  }
  while (!queue.empty()) queue.pop(out, stop);
  out.flush();
}

}  // namespace crossover::rbd
