/// \file
/// A shell that does not send faster than allowed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/rate_limiter.hpp"
#include "engine/shell.hpp"

namespace crossover {

/// Passes everything on to another shell; what is written to the processes it starts is limited. The input of run()
/// is not: that is no content.
class ThrottledShell final : public Shell {
 public:
  ThrottledShell(std::shared_ptr<Shell> shell, std::shared_ptr<RateLimiter> limiter);

  [[nodiscard]] const std::string& host() const override { return shell_->host(); }
  std::unique_ptr<Process> start(const std::vector<std::string>& argv, std::stop_token stop) override;
  CommandResult run(const std::vector<std::string>& argv, std::string_view input, std::chrono::milliseconds limit,
                    std::stop_token stop) override;

 private:
  std::shared_ptr<Shell> shell_;
  std::shared_ptr<RateLimiter> limiter_;
};

}  // namespace crossover
