/// \file
/// Commands on this host, as child processes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/shell.hpp"

namespace crossover {

/// Runs child processes. Thread-safe.
///
/// A child gets its own process group (a terminal's Ctrl-C does not reach it), default signals and no descriptors
/// but its three streams. A command that is not there ends with 127 and one that cannot be executed with 126, as in
/// a shell. Destroying its Process, or a timeout, sends SIGTERM to its group and SIGKILL two seconds later. wait()
/// also waits for descendants that keep its output or error stream open. Only children of its own are ever waited
/// for; a program that ignores SIGCHLD or waits for any child takes exit statuses away from it, which wait()
/// reports.
class LocalShell : public Shell {
 public:
  /// `name` is the host's name in messages; empty: the machine's own.
  explicit LocalShell(std::string name = {});

  [[nodiscard]] const std::string& host() const override { return name_; }
  /// Throws Error{usage} for an empty argv or an argument with a NUL, Error{io} if no process can be made.
  std::unique_ptr<Process> start(const std::vector<std::string>& argv, std::stop_token stop) override;
  CommandResult run(const std::vector<std::string>& argv, std::string_view input, std::chrono::milliseconds limit,
                    std::stop_token stop) override;

 private:
  std::string name_;
};

}  // namespace crossover
