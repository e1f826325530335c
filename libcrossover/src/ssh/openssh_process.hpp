/// \file
/// One command on a host behind ssh, carried by the `ssh` program.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ssh/child_process.hpp"
#include "ssh/places.hpp"
#include "ssh/ssh_route.hpp"

namespace crossover {

/// Known-hosts lines as a file that is nobody else's, and gone with this object.
class KnownHostsFile {
 public:
  explicit KnownHostsFile(const std::string& text);
  /// Its name while this object and this process live.
  [[nodiscard]] std::string path() const;

 private:
  UniqueFd fd_;
};

/// An `ssh` that runs one command, as a child process: nothing is asked on a terminal, no forwarding, no shared
/// connection (ControlMaster) and no LocalCommand of the configuration takes part. What ssh itself has to say comes
/// on a channel of its own, so that it is told apart from the command's words and exit status. Beside what
/// SshProcess does not notice: output that a command closes while it goes on running ends when the command does,
/// and of a signal that ended it only that there was one is known (status 128).
class OpensshProcess final : public ChildProcess {
 public:
  /// Returns once ssh has logged in and sent the command. Throws what throw_login_failure() throws,
  /// Error{unreachable} at the deadline, Cancelled.
  OpensshProcess(const SshRoute& route, std::shared_ptr<Places::Place> place, const std::string& command_name,
                 const std::string& command_line, Deadline deadline, std::stop_token stop);

 protected:
  void pump(Interest interest, Deadline deadline) override;
  [[nodiscard]] bool output_ended() const override { return ended(); }
  int exit_status() override;

 private:
  struct Channels;
  OpensshProcess(const SshRoute& route, std::shared_ptr<Places::Place> place, Channels channels,
                 const std::string& command_name, const std::string& command_line, Deadline deadline,
                 std::stop_token stop);
  void wait_for_login(const SshHost& host, Deadline deadline);
  void settle();

  std::shared_ptr<Places::Place> place_;  // taken as long as it is held
  UniqueFd log_end_;  // kept open: ssh opens it by its name
  std::unique_ptr<KnownHostsFile> known_hosts_;
  std::optional<int> command_status_;
};

}  // namespace crossover
