/// \file
/// Commands on another host, through ssh.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/shell.hpp"
#include "ssh/ssh_host.hpp"

namespace crossover {

class Deadline;
class DuplexProcess;
class SessionPool;

struct SshRoute;

/// Runs commands on a host through ssh, as `ssh` on this host would log in to it. Thread-safe; nothing is connected
/// and nothing read before the first command.
///
/// Host keys are always verified, and only keys log in: nothing is ever asked on a terminal. Each running command
/// has a connection of its own, at most SshHost::max_sessions at once, from a pool where libssh carries them; a
/// Process may outlive its shell. The remote user's login shell may be sh, csh or fish. Destroying a Process before
/// wait(), a timeout and a cancellation close its connection; sshd then closes the command's streams but does not
/// kill it.
///
/// Errors: unreachable (retryable: no route, refused, no answer, name not found, connection broken), host_key,
/// authentication, unsupported, permission (the server runs no commands), usage (also an ssh configuration that ssh
/// itself refuses).
class SshShell : public Shell {
 public:
  /// `chosen` is told, once, how the host is reached.
  explicit SshShell(SshHost host, std::function<void(const SshRoute&)> chosen = {});
  ~SshShell() override;

  [[nodiscard]] const std::string& host() const override;
  std::unique_ptr<Process> start(const std::vector<std::string>& argv, std::stop_token stop) override;
  /// `limit` includes connecting, and waiting for a free connection.
  CommandResult run(const std::vector<std::string>& argv, std::string_view input, std::chrono::milliseconds limit,
                    std::stop_token stop) override;

 private:
  /// The process, and what of the command goes ahead of its input.
  std::pair<std::unique_ptr<DuplexProcess>, std::string> open(const std::vector<std::string>& argv,
                                                              Deadline deadline, const std::stop_token& stop);

  std::shared_ptr<SessionPool> pool_;
};

}  // namespace crossover
