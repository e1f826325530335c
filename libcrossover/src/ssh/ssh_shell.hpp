/// \file
/// Commands on another host, through libssh.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/shell.hpp"
#include "ssh/ssh_host.hpp"

namespace crossover {

class SessionPool;

/// Runs commands on a host through ssh. Thread-safe; nothing is connected before the first command.
///
/// Host keys are always verified, and only keys log in: nothing is ever asked on a terminal. Each running command
/// has a connection of its own, from a pool of at most SshHost::max_sessions; a Process may outlive its shell. The
/// remote user's login shell has to be a POSIX shell. Destroying a Process before wait(), a timeout and a
/// cancellation close its connection; sshd then closes the command's streams but does not kill it.
///
/// Errors: unreachable (retryable: no route, refused, no answer, name not found, connection broken), host_key,
/// authentication, unsupported, permission (the server runs no commands), usage.
class SshShell : public Shell {
 public:
  explicit SshShell(SshHost host);
  ~SshShell() override;

  [[nodiscard]] const std::string& host() const override;
  std::unique_ptr<Process> start(const std::vector<std::string>& argv, std::stop_token stop) override;
  /// `limit` includes connecting, and waiting for a free connection.
  CommandResult run(const std::vector<std::string>& argv, std::string_view input, std::chrono::milliseconds limit,
                    std::stop_token stop) override;

 private:
  std::shared_ptr<SessionPool> pool_;
};

}  // namespace crossover
