/// \file
/// An agent in this process, behind a Shell: one thread and one socket pair for each command that is started.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/shell.hpp"

namespace crossover::test {

/// Runs `serve(in, out)` wherever a command is asked for. What `serve` throws ends the command with status 1 and is
/// its standard error.
class SocketShell final : public Shell {
 public:
  using Serve = std::function<void(int in, int out)>;

  explicit SocketShell(Serve serve) : serve_(std::move(serve)) {}

  [[nodiscard]] const std::string& host() const override { return name_; }
  std::unique_ptr<Process> start(const std::vector<std::string>& argv, std::stop_token stop) override;
  CommandResult run(const std::vector<std::string>& argv, std::string_view input, std::chrono::milliseconds limit,
                    std::stop_token stop) override;
  /// How many commands were started.
  [[nodiscard]] int started() const { return started_; }

 private:
  std::string name_ = "far";
  Serve serve_;
  int started_ = 0;
};

}  // namespace crossover::test
