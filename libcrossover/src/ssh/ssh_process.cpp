#include "ssh/ssh_process.hpp"

#include <signal.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "crossover/error.hpp"

namespace crossover {
namespace {

// A signal's number by its name in the protocol, which is the system's without "SIG".
int signal_number(std::string_view name) {
  for (int number = 1; number < NSIG; ++number) {
    const char* known = ::sigabbrev_np(number);
    if (known != nullptr && name == known) return number;
  }
  return 0;
}

}  // namespace

SshProcess::SshProcess(SessionPool& pool, const std::string& command_name, const std::string& command_line,
                       Deadline deadline, std::stop_token stop)
    : DuplexProcess(pool.host().name + ": " + command_name, std::move(stop)) {
  ssh_callbacks_init(&callbacks_);
  callbacks_.userdata = this;
  callbacks_.channel_data_function = [](ssh_session, ssh_channel, void* data, std::uint32_t size, int is_errors,
                                        void* self) {
    return static_cast<SshProcess*>(self)->take(data, size, is_errors != 0);
  };
  callbacks_.channel_eof_function = [](ssh_session, ssh_channel, void* self) {
    static_cast<SshProcess*>(self)->eof_ = true;
  };
  callbacks_.channel_close_function = [](ssh_session, ssh_channel, void* self) {
    static_cast<SshProcess*>(self)->eof_ = true;
    static_cast<SshProcess*>(self)->closed_ = true;
  };
  callbacks_.channel_exit_status_function = [](ssh_session, ssh_channel, int status, void* self) {
    static_cast<SshProcess*>(self)->status_ = status & 0xff;
  };
  callbacks_.channel_exit_signal_function = [](ssh_session, ssh_channel, const char* name, int, const char*,
                                               const char*, void* self) {
    static_cast<SshProcess*>(self)->status_ = 128 + signal_number(name);
  };
  open(pool, command_line, deadline);
}

SshProcess::~SshProcess() {
  if (channel_ == nullptr) return;
  if (ended()) {
    finish();
  } else {
    drop();
  }
}

void SshProcess::open(SessionPool& pool, const std::string& command_line, Deadline deadline) {
  for (;;) {
    lease_.emplace(pool.acquire(stop(), deadline));
    SshSession& session = lease_->session();
    const Deadline patience = deadline.sooner(Deadline::after(pool.host().connect_timeout));
    const bool reused = lease_->reused();
    bool asked = false;
    try {
      channel_ = ssh_channel_new(session.get());
      if (channel_ == nullptr) throw std::bad_alloc();
      ssh_set_channel_callbacks(channel_, &callbacks_);
      if (session.drive([&] { return ssh_channel_open_session(channel_); }, SSH_AGAIN, stop(), patience) !=
          SSH_OK) {
        session.throw_broken("open a channel to");
      }
      asked = true;
      if (session.drive([&] { return ssh_channel_request_exec(channel_, command_line.c_str()); }, SSH_AGAIN, stop(),
                        patience) != SSH_OK) {
        if (session.broken()) session.throw_broken("start a command on");
        throw Error(ErrorCode::permission, "start", subject(), "the ssh server refuses to run commands");
      }
      return;
    } catch (const Error&) {
      drop();
      // A connection that was idle may have died meanwhile; as long as nothing was asked of the host, another one
      // will do.
      if (!reused || asked) throw;
    } catch (...) {
      drop();
      throw;
    }
  }
}

void SshProcess::drop() noexcept {
  // The callbacks must not be called any more while the connection is taken down.
  if (channel_ != nullptr) ssh_remove_channel_callbacks(channel_, &callbacks_);
  channel_ = nullptr;
  lease_.reset();
}

void SshProcess::finish() noexcept {
  ssh_remove_channel_callbacks(channel_, &callbacks_);
  ssh_channel_free(channel_);
  channel_ = nullptr;
  lease_->give_back();
  lease_.reset();
}

int SshProcess::take(const void* data, std::size_t size, bool is_errors) noexcept {
  try {
    if (is_errors) {
      errors_.append(data, size);
      return static_cast<int>(size);
    }
    const std::size_t count = std::min(size, room_);
    if (count > 0) output_.append(data, count);
    room_ -= count;
    leftover_ = count < size;
    return static_cast<int>(count);
  } catch (...) {
    failure_ = std::current_exception();
    return 0;
  }
}

void SshProcess::rethrow() {
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

std::optional<std::size_t> SshProcess::offer_input(std::span<const std::byte> bytes) {
  if (channel_ == nullptr || closed_) return std::nullopt;
  SshSession& session = lease_->session();
  // One full packet as libssh cuts them for OpenSSH's limit of 32 KiB. More at once piles up inside libssh, which
  // moves its backlog around in memory; measured, this size costs the least processor time.
  constexpr std::size_t chunk = (std::size_t{32} << 10) - 10;
  const std::size_t count = std::min(bytes.size(), chunk);
  const int written = ssh_channel_write(channel_, bytes.data(), static_cast<std::uint32_t>(count));
  rethrow();
  if (written >= 0) return static_cast<std::size_t>(written);
  if (closed_) return std::nullopt;
  session.throw_broken("write to a command on");
}

void SshProcess::end_input() {
  if (channel_ == nullptr || closed_) return;
  if (ssh_channel_send_eof(channel_) == SSH_ERROR && !closed_)
    lease_->session().throw_broken("write to a command on");
  rethrow();
}

void SshProcess::take_leftover() {
  std::array<std::byte, std::size_t{64} << 10> chunk;
  while (leftover_ && room_ > 0) {
    const auto wanted = static_cast<std::uint32_t>(std::min(room_, chunk.size()));
    const int count = ssh_channel_read_nonblocking(channel_, chunk.data(), wanted, 0);
    if (count <= 0) {
      leftover_ = false;
    } else {
      output_.append(chunk.data(), static_cast<std::size_t>(count));
      room_ -= static_cast<std::size_t>(count);
    }
  }
}

void SshProcess::pump(Interest interest, Deadline deadline) {
  if (channel_ == nullptr) return;
  SshSession& session = lease_->session();
  const std::size_t had = output_.size();
  room_ = interest.output_room;
  take_leftover();
  const bool arrived = session.process();
  rethrow();
  if (arrived || output_.size() != had || closed_) return;
  if (session.broken()) session.throw_broken("run a command on");
  session.wait(stop(), deadline);
}

int SshProcess::exit_status() {
  if (channel_ != nullptr) finish();
  if (!status_) {
    throw Error(ErrorCode::unreachable, "run", subject(), "the ssh server closed it without an exit status", true);
  }
  return *status_;
}

}  // namespace crossover
