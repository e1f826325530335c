#include "support/socket_shell.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "agent/fd_stream.hpp"
#include "crossover/error.hpp"

namespace crossover::test {

namespace {

class SocketProcess final : public Process {
 public:
  SocketProcess(const SocketShell::Serve& serve, std::stop_token stop)
      : fds_(make_pair()), stream_(fds_[0], fds_[0], std::move(stop)) {
    thread_ = std::thread([this, serve] {
      try {
        serve(fds_[1], fds_[1]);
      } catch (const Error& error) {
        result_ = {1, "", error.what()};
      }
      ::close(fds_[1]);
    });
  }

  ~SocketProcess() override {
    ::shutdown(fds_[0], SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    ::close(fds_[0]);
  }

  void write(std::span<const std::byte> bytes) override { stream_.write(bytes); }
  void close_input() override { ::shutdown(fds_[0], SHUT_WR); }
  std::size_t read(std::span<std::byte> buffer) override { return stream_.read(buffer); }
  CommandResult wait() override {
    close_input();
    std::array<std::byte, 4096> rest;
    while (stream_.read(rest) > 0) {
    }
    if (thread_.joinable()) thread_.join();
    return result_;
  }

 private:
  static std::array<int, 2> make_pair() {
    std::array<int, 2> fds{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
      throw Error(ErrorCode::io, "start", "agent", "no socket pair");
    }
    return fds;
  }

  std::array<int, 2> fds_;
  agent::FdStream stream_;
  CommandResult result_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Process> SocketShell::start(const std::vector<std::string>& /*argv*/, std::stop_token stop) {
  ++started_;
  return std::make_unique<SocketProcess>(serve_, std::move(stop));
}

CommandResult SocketShell::run(const std::vector<std::string>& argv, std::string_view /*input*/,
                               std::chrono::milliseconds /*limit*/, std::stop_token stop) {
  return start(argv, std::move(stop))->wait();
}

}  // namespace crossover::test
