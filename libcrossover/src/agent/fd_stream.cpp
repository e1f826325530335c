#include "agent/fd_stream.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "crossover/error.hpp"

namespace crossover::agent {

namespace {

constexpr std::chrono::milliseconds no_limit{-1};
// What the kernel lets anybody have (fs.pipe-max-size).
constexpr int pipe_bytes = 1 << 20;

int make_event() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) throw Error(ErrorCode::io, "serve", "", std::strerror(errno));
  return fd;
}

/// A socket that was closed over there is an error here, not a signal.
ssize_t write_some(int fd, std::span<const std::byte> bytes) {
  const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  return sent < 0 && errno == ENOTSOCK ? ::write(fd, bytes.data(), bytes.size()) : sent;
}

}  // namespace

void FdStream::Wake::operator()() const noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(fd, &one, sizeof one));
}

FdStream::FdStream(int in, int out, std::stop_token stop)
    : in_(in), out_(out), stop_(std::move(stop)), event_(make_event()) {
  callback_.emplace(stop_, Wake{event_});
  ::fcntl(out_, F_SETFL, ::fcntl(out_, F_GETFL) | O_NONBLOCK);
  // Whoever is at the other end of a pipe (sshd) is woken less often by a larger one. A socket has no such size.
  for (const int pipe : {in_, out_}) ::fcntl(pipe, F_SETPIPE_SZ, pipe_bytes);
}

FdStream::~FdStream() {
  callback_.reset();  // waits for one that is running
  ::close(event_);
}

bool FdStream::wait(int fd, short events, std::chrono::milliseconds limit) const {
  std::array<pollfd, 2> fds{
      {{.fd = event_, .events = POLLIN, .revents = 0}, {.fd = fd, .events = events, .revents = 0}}};
  int ready = 0;
  while ((ready = ::poll(fds.data(), fds.size(), static_cast<int>(limit.count()))) < 0) {
    if (errno != EINTR) throw Error(ErrorCode::io, "serve", "", std::strerror(errno));
  }
  if (stop_.stop_requested()) throw Cancelled{};
  return ready > 0;
}

std::size_t FdStream::read(std::span<std::byte> buffer) {
  return read(buffer, no_limit).value();
}

std::optional<std::size_t> FdStream::read(std::span<std::byte> buffer, std::chrono::milliseconds limit) {
  for (;;) {
    if (!wait(in_, POLLIN, limit)) return std::nullopt;
    const ssize_t count = ::read(in_, buffer.data(), buffer.size());
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno == ECONNRESET) return 0;
    if (errno != EINTR && errno != EAGAIN) throw Error(ErrorCode::io, "read from", "client", std::strerror(errno));
  }
}

void FdStream::write(std::span<const std::byte> bytes) {
  const std::lock_guard lock(writing_);
  while (!bytes.empty()) {
    if (stop_.stop_requested()) throw Cancelled{};
    const ssize_t count = write_some(out_, bytes);
    if (count >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {
      wait(out_, POLLOUT, no_limit);
    } else if (errno != EINTR) {
      throw Error(ErrorCode::io, "write to", "client", std::strerror(errno));
    }
  }
}

}  // namespace crossover::agent
