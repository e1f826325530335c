/// \file
/// The server's two ends of a connection.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <stop_token>

namespace crossover::agent {

/// Reads from one descriptor and writes to another (or the same), which it does not own. One thread may read while
/// another writes. Calls throw Cancelled once the token was triggered, and Error{io} if the other side is gone; the
/// process must not die of SIGPIPE if `out` is a pipe. Makes `out` non-blocking.
class FdStream {
 public:
  FdStream(int in, int out, std::stop_token stop);
  ~FdStream();
  FdStream(const FdStream&) = delete;
  FdStream& operator=(const FdStream&) = delete;

  /// Reads some bytes; 0 at the end.
  std::size_t read(std::span<std::byte> buffer);
  /// Writes all of them.
  void write(std::span<const std::byte> bytes);

 private:
  struct Wake {
    int fd;
    void operator()() const noexcept;
  };
  void wait(int fd, short events) const;

  int in_;
  int out_;
  std::stop_token stop_;
  int event_;
  std::optional<std::stop_callback<Wake>> callback_;
};

}  // namespace crossover::agent
