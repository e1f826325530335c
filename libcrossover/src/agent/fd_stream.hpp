/// \file
/// The server's two ends of a connection.
#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>

namespace crossover::agent {

/// Reads from one descriptor and writes to another (or the same), which it does not own. One thread may read while
/// others write. Calls throw Cancelled once the token was triggered, and Error{io} if the other side is gone; the
/// process must not die of SIGPIPE if `out` is a pipe. Makes `out` non-blocking.
class FdStream {
 public:
  FdStream(int in, int out, std::stop_token stop);
  ~FdStream();
  FdStream(const FdStream&) = delete;
  FdStream& operator=(const FdStream&) = delete;

  /// Reads some bytes; 0 at the end. With a limit nothing if none came within it.
  std::size_t read(std::span<std::byte> buffer);
  std::optional<std::size_t> read(std::span<std::byte> buffer, std::chrono::milliseconds limit);
  /// Writes all of them, after those of another thread that is writing.
  void write(std::span<const std::byte> bytes);

 private:
  struct Wake {
    int fd;
    void operator()() const noexcept;
  };
  /// False if the limit (negative: none) passed.
  bool wait(int fd, short events, std::chrono::milliseconds limit) const;

  std::mutex writing_;
  int in_;
  int out_;
  std::stop_token stop_;
  int event_;
  std::optional<std::stop_callback<Wake>> callback_;
};

}  // namespace crossover::agent
