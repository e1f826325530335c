#include "agent/transfer_sender.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <latch>
#include <mutex>
#include <random>
#include <stdexcept>
#include <thread>

#include "crossover/error.hpp"
#include "unit/stream/recorded_transfer.hpp"

using namespace crossover;
using namespace crossover::agent;

namespace {

constexpr std::uint64_t mib = 1U << 20;

std::vector<std::byte> noise(std::size_t bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> out(bytes);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random());
  return out;
}

/// Data extents that touch become one.
test::Transfer joined(const test::Transfer& transfer) {
  test::Transfer out{.size_bytes = transfer.size_bytes};
  for (const test::TransferExtent& extent : transfer.extents) {
    test::TransferExtent* last = out.extents.empty() ? nullptr : &out.extents.back();
    if (last != nullptr && !last->is_zero && !extent.is_zero && last->offset + last->length == extent.offset) {
      last->length += extent.length;
      last->bytes.insert(last->bytes.end(), extent.bytes.begin(), extent.bytes.end());
    } else {
      out.extents.push_back(extent);
    }
  }
  return out;
}

}  // namespace

TEST_CASE("what is sent is what was given, in order, neighbours joined and large ones cut") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 30; ++round) {
    const test::Transfer transfer = test::random_transfer(random);
    std::string sent = test::greeting();
    TransferSender sender([&](std::span<const std::byte> bytes) { sent += test::text_of(bytes); }, "image", {},
                          {.max_bytes = 3 * mib, .max_frames = 5, .workers = 3});
    sender.size(transfer.size_bytes);
    for (const test::TransferExtent& extent : transfer.extents) {
      if (random() % 4 == 0) sender.mark();
      if (extent.is_zero) {
        sender.zero(extent.offset, extent.length);
      } else {
        sender.data(extent.offset, extent.bytes);
      }
    }
    sender.finish();
    CHECK(sender.sent_bytes() == sent.size() - test::greeting().size());
    const bool is_same = joined(test::read_transfer(sent, 100000)) == joined(transfer);
    CHECK(is_same);
  }
}

TEST_CASE("a sender that is not written off holds no more than its window") {
  constexpr std::uint64_t window = 8 * mib;
  std::latch open(1);
  std::atomic<std::uint64_t> given = 0;
  TransferSender sender([&](std::span<const std::byte>) { open.wait(); }, "image", {}, {.max_bytes = window});
  std::thread giving([&] {
    const auto block = noise(mib, 1);
    sender.size(64 * mib);
    for (int count = 0; count < 64; ++count) {
      sender.data(given, block);
      given += block.size();
    }
    sender.finish();
  });
  std::uint64_t before = 0;
  do {
    before = given;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  } while (given != before || before == 0);
  // Beside what is in the window, or on its way out of it, one block is being gathered.
  CHECK(given <= window + stream::max_block_bytes);
  open.count_down();
  giving.join();
  CHECK(given == 64 * mib);
}

TEST_CASE("marks leave the window as it was") {
  constexpr int marks = 1000;
  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t sent = 0;
  bool closed = false;
  TransferSender sender(
      [&](std::span<const std::byte> bytes) {
        std::unique_lock lock(mutex);
        sent += bytes.size();
        changed.notify_all();
        changed.wait(lock, [&] { return !closed; });
      },
      "image", {}, {.max_bytes = mib});
  sender.size(64 * mib);
  for (int count = 0; count < marks; ++count) sender.mark();
  {
    std::unique_lock lock(mutex);
    const std::uint64_t all = stream::render_size(0).size() + marks * stream::render_mark({}).size();
    REQUIRE(changed.wait_for(lock, std::chrono::seconds(60), [&] { return sent == all; }));
    closed = true;
  }
  // They fit into the window, so that nobody waits for the link.
  std::future<void> given = std::async(std::launch::async, [&] {
    for (std::uint64_t count = 0; count < 100; ++count) sender.zero(2 * count * 4096, 4096);
  });
  CHECK(given.wait_for(std::chrono::seconds(30)) == std::future_status::ready);
  {
    const std::lock_guard lock(mutex);
    closed = false;
  }
  changed.notify_all();
  given.get();
  sender.finish();
}

TEST_CASE("what writing throws comes out, and a cancelled sender waits for nobody") {
  TransferSender failing([](std::span<const std::byte>) { throw std::domain_error("no"); }, "image", {},
                         {.max_bytes = mib});
  const auto give = [](TransferSender& sender) {
    sender.size(64 * mib);
    for (std::uint64_t offset = 0; offset < 64 * mib; offset += mib) sender.data(offset, noise(mib, offset));
    sender.finish();
  };
  CHECK_THROWS_AS(give(failing), std::domain_error);

  std::latch open(1);
  std::stop_source stop;
  TransferSender stuck([&](std::span<const std::byte>) { open.wait(); }, "image", stop.get_token(),
                       {.max_bytes = mib});
  std::thread stopping([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    stop.request_stop();
  });
  CHECK_THROWS_AS(give(stuck), Cancelled);
  open.count_down();
  stopping.join();
}

TEST_CASE("compression is left for a while where it does not pay, and tried again") {
  CompressionGate gate;
  const auto tries_of = [&gate](int blocks, bool pays) {
    int tries = 0;
    for (; blocks > 0; --blocks) {
      if (!gate.try_next()) continue;
      ++tries;
      gate.tried(pays);
    }
    return tries;
  };
  CHECK(tries_of(4, false) == 4);
  CHECK(tries_of(16, false) == 0);
  CHECK(tries_of(1 + 32, false) == 1);
  CHECK(tries_of(1 + 64, false) == 1);
  CHECK(tries_of(100, true) == 100);
  CHECK(tries_of(1000, false) < 20);
}
