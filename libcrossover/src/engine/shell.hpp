/// \file
/// The port to commands on a host. Implementations: ssh/local_shell (child processes of this host) and
/// ssh/ssh_shell (libssh, or the `ssh` program). tests/contract runs one suite over both.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// How a command ended.
struct CommandResult {
  int exit_status = 0;  ///< 0 to 255; 128 + signal number if a signal ended it
  std::string output;   ///< its standard output, unless it was read while it ran
  std::string errors;   ///< its standard error, at most the last 64 KiB
};

/// A command that is running. Destroying it before wait() ends the command (SIGTERM, then SIGKILL here; a closed
/// channel there). Used from one thread at a time.
class Process {
 public:
  virtual ~Process() = default;
  /// Writes all of `bytes` to its standard input, waiting while the other side is slow. ErrorCode::io with the
  /// command's standard error as the cause if it has closed its input or ended.
  virtual void write(std::span<const std::byte> bytes) = 0;
  /// Closes its standard input.
  virtual void close_input() = 0;
  /// Reads some of its standard output; 0 at the end.
  virtual std::size_t read(std::span<std::byte> buffer) = 0;
  /// Closes its input, takes in the rest of its output, waits for its end. Never throws for an exit status.
  virtual CommandResult wait() = 0;
};

/// Runs commands on one host as one user. Thread-safe; several commands may run at once.
class Shell {
 public:
  virtual ~Shell() = default;

  /// The host's name as it stands in messages.
  [[nodiscard]] virtual const std::string& host() const = 0;

  /// Starts a command. Each element of `argv` arrives as exactly one argument, whatever it contains; argv[0] is
  /// looked up in PATH. Throws Error (unreachable, host_key, authentication) if the host cannot be reached. When
  /// `stop` is triggered, calls on the process that are waiting throw Cancelled.
  virtual std::unique_ptr<Process> start(const std::vector<std::string>& argv, std::stop_token stop) = 0;

  /// Runs a command to its end with `input` on its standard input. ErrorCode::timeout if it takes longer than
  /// `limit`.
  virtual CommandResult run(const std::vector<std::string>& argv, std::string_view input,
                            std::chrono::milliseconds limit, std::stop_token stop) = 0;
};

}  // namespace crossover
