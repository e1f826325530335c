#include "byte_file.hpp"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "crossover/error.hpp"

namespace crossover::cli {

namespace {

constexpr int poll_milliseconds = 200;

[[noreturn]] void fail(const char* operation, const std::string& path, const char* standard) {
  const int error_number = errno;
  const ErrorCode code = error_number == ENOENT   ? ErrorCode::not_found
                         : error_number == EEXIST ? ErrorCode::already_exists
                                                  : ErrorCode::io;
  std::array<char, 256> buffer{};
  throw Error(code, operation, path == "-" ? standard : path,
              strerror_r(error_number, buffer.data(), buffer.size()), false, error_number);
}

bool is_regular(int fd) {
  struct stat status {};
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

void wait_for(int fd, short events, const std::stop_token& stop) {
  for (;;) {
    if (stop.stop_requested()) throw Cancelled{};
    pollfd wanted{fd, events, 0};
    if (poll(&wanted, 1, poll_milliseconds) != 0) return;  // an error shows in what follows
  }
}

}  // namespace

InputFile::InputFile(std::string path, std::stop_token stop) : path_(std::move(path)), stop_(std::move(stop)) {
  fd_ = path_ == "-" ? STDIN_FILENO : ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) fail("open", path_, "");
}

InputFile::~InputFile() {
  if (fd_ > STDERR_FILENO) ::close(fd_);
}

std::size_t InputFile::read(std::span<std::byte> out) {
  for (;;) {
    wait_for(fd_, POLLIN, stop_);
    const ssize_t count = ::read(fd_, out.data(), out.size());
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno != EINTR && errno != EAGAIN) fail("read", path_, "standard input");
  }
}

OutputFile::OutputFile(std::string path, std::stop_token stop) : path_(std::move(path)), stop_(std::move(stop)) {
  if (path_ == "-") fd_ = STDOUT_FILENO;
  if (fd_ >= 0) waits_ = !is_regular(fd_);
}

OutputFile::~OutputFile() {
  if (!is_ours_) return;
  ::close(fd_);
  ::unlink(path_.c_str());
}

void OutputFile::open() {
  constexpr mode_t mode = 0644;
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd_ < 0) fail("create", path_, "");
  is_ours_ = true;
}

void OutputFile::write(std::span<const std::byte> bytes) {
  if (fd_ < 0) open();
  while (!bytes.empty()) {
    // A pipe that polls as writable takes this much without waiting for its reader.
    const std::size_t most = waits_ ? std::min<std::size_t>(bytes.size(), PIPE_BUF) : bytes.size();
    if (waits_) wait_for(fd_, POLLOUT, stop_);
    const ssize_t count = ::write(fd_, bytes.data(), most);
    if (count < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      fail("write", path_, "standard output");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void OutputFile::close() {
  if (!is_ours_) return;
  // Some file systems say only now that the bytes did not fit.
  is_ours_ = false;
  if (::close(std::exchange(fd_, -1)) != 0) {
    const int error_number = errno;
    ::unlink(path_.c_str());
    errno = error_number;
    fail("write", path_, "");
  }
}

}  // namespace crossover::cli
