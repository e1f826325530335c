// Our streams into the stock `rbd`, its streams into ours, and images only Ceph has: clones, namespaces, data
// pools.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "contract/ceph_harness.hpp"
#include "contract/stock_rbd.hpp"
#include "crossover/diff_stream.hpp"
#include "crossover/error.hpp"
#include "rbd/librbd_store.hpp"
#include "rbd/rbd_command_store.hpp"
#include "ssh/local_shell.hpp"
#include "support/held.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

constexpr std::uint64_t mib = 1U << 20;

std::vector<std::byte> pattern(std::uint64_t bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> out(bytes);
  for (std::byte& byte : out) byte = static_cast<std::byte>(1 + random() % 255);
  return out;
}

ImageLayout plain(std::uint64_t size_bytes) {
  ImageLayout layout;
  layout.size_bytes = size_bytes;
  layout.features = image_feature::layering;
  return layout;
}

/// A sink that makes a v1 stream, with names, as `rbd export-diff` does.
class StreamSink final : public DiffSink {
 public:
  StreamSink(std::optional<std::string> from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  void size(std::uint64_t size_bytes) override { encoder_.header({from_, to_, std::nullopt, size_bytes}); }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override { encoder_.data(offset, bytes); }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override { encoder_.zero(offset, length_bytes); }
  void finish() override { encoder_.end(); }
  std::string stream;

 private:
  std::optional<std::string> from_;
  std::string to_;
  DiffEncoder encoder_{DiffFormat::v1, [this](std::span<const std::byte> bytes) {
                         stream.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
                       }};
};

/// Gives a decoded stream to a sink.
class Applier final : public DiffRecordHandler {
 public:
  explicit Applier(DiffSink& sink) : sink_(sink) {}
  void header(DiffFormat, const DiffHeader& header) override { sink_.size(header.size_bytes); }
  void data_begin(std::uint64_t, std::uint64_t) override {}
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override { sink_.data(offset, bytes); }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override { sink_.zero(offset, length_bytes); }
  void end() override {}

 private:
  DiffSink& sink_;
};

/// A source image of the kind a case is about, with three snapshots: one, two (written), three (resized).
std::vector<Snapshot> fill(LabCluster& cluster, LibrbdStore& store, const ImageSpec& image, std::uint64_t size) {
  cluster.write(image, size / 3, pattern(3 * mib / 2, 1));
  cluster.write(image, 0, pattern(777, 2));
  const Snapshot one = store.create_snapshot(image, "one");
  cluster.write(image, size / 2 + 13, pattern(100000, 3));
  cluster.discard(image, size / 3, mib);
  cluster.zero(image, 100, 300);
  const Snapshot two = store.create_snapshot(image, "two");
  cluster.resize(image, size / 2);
  store.create_snapshot(image, "between");
  cluster.resize(image, size + 12345);
  cluster.write(image, size, pattern(12345, 4));
  const Snapshot three = store.create_snapshot(image, "three");
  return {one, two, three};
}

void check_crossed(LabCluster& cluster, const ImageSpec& image, std::uint64_t size) {
  StockRbd stock(cluster);
  LibrbdStore ours(cluster.access());
  RbdCommandStore command(std::make_shared<LocalShell>(), cluster.access());
  const std::vector<Snapshot> points = fill(cluster, ours, image, size);

  const ImageSpec into_stock = cluster.new_image();
  const ImageSpec into_ours = cluster.new_image();
  const ImageSpec by_command = cluster.new_image();
  for (const ImageSpec& replica : {into_stock, into_ours, by_command}) ours.create(replica, plain(size));
  std::optional<Snapshot> from;
  for (const Snapshot& to : points) {
    CAPTURE(to.name);
    const auto expected = cluster.content(image, to.name);

    StreamSink stream(from ? std::optional(from->name) : std::nullopt, to.name);
    ours.read_diff(image, from, to, 0, stream, {});
    stock.must(into_stock, {"import-diff", "--no-progress", "-", "--image", into_stock.name}, stream.stream);
    const bool stock_is_same = cluster.content(into_stock, to.name) == expected;
    CHECK(stock_is_same);

    std::vector<std::string> words{"export-diff", "--no-progress", "--image", image.name, "--snap", to.name};
    if (from) words.insert(words.end(), {"--from-snap", from->name});
    words.insert(words.end(), {"--path", "-"});
    const std::string exported = stock.must(image, words);
    {
      const auto sink = test::write_diff(ours, into_ours, {}, {});
      Applier applier(*sink);
      DiffDecoder decoder(applier);
      decoder.feed(std::as_bytes(std::span(exported)));
      decoder.finish();
      sink->finish();
    }
    const bool ours_is_same = cluster.content(into_ours, "") == expected;
    CHECK(ours_is_same);

    {
      const auto sink = test::write_diff(command, by_command, {}, {});
      command.read_diff(image, from, to, 0, *sink, {});
    }
    const bool command_is_same = cluster.content(by_command, "") == expected;
    CHECK(command_is_same);
    from = to;
  }
  CHECK(ours.find(image) == command.find(image));
}

}  // namespace

TEST_CASE("crossed with the stock command: images of all shapes" * needs_ceph()) {
  LabCluster* cluster = lab_cluster();
  LibrbdStore store(cluster->access());

  SUBCASE("plain, of an odd size") {
    const ImageSpec image = cluster->new_image();
    store.create(image, plain(13 * mib + 777));
    check_crossed(*cluster, image, 13 * mib + 777);
  }
  SUBCASE("small objects") {
    ImageLayout layout = plain(5 * mib);
    layout.order = 14;
    const ImageSpec image = cluster->new_image();
    store.create(image, layout);
    check_crossed(*cluster, image, layout.size_bytes);
  }
  SUBCASE("large objects") {
    ImageLayout layout = plain(50 * mib);
    layout.order = 25;
    const ImageSpec image = cluster->new_image();
    store.create(image, layout);
    check_crossed(*cluster, image, layout.size_bytes);
  }
  SUBCASE("stripes") {
    ImageLayout layout = plain(20 * mib + 5);
    layout.order = 19;
    layout.stripe_unit = 65536;
    layout.stripe_count = 7;
    const ImageSpec image = cluster->new_image();
    store.create(image, layout);
    check_crossed(*cluster, image, layout.size_bytes);
  }
  SUBCASE("in a namespace") {
    cluster->make_namespace("tenant");
    const ImageSpec image = cluster->new_image("tenant");
    CHECK_FALSE(store.find(image));
    store.create(image, plain(9 * mib));
    CHECK_FALSE(store.find({image.pool, "", image.name}));
    check_crossed(*cluster, image, 9 * mib);
  }
  SUBCASE("with its data in another pool") {
    cluster->make_pool("test-data");
    ImageLayout layout = plain(9 * mib);
    layout.data_pool = "test-data";
    const ImageSpec image = cluster->new_image();
    store.create(image, layout);
    const ImageState state = store.find(image).value();
    CHECK(state.layout.data_pool == "test-data");
    CHECK((state.layout.features & image_feature::data_pool) != 0);
    check_crossed(*cluster, image, layout.size_bytes);
    // And the command makes the same of what was found.
    RbdCommandStore command(std::make_shared<LocalShell>(), cluster->access());
    const ImageSpec again = cluster->new_image();
    command.create(again, state.layout);
    CHECK(store.find(again)->layout == state.layout);
  }
  SUBCASE("a clone") {
    const ImageSpec parent = cluster->new_image();
    store.create(parent, plain(12 * mib));
    cluster->write(parent, 3 * mib + 5, pattern(5 * mib, 20));
    const ImageSpec image = cluster->new_image();
    cluster->clone(parent, "golden", image);
    CHECK(store.find(image)->parent == to_string(parent) + "@golden");
    check_crossed(*cluster, image, 12 * mib);
  }
}

TEST_CASE("an image another client has open is not written" * needs_ceph()) {
  LabCluster* cluster = lab_cluster();
  for (const auto& harness : harnesses()) {
    if (harness->name().starts_with("memory")) continue;
    CAPTURE(harness->name());
    ImageStore& store = harness->store();
    const ImageSpec image = cluster->new_image();
    store.create(image, plain(mib));
    const Snapshot one = store.create_snapshot(image, "one");
    const rbd::Image guest = cluster->open(image, rbd::Image::Mode::write);
    CHECK(store.find(image)->watchers.size() == 1);
    for (const auto& action : std::vector<std::function<void()>>{
             [&] { test::write_diff(store, image, {}, {}); }, [&] { test::roll_back(store, image, one, {}); },
             [&] { store.trash(image, std::chrono::hours(1)); }}) {
      try {
        action();
        FAIL("it was allowed");
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::in_use);
        CHECK(error.retryable());
      }
    }
    // Snapshots are made of guests that run.
    CHECK(store.create_snapshot(image, "two").id > one.id);
  }
}

TEST_CASE("an image that is held is nobody else's to write or to roll back" * needs_ceph()) {
  LabCluster* cluster = lab_cluster();
  for (const auto& harness : harnesses()) {
    // The stock command holds nothing.
    if (harness->name().starts_with("memory") || harness->name().find("command") != std::string::npos) continue;
    CAPTURE(harness->name());
    ImageStore& store = harness->store();
    const ImageSpec image = cluster->new_image();
    store.create(image, plain(mib));
    const Snapshot one = store.create_snapshot(image, "one");
    {
      const std::unique_ptr<ImageHold> hold = store.hold(image, {});
      LibrbdStore other(cluster->access());
      CHECK(other.find(image)->watchers.size() == 1);
      CHECK_THROWS_AS(other.hold(image, {}), Error);
      const rbd::Image guest = cluster->open(image, rbd::Image::Mode::write);
      const std::string bytes(4096, 'x');
      CHECK(rbd_write(guest.get(), 0, bytes.size(), bytes.data()) == -EROFS);
      CHECK(rbd_snap_rollback(guest.get(), "one") == -EROFS);
      // Snapshots are not kept out: the holder makes them for who asks.
      CHECK(rbd_snap_create(guest.get(), "user") == 0);
    }
    CHECK(store.find(image)->watchers.empty());
    const rbd::Image guest = cluster->open(image, rbd::Image::Mode::write);
    const std::string bytes(4096, 'x');
    CHECK(rbd_write(guest.get(), 0, bytes.size(), bytes.data()) == 4096);
    CHECK(one.id != 0);
  }
}

TEST_CASE("what cannot be reached says why" * needs_ceph()) {
  LabCluster* cluster = lab_cluster();
  const auto code_of = [](ImageStore& store, const ImageSpec& image) {
    try {
      store.find(image);
    } catch (const Error& error) {
      return std::string(to_string(error.code()));
    }
    return std::string("none");
  };
  const ImageSpec image{"rbd", "", "any"};
  const ImageSpec elsewhere{"no-such-pool", "", "any"};
  CephAccess stranger = cluster->access();
  stranger.user = "stranger";
  CephAccess lost = cluster->access();
  lost.conf = "/nonexistent/ceph.conf";
  const auto shell = std::make_shared<LocalShell>();
  LibrbdStore ours(cluster->access());
  RbdCommandStore theirs(shell, cluster->access());
  CHECK(code_of(ours, elsewhere) == "not_found");
  CHECK(code_of(theirs, elsewhere) == "not_found");
  LibrbdStore strange(stranger);
  RbdCommandStore strange_command(shell, stranger);
  CHECK(code_of(strange, image) == "authentication");
  CHECK(code_of(strange_command, image) == "authentication");
  LibrbdStore nowhere(lost);
  CHECK(code_of(nowhere, image) == "not_found");
}

// Not part of a test run: test-image-store-contract --no-skip --test-case="throughput*"
TEST_CASE("throughput of reading a diff" * doctest::skip()) {
  LabCluster* cluster = lab_cluster();
  REQUIRE(cluster);
  class CountingSink final : public DiffSink {
   public:
    std::uint64_t bytes = 0;
    void size(std::uint64_t) override {}
    void data(std::uint64_t, std::span<const std::byte> piece) override { bytes += piece.size(); }
    void zero(std::uint64_t, std::uint64_t) override {}
    void finish() override {}
  };
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  LibrbdStore store(cluster->access());
  StockRbd stock(*cluster);
  const ImageSpec image = cluster->new_image();
  store.create(image, plain(8192 * mib));
  const auto block = pattern(32 * mib, 1);
  for (std::uint64_t offset = 0; offset < 768 * mib; offset += block.size()) cluster->write(image, offset, block);
  const Snapshot one = store.create_snapshot(image, "one");
  {
    const rbd::Image guest = cluster->open(image, rbd::Image::Mode::write);
    std::mt19937_64 random(1);
    for (int count = 0; count < 4000; ++count) {
      rbd_write(guest.get(), random() % (768 * mib / 4096) * 4096, 4096,
                reinterpret_cast<const char*>(block.data()) + count);
    }
  }
  const Snapshot two = store.create_snapshot(image, "two");
  const ImageSpec replica = cluster->new_image();
  store.create(replica, plain(8192 * mib));
  for (int round = 0; round < 2; ++round) {
    for (const auto& [from, to] : {std::pair{std::optional<Snapshot>{}, one}, std::pair{std::optional{one}, two}}) {
      CountingSink sink;
      auto start = Clock::now();
      store.read_diff(image, from, to, 0, sink, {});
      const double ours = seconds_since(start);
      start = Clock::now();
      std::vector<std::string> words{"export-diff", "--no-progress", "--image", image.name, "--snap", to.name};
      if (from) words.insert(words.end(), {"--from-snap", from->name});
      words.insert(words.end(), {"--path", "-"});
      const std::string exported = stock.count(image, words);
      const double theirs = seconds_since(start);
      start = Clock::now();
      {
        const auto target = test::write_diff(store, replica, {}, {});
        store.read_diff(image, from, to, 0, *target, {});
      }
      const double through = seconds_since(start);
      MESSAGE("to " << to.name << ": " << sink.bytes / mib << " MiB read in " << ours << " s; rbd export-diff "
                    << exported << " bytes in " << theirs << " s; read and written in " << through << " s");
    }
  }
}
