// A limit on what is sent: over all who send together, and cancelled at once.
#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "crossover/error.hpp"
#include "engine/throttled_shell.hpp"

using namespace crossover;
using std::chrono::duration;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

/// Processes that only take what they are given.
class TakingShell final : public Shell {
 public:
  [[nodiscard]] const std::string& host() const override { return host_; }
  std::unique_ptr<Process> start(const std::vector<std::string>&, std::stop_token) override {
    class Taking final : public Process {
     public:
      explicit Taking(TakingShell& shell) : shell_(shell) {}
      void write(std::span<const std::byte> bytes) override {
        const std::scoped_lock lock(shell_.mutex);
        shell_.taken += bytes.size();
        shell_.largest = std::max(shell_.largest, bytes.size());
      }
      void close_input() override {}
      std::size_t read(std::span<std::byte>) override { return 0; }
      CommandResult wait() override { return {}; }

     private:
      TakingShell& shell_;
    };
    return std::make_unique<Taking>(*this);
  }
  CommandResult run(const std::vector<std::string>&, std::string_view, milliseconds, std::stop_token) override {
    return {};
  }

  std::mutex mutex;
  std::size_t taken = 0;
  std::size_t largest = 0;

 private:
  std::string host_ = "pve04";
};

}  // namespace

TEST_CASE("all processes together send no faster than the limit") {
  constexpr std::size_t each = 40'000;
  const auto shell = std::make_shared<TakingShell>();
  const auto limiter = std::make_shared<RateLimiter>(400'000);
  ThrottledShell throttled(shell, limiter);
  CHECK(throttled.host() == "pve04");
  const auto begin = steady_clock::now();
  {
    std::vector<std::jthread> senders;
    for (int count = 0; count < 2; ++count) {
      senders.emplace_back([&] {
        const auto process = throttled.start({"agent"}, {});
        process->write(std::vector<std::byte>(each));
      });
    }
  }
  const duration<double> elapsed = steady_clock::now() - begin;
  CHECK(shell->taken == 2 * each);
  CHECK(shell->largest <= limiter->step_bytes());
  // The first piece goes at once; the others wait for those before them.
  CHECK(elapsed.count() >= static_cast<double>(2 * each - limiter->step_bytes()) / 400'000 - 0.001);
}

TEST_CASE("what was not sent for a while is not made up for") {
  RateLimiter limiter(1'000'000);
  limiter.take(1000, {});
  std::this_thread::sleep_for(milliseconds(50));
  const auto begin = steady_clock::now();
  limiter.take(20'000, {});
  limiter.take(1, {});
  CHECK(steady_clock::now() - begin >= milliseconds(19));
}

TEST_CASE("who waits for a turn can be cancelled") {
  RateLimiter limiter(1);
  limiter.take(1'000'000, {});
  std::stop_source stop;
  std::jthread stopping([&] { stop.request_stop(); });
  CHECK_THROWS_AS(limiter.take(1, stop.get_token()), Cancelled);
}
