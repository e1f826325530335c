#include "ssh/session_pool.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <vector>

#include "crossover/error.hpp"
#include "ssh/login_failure.hpp"

using namespace crossover;
using namespace std::chrono_literals;

namespace {

std::shared_ptr<SessionPool> pool_for(std::size_t logins) {
  SshHost host;
  host.name = "127.0.0.1";
  host.config_file = "none";
  host.max_logins = logins;
  auto pool = std::make_shared<SessionPool>(host, nullptr);
  (void)pool->route(StopEvent({}), Deadline::after(60s));
  return pool;
}

}  // namespace

TEST_CASE("SessionPool: so many log in at once, and no more") {
  constexpr int at_once = 3;
  constexpr int rounds = 4;
  const auto pool = pool_for(at_once);
  std::mutex mutex;
  std::condition_variable changed;
  int inside = 0;
  int most = 0;
  int arrived = 0;
  std::vector<std::future<void>> threads;
  for (int i = 0; i < at_once * rounds; ++i) {
    threads.push_back(std::async(std::launch::async, [&] {
      pool->log_in(StopEvent({}), Deadline::after(60s), [&](Deadline) {
        std::unique_lock lock(mutex);
        most = std::max(most, ++inside);
        // Nobody leaves before the round is full: were the cap lower, this would not come to an end in time.
        const int round_ends = (arrived++ / at_once + 1) * at_once;
        changed.notify_all();
        CHECK(changed.wait_for(lock, 30s, [&] { return arrived >= round_ends; }));
        --inside;
      });
    }));
  }
  for (auto& thread : threads) thread.get();
  CHECK(most == at_once);
}

TEST_CASE("SessionPool: a login that is dropped is tried again, others are not") {
  const auto pool = pool_for(1);
  const StopEvent stop({});
  int calls = 0;
  pool->log_in(stop, Deadline::after(60s), [&](Deadline) {
    if (++calls < 3) throw DroppedLogin("host", "Connection closed by remote host");
  });
  CHECK(calls == 3);

  calls = 0;
  CHECK_THROWS_AS(pool->log_in(stop, Deadline::after(60s),
                               [&](Deadline) {
                                 ++calls;
                                 throw DroppedLogin("host", "");
                               }),
                  DroppedLogin);
  CHECK(calls == 5);

  calls = 0;
  CHECK_THROWS_AS(pool->log_in(stop, Deadline::after(60s),
                               [&](Deadline) {
                                 ++calls;
                                 throw Error(ErrorCode::authentication, "log in to", "host", "no");
                               }),
                  Error);
  CHECK(calls == 1);
}

TEST_CASE("SessionPool: waiting for a turn and for the next attempt ends with the stop token and the deadline") {
  const auto pool = pool_for(1);
  std::promise<void> go_on;
  std::promise<void> taken;
  auto first = std::async(std::launch::async, [&] {
    pool->log_in(StopEvent({}), Deadline::never(), [&](Deadline) {
      taken.set_value();
      go_on.get_future().wait();
    });
  });
  taken.get_future().wait();
  try {
    pool->log_in(StopEvent({}), Deadline::after(10ms), [](Deadline) { FAIL("it was not its turn"); });
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::timeout);
  }
  std::stop_source source;
  source.request_stop();
  CHECK_THROWS_AS(pool->log_in(StopEvent(source.get_token()), Deadline::never(), [](Deadline) {}), Cancelled);
  go_on.set_value();
  first.get();

  std::stop_source later;
  CHECK_THROWS_AS(pool->log_in(StopEvent(later.get_token()), Deadline::never(),
                               [&](Deadline) {
                                 later.request_stop();
                                 throw DroppedLogin("host", "");
                               }),
                  Cancelled);
}
