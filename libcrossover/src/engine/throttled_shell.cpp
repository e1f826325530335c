#include "engine/throttled_shell.hpp"

#include <algorithm>
#include <utility>

namespace crossover {

namespace {

class ThrottledProcess final : public Process {
 public:
  ThrottledProcess(std::unique_ptr<Process> process, std::shared_ptr<RateLimiter> limiter, std::stop_token stop)
      : process_(std::move(process)), limiter_(std::move(limiter)), stop_(std::move(stop)) {}

  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const std::size_t count = std::min(bytes.size(), limiter_->step_bytes());
      limiter_->take(count, stop_);
      process_->write(bytes.first(count));
      bytes = bytes.subspan(count);
    }
  }
  void close_input() override { process_->close_input(); }
  std::size_t read(std::span<std::byte> buffer) override { return process_->read(buffer); }
  CommandResult wait() override { return process_->wait(); }

 private:
  std::unique_ptr<Process> process_;
  std::shared_ptr<RateLimiter> limiter_;
  std::stop_token stop_;
};

}  // namespace

ThrottledShell::ThrottledShell(std::shared_ptr<Shell> shell, std::shared_ptr<RateLimiter> limiter)
    : shell_(std::move(shell)), limiter_(std::move(limiter)) {}

std::unique_ptr<Process> ThrottledShell::start(const std::vector<std::string>& argv, std::stop_token stop) {
  return std::make_unique<ThrottledProcess>(shell_->start(argv, stop), limiter_, stop);
}

CommandResult ThrottledShell::run(const std::vector<std::string>& argv, std::string_view input,
                                  std::chrono::milliseconds limit, std::stop_token stop) {
  return shell_->run(argv, input, limit, std::move(stop));
}

}  // namespace crossover
