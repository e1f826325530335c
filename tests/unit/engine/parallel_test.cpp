// Work side by side: how much at once, in which order, and what an exception does.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "crossover/error.hpp"
#include "engine/in_parallel.hpp"
#include "engine/transfer_slots.hpp"

using namespace crossover;

TEST_CASE("everything is done once, so many at a time") {
  for (const std::size_t limit : {std::size_t{1}, std::size_t{3}, std::size_t{100}}) {
    CAPTURE(limit);
    std::vector<std::atomic<int>> done(40);
    std::atomic<std::size_t> now = 0;
    std::atomic<std::size_t> most = 0;
    in_parallel(done.size(), limit, [&](std::size_t index) {
      const std::size_t running = ++now;
      std::size_t seen = most;
      while (seen < running && !most.compare_exchange_weak(seen, running)) {
      }
      ++done[index];
      --now;
    });
    CHECK(most <= limit);
    CHECK(std::all_of(done.begin(), done.end(), [](const auto& count) { return count == 1; }));
  }
  in_parallel(0, 4, [](std::size_t) { FAIL("there is nothing to do"); });
}

TEST_CASE("one at a time is in order and in the same thread") {
  std::vector<std::size_t> order;
  in_parallel(5, 1, [&, self = std::this_thread::get_id()](std::size_t index) {
    CHECK(std::this_thread::get_id() == self);
    order.push_back(index);
  });
  CHECK(order == std::vector<std::size_t>{0, 1, 2, 3, 4});
}

TEST_CASE("the first exception comes out after everybody has ended") {
  std::atomic<int> running = 0;
  CHECK_THROWS_WITH(in_parallel(1000, 4,
                                [&](std::size_t index) {
                                  ++running;
                                  std::this_thread::yield();
                                  --running;
                                  if (index == 2) throw std::runtime_error("two");
                                }),
                    "two");
  CHECK(running == 0);
}

TEST_CASE("after an exception nothing new begins") {
  int begun = 0;
  CHECK_THROWS_WITH(in_parallel(1000, 1,
                                [&](std::size_t index) {
                                  ++begun;
                                  if (index == 2) throw std::runtime_error("two");
                                }),
                    "two");
  CHECK(begun == 3);
}

TEST_CASE("slots go to who waits longest, and a cancelled one waits no more") {
  TransferSlots slots(1);
  std::stop_source stop;
  std::mutex mutex;
  std::vector<int> order;
  {
    std::vector<std::jthread> threads;
    {
      const TransferSlots::Slot held = slots.enter({});
      std::atomic<int> waiting = 0;
      for (int number = 0; number < 4; ++number) {
        threads.emplace_back([&, number] {
          ++waiting;
          try {
            const TransferSlots::Slot slot = slots.enter(number == 1 ? stop.get_token() : std::stop_token());
            const std::scoped_lock lock(mutex);
            order.push_back(number);
          } catch (const Cancelled&) {
            const std::scoped_lock lock(mutex);
            order.push_back(-1);
          }
        });
        while (slots.waiting() != static_cast<std::size_t>(number) + 1) std::this_thread::yield();
      }
      stop.request_stop();
      threads[1].join();
    }
  }
  CHECK(order == std::vector<int>{-1, 0, 2, 3});
}
