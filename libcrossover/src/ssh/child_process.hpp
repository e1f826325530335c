/// \file
/// One child process of this host.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "ssh/duplex_process.hpp"
#include "ssh/unique_fd.hpp"

namespace crossover {

/// A child in its own process group. See LocalShell for what is guaranteed.
class ChildProcess : public DuplexProcess {
 public:
  ChildProcess(const std::string& host, const std::vector<std::string>& argv, std::stop_token stop);
  ~ChildProcess() override;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

 protected:
  /// `about`: host and command, for errors. `log`: what else of the child's is read, as it comes; nobody waits for
  /// its end.
  ChildProcess(std::string about, const std::vector<std::string>& argv, UniqueFd log, std::stop_token stop);

  std::optional<std::size_t> offer_input(std::span<const std::byte> bytes) override;
  void end_input() override { input_.reset(); }
  void pump(Interest interest, Deadline deadline) override;
  [[nodiscard]] bool output_ended() const override { return !stdout_; }
  [[nodiscard]] bool ended() const override { return !running_ && !stdout_ && !stderr_; }
  int exit_status() override;
  /// Takes in what of the log is there.
  void take_log();
  void take_errors();
  [[nodiscard]] bool running() const noexcept { return running_; }

  TailBuffer log_text_{std::size_t{256} << 10};

 private:
  void spawn(const std::vector<std::string>& argv, int child_in, int child_out, int child_err);
  void reap() noexcept;
  void take_output(std::size_t room);

  UniqueFd input_;
  UniqueFd stdout_;
  UniqueFd stderr_;
  UniqueFd log_;
  UniqueFd pidfd_;
  pid_t pid_ = -1;        // -1: never started, or reaped
  bool running_ = false;  // until the child is a zombie
  std::optional<int> status_;
};

}  // namespace crossover
