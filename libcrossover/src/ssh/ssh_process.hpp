/// \file
/// One command on a host behind ssh.
#pragma once

#include <libssh/callbacks.h>
#include <libssh/libssh.h>

#include <exception>
#include <memory>
#include <optional>
#include <string>

#include "ssh/duplex_process.hpp"
#include "ssh/session_pool.hpp"

namespace crossover {

/// A command in a channel of its own, on a connection it has to itself until it has ended; then the connection goes
/// back to the pool. One that is let go of earlier takes the connection with it: the command finds its streams
/// closed. A command that closes its input but goes on running is noticed only when it ends (the protocol does not
/// tell).
class SshProcess final : public DuplexProcess {
 public:
  /// Throws what SessionPool::acquire() throws, and Error{unreachable} if the connection breaks.
  SshProcess(SessionPool& pool, const std::string& command_name, const std::string& command_line, Deadline deadline,
             std::stop_token stop);
  ~SshProcess() override;
  SshProcess(const SshProcess&) = delete;
  SshProcess& operator=(const SshProcess&) = delete;

 protected:
  std::optional<std::size_t> offer_input(std::span<const std::byte> bytes) override;
  void end_input() override;
  void pump(Interest interest, Deadline deadline) override;
  [[nodiscard]] bool output_ended() const override { return eof_ && !leftover_; }
  [[nodiscard]] bool ended() const override { return closed_ && !leftover_; }
  int exit_status() override;

 private:
  void open(SessionPool& pool, const std::string& command_line, Deadline deadline);
  void finish() noexcept;  // the connection goes back to the pool
  void drop() noexcept;    // the connection is closed
  void take_leftover();
  int take(const void* data, std::size_t size, bool is_errors) noexcept;
  void rethrow();

  std::optional<SessionPool::Lease> lease_;
  ssh_channel channel_ = nullptr;  // belongs to the session
  ssh_channel_callbacks_struct callbacks_{};
  std::exception_ptr failure_;  // of a callback: must not travel through libssh
  std::size_t room_ = 0;        // bytes of output the callback may take in
  bool leftover_ = false;       // output is left in libssh's buffer
  bool eof_ = false;
  bool closed_ = false;
  std::optional<int> status_;
};

}  // namespace crossover
