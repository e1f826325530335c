// copy-limit: what a copy between two clusters costs with librbd alone, as the benchmark's yardstick. Both clusters
// are opened in this one process, nothing is compressed, checked or recorded, and every listed extent is one read
// and one write. It has nothing in common with libcrossover, on purpose.
//
//   copy-limit SOURCE_CONF POOL/IMAGE@SNAPSHOT DESTINATION_CONF POOL/IMAGE [START_SNAPSHOT]
//
// Prints {"seconds": s, "bytes": n, "extents": n}; the time runs from open images to the flushed last write.
#include <rados/librados.h>
#include <rbd/librbd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr std::uint64_t window_bytes = std::uint64_t{64} << 20;
constexpr unsigned window_extents = 128;
constexpr std::uint64_t range_objects = 256;  // one listing call
constexpr std::uint64_t largest_extent = std::uint64_t{4} << 20;

[[noreturn]] void die(const std::string& what, int result) {
  std::fprintf(stderr, "copy-limit: %s: %s\n", what.c_str(), std::strerror(-result));
  std::exit(1);
}

int check(int result, const std::string& what) {
  if (result < 0) die(what, result);
  return result;
}

struct Spec {
  std::string pool, image, snapshot;
};

Spec parse(const std::string& text) {
  const auto slash = text.find('/');
  const auto at = text.find('@');
  if (slash == std::string::npos) die("not pool/image: " + text, -EINVAL);
  return {text.substr(0, slash), text.substr(slash + 1, at == std::string::npos ? at : at - slash - 1),
          at == std::string::npos ? "" : text.substr(at + 1)};
}

rbd_image_t open(const char* conf, const Spec& spec, bool writes) {
  rados_t cluster = nullptr;
  rados_ioctx_t pool = nullptr;
  rbd_image_t image = nullptr;
  check(rados_create(&cluster, "admin"), "create connection");
  check(rados_conf_read_file(cluster, conf), conf);
  // What crossover sets too: no cache between us and the cluster, and as many listings at a time.
  check(rados_conf_set(cluster, "rbd_cache", "false"), "rbd_cache");
  check(rados_conf_set(cluster, "rbd_concurrent_management_ops", "32"), "rbd_concurrent_management_ops");
  check(rados_connect(cluster), std::string("connect with ") + conf);
  check(rados_ioctx_create(cluster, spec.pool.c_str(), &pool), spec.pool);
  const char* snapshot = spec.snapshot.empty() ? nullptr : spec.snapshot.c_str();
  check(writes ? rbd_open(pool, spec.image.c_str(), &image, snapshot)
               : rbd_open_read_only(pool, spec.image.c_str(), &image, snapshot),
        spec.image);
  return image;
}

struct Extent {
  std::uint64_t offset, length;
  bool exists;
};

/// Lists what differs, range by range, in a thread of its own that runs ahead of the copying.
class Lister {
 public:
  Lister(rbd_image_t image, const char* start, const rbd_image_info_t& info)
      : thread_([this, image, start, range = range_objects * info.obj_size, size = info.size] {
          for (std::uint64_t offset = 0; offset < size; offset += range) {
            std::vector<Extent> extents;
            check(rbd_diff_iterate2(
                      image, start, offset, std::min(range, size - offset), 1, 0,
                      [](std::uint64_t at, std::size_t length, int exists, void* found) {
                        static_cast<std::vector<Extent>*>(found)->push_back({at, length, exists != 0});
                        return 0;
                      },
                      &extents),
                  "list");
            give(std::move(extents));
          }
          give(std::nullopt);
        }) {}

  /// The next range's extents; nothing after the last.
  std::optional<std::vector<Extent>> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !found_.empty(); });
    std::optional<std::vector<Extent>> first = std::move(found_.front());
    found_.pop_front();
    return first;
  }

 private:
  void give(std::optional<std::vector<Extent>> extents) {
    const std::lock_guard lock(mutex_);
    found_.push_back(std::move(extents));
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::optional<std::vector<Extent>>> found_;
  std::jthread thread_;
};

/// Extents on their way: each is read, and its read's completion starts its write.
class Copy {
 public:
  Copy(rbd_image_t source, rbd_image_t destination) : source_(source), destination_(destination) {}

  void extent(const Extent& extent) {
    const std::uint64_t end = extent.offset + extent.length;
    for (std::uint64_t offset = extent.offset; offset < end;) {
      const std::uint64_t count = std::min(end - offset, largest_extent - offset % largest_extent);
      enter(count);
      auto piece = std::make_unique<Piece>(Piece{this, offset, count, nullptr});
      if (extent.exists) {
        piece->buffer = std::make_unique_for_overwrite<char[]>(count);
        read(std::move(piece));
      } else {
        write(piece.release());
      }
      offset += count;
    }
  }

  void drain() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return in_flight_ == 0; });
    check(rbd_flush(destination_), "flush");
  }

  [[nodiscard]] std::uint64_t bytes() const { return total_bytes_; }
  [[nodiscard]] std::uint64_t extents() const { return total_extents_; }

 private:
  struct Piece {
    Copy* copy;
    std::uint64_t offset, length;
    std::unique_ptr<char[]> buffer;  // none: zeroes
  };

  void enter(std::uint64_t bytes) {
    std::unique_lock lock(mutex_);
    changed_.wait(
        lock, [&] { return in_flight_ == 0 || (in_flight_ < window_extents && bytes_ + bytes <= window_bytes); });
    ++in_flight_;
    bytes_ += bytes;
    ++total_extents_;
    total_bytes_ += bytes;
  }

  void leave(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    --in_flight_;
    bytes_ -= bytes;
    changed_.notify_all();
  }

  void read(std::unique_ptr<Piece> piece) {
    rbd_completion_t completion = nullptr;
    char* buffer = piece->buffer.get();
    const std::uint64_t offset = piece->offset;
    const std::uint64_t length = piece->length;
    check(rbd_aio_create_completion(piece.release(), &Copy::was_read, &completion), "read");
    check(rbd_aio_read2(source_, offset, length, buffer, completion, LIBRADOS_OP_FLAG_FADVISE_NOCACHE), "read");
  }

  static void was_read(rbd_completion_t completion, void* argument) {
    auto* piece = static_cast<Piece*>(argument);
    const ssize_t result = rbd_aio_get_return_value(completion);
    rbd_aio_release(completion);
    if (result != static_cast<ssize_t>(piece->length)) die("read", result < 0 ? static_cast<int>(result) : -EIO);
    piece->copy->write(piece);
  }

  void write(Piece* piece) {
    rbd_completion_t completion = nullptr;
    check(rbd_aio_create_completion(piece, &Copy::was_written, &completion), "write");
    check(piece->buffer ? rbd_aio_write2(destination_, piece->offset, piece->length, piece->buffer.get(),
                                         completion, LIBRADOS_OP_FLAG_FADVISE_NOCACHE)
                        : rbd_aio_write_zeroes(destination_, piece->offset, piece->length, completion, 0,
                                               LIBRADOS_OP_FLAG_FADVISE_NOCACHE),
          "write");
  }

  static void was_written(rbd_completion_t completion, void* argument) {
    const std::unique_ptr<Piece> piece(static_cast<Piece*>(argument));
    check(static_cast<int>(rbd_aio_get_return_value(completion)), "write");
    rbd_aio_release(completion);
    piece->copy->leave(piece->length);
  }

  rbd_image_t source_, destination_;
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned in_flight_ = 0;
  std::uint64_t bytes_ = 0, total_bytes_ = 0, total_extents_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) {
    std::fprintf(
        stderr, "usage: copy-limit SOURCE_CONF POOL/IMAGE@SNAPSHOT DESTINATION_CONF POOL/IMAGE [START_SNAPSHOT]\n");
    return 2;
  }
  rbd_image_t source = open(argv[1], parse(argv[2]), false);
  rbd_image_t destination = open(argv[3], parse(argv[4]), true);
  const char* start = argc == 6 ? argv[5] : nullptr;

  const auto begin = std::chrono::steady_clock::now();
  rbd_image_info_t info{};
  check(rbd_stat(source, &info, sizeof info), "stat");
  Lister lister(source, start, info);
  Copy copy(source, destination);
  while (const auto extents = lister.next()) {
    for (const Extent& extent : *extents) copy.extent(extent);
  }
  copy.drain();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  std::printf("{\"seconds\": %.6f, \"bytes\": %llu, \"extents\": %llu}\n", elapsed.count(),
              static_cast<unsigned long long>(copy.bytes()), static_cast<unsigned long long>(copy.extents()));
  // Closed, or the cluster would take this process for a writer for another half minute.
  check(rbd_close(source), "close");
  check(rbd_close(destination), "close");
  std::fflush(stdout);
  std::_Exit(0);
}
