// A transfer in which nothing moves is cut; one whose reader is still listing is not.
#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "engine/counting_sink.hpp"
#include "engine/marking_sink.hpp"
#include "engine/throttled_hold.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr milliseconds stall_timeout{2000};
constexpr milliseconds listing_time = 5 * stall_timeout / 2;

/// VM 100 with scsi0, and its replica VM 99100.
struct Stage {
  Stage() {
    clusters.options.stall_timeout = "2s";
    clusters.options.keep_local = "1d";
    clusters.options.keep_remote = "1d";
    clusters.add_guest(100, 1);
  }

  GuestReport run() {
    const MirrorReport report = clusters.run();
    clusters.clock.time += std::chrono::minutes(10);
    REQUIRE(report.guests.size() == 1);
    return report.guests.front();
  }

  TwoClusters clusters;
};

void list_for_long(DiffSink& sink, const std::stop_token& stop) {
  const auto end = steady_clock::now() + listing_time;
  while (steady_clock::now() < end && !stop.stop_requested()) {
    std::this_thread::sleep_for(milliseconds(50));
    sink.alive();
  }
}

void hang(DiffSink& /*sink*/, const std::stop_token& stop) {
  const auto end = steady_clock::now() + 10 * stall_timeout;
  while (steady_clock::now() < end && !stop.stop_requested()) std::this_thread::sleep_for(milliseconds(10));
}

/// Counts how often it is told that the reader works.
class Listener final : public DiffSink {
 public:
  explicit Listener(int& heard) : heard_(heard) {}
  void size(std::uint64_t) override {}
  void data(std::uint64_t, std::span<const std::byte>) override {}
  void zero(std::uint64_t, std::uint64_t) override {}
  void alive() override { ++heard_; }
  void finish() override {}

 private:
  int& heard_;
};

}  // namespace

TEST_CASE("a listing that takes longer than the stall timeout is not cut, and counts as no bytes") {
  Stage stage;
  REQUIRE(stage.run().outcome == Outcome::ok);
  const GuestReport quick = stage.run();
  REQUIRE(quick.outcome == Outcome::ok);

  stage.clusters.source_images.on_listing = list_for_long;
  const auto begin = steady_clock::now();
  const GuestReport report = stage.run();
  CAPTURE(report.error);
  CHECK(report.outcome == Outcome::ok);
  CHECK(steady_clock::now() - begin >= listing_time);
  CHECK(report.disks.at(0).stream_bytes == quick.disks.at(0).stream_bytes);
}

TEST_CASE("a listing that says nothing is cut") {
  Stage stage;
  REQUIRE(stage.run().outcome == Outcome::ok);
  stage.clusters.source_images.on_listing = hang;
  const auto begin = steady_clock::now();
  const GuestReport report = stage.run();
  CHECK(report.outcome == Outcome::failed);
  CHECK(report.error.find("nothing moved for 2 s") != std::string::npos);
  CHECK(steady_clock::now() - begin < 5 * stall_timeout);
}

TEST_CASE("that the reader works is said through every sink before the writer") {
  int heard = 0;
  int told = 0;
  auto throttled = std::make_unique<ThrottledSink>(std::make_unique<Listener>(heard),
                                                   std::make_shared<RateLimiter>(1'000'000), std::stop_token{});
  auto marking = std::make_unique<MarkingSink>(std::move(throttled), MarkInterval{.bytes = 1});
  const MarkingSink& marks = *marking;
  CountingSink sink(std::move(marking), [&](std::uint64_t bytes) {
    CHECK(bytes == 21);
    ++told;
  });
  sink.size(4096);
  std::this_thread::sleep_for(milliseconds(250));
  sink.alive();
  sink.alive();
  CHECK(heard == 2);
  CHECK(told == 1);  // not more often than of bytes
  CHECK(marks.marks() == 0);
  CHECK(sink.bytes() == 21);
}
