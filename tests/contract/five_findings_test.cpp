// Five ways in which replication with the stock tools goes wrong without an error. Each is shown to be real with
// the stock command on real Ceph, and then not to happen to us.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "contract/ceph_harness.hpp"
#include "contract/stock_rbd.hpp"
#include "crossover/diff_transfer.hpp"
#include "crossover/error.hpp"
#include "rbd/librbd_store.hpp"
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

/// A cluster, our store and the stock command on it, and an image of 32 MiB with a replica of the same size.
struct Findings {
  explicit Findings(LabCluster& of) : cluster(of) {
    ImageLayout layout;
    layout.size_bytes = 32 * mib;
    layout.features = image_feature::layering | image_feature::exclusive_lock | image_feature::object_map |
                      image_feature::fast_diff;
    ours.create(image, layout);
    ours.create(replica, layout);
  }

  std::string stock_export(const std::optional<Snapshot>& from, const Snapshot& to) {
    std::vector<std::string> words{"export-diff", "--no-progress", "--image", image.name, "--snap", to.name};
    if (from) words.insert(words.end(), {"--from-snap", from->name});
    words.insert(words.end(), {"--path", "-"});
    return stock.must(image, words);
  }

  CommandResult stock_import(std::string_view stream) {
    return stock.run(replica, {"import-diff", "--no-progress", "-", "--image", replica.name}, stream);
  }

  /// What the stock command lists by the object map: none of its objects' bounds are finer than 4 MiB.
  std::vector<ByteRange> stock_fast_diff(const Snapshot& from, const Snapshot& to) {
    const std::string json = stock.must(image, {"diff", "--whole-object", "--format", "json", "--image", image.name,
                                                "--snap", to.name, "--from-snap", from.name});
    std::vector<ByteRange> out;
    for (const auto& extent : nlohmann::json::parse(json)) out.push_back({extent["offset"], extent["length"]});
    return out;
  }

  /// Whether every object map is valid, so that nothing but the method is to blame.
  bool maps_are_valid(const std::vector<Snapshot>& snapshots) {
    return std::all_of(snapshots.begin(), snapshots.end(), [&](const Snapshot& snapshot) {
      rbd::Image open = cluster.open(image, rbd::Image::Mode::read);
      open.show(snapshot);
      std::uint64_t flags = ~std::uint64_t{0};
      open.check(rbd_get_flags(open.get(), &flags), "read flags");
      return flags == 0;
    });
  }

  void replicate(const std::optional<Snapshot>& from, const Snapshot& to) {
    const auto sink = test::write_diff(ours, replica, {}, {});
    ours.read_diff(image, from, to, 0, *sink, {});
  }

  /// Replicates a diff and makes its end snapshot.
  Snapshot replicate_point(const std::optional<Snapshot>& from, const Snapshot& to) {
    replicate(from, to);
    return ours.create_snapshot(replica, to.name);
  }

  bool is_same(const Snapshot& point) {
    return cluster.content(replica, point.name) == cluster.content(image, point.name);
  }

  bool replica_has(const std::string& snapshot) {
    const auto state = ours.find(replica);
    return std::any_of(state->snapshots.begin(), state->snapshots.end(),
                       [&](const Snapshot& one) { return one.name == snapshot; });
  }

  LabCluster& cluster;
  LibrbdStore ours{cluster.access()};
  StockRbd stock{cluster};
  ImageSpec image = cluster.new_image();
  ImageSpec replica = cluster.new_image();
};

/// The code of the error that something throws.
template <typename Action>
std::string code_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return std::string(to_string(error.code()));
  }
  return "none";
}

}  // namespace

TEST_CASE("finding 1: fast-diff loses what a rollback changed, our listing does not" * needs_ceph()) {
  Findings at(*lab_cluster());
  at.cluster.write(at.image, 0, pattern(4 * mib, 1));
  const Snapshot s0 = at.ours.create_snapshot(at.image, "s0");
  const Snapshot s1 = at.ours.create_snapshot(at.image, "s1");
  at.cluster.write(at.image, 0, pattern(4 * mib, 2));
  const Snapshot s2 = at.ours.create_snapshot(at.image, "s2");
  test::roll_back(at.ours, at.image, s1, {});
  const Snapshot s3 = at.ours.create_snapshot(at.image, "s3");
  const bool differs = at.cluster.content(at.image, "s2") != at.cluster.content(at.image, "s3");
  REQUIRE(differs);
  CHECK(at.maps_are_valid({s0, s1, s2, s3}));
  CHECK(at.stock_fast_diff(s2, s3).empty());
  // The maps between still tell of it to who begins before what was rolled back to, while that is there.
  CHECK_FALSE(at.stock_fast_diff(s1, s3).empty());

  at.replicate_point(std::nullopt, s2);
  at.replicate_point(s2, s3);
  CHECK(at.is_same(s3));
}

TEST_CASE("finding 1: fast-diff loses what shrinking and growing again deleted, our listing does not" * needs_ceph()) {
  Findings at(*lab_cluster());
  at.cluster.write(at.image, 0, pattern(32 * mib, 1));
  const Snapshot a = at.ours.create_snapshot(at.image, "a");
  at.cluster.resize(at.image, 8 * mib);
  const Snapshot b = at.ours.create_snapshot(at.image, "b");
  at.cluster.resize(at.image, 32 * mib);
  const Snapshot c = at.ours.create_snapshot(at.image, "c");
  CHECK(at.maps_are_valid({a, b, c}));
  const auto listed = at.stock_fast_diff(a, c);
  const bool names_what_went = std::any_of(listed.begin(), listed.end(), [](const ByteRange& range) {
    return range.offset + range.length_bytes > 8 * mib;
  });
  CHECK_FALSE(names_what_went);

  at.replicate_point(std::nullopt, a);
  at.replicate_point(a, c);
  CHECK(at.is_same(c));
}

TEST_CASE("finding 2: import-diff takes a head that is not its base, we notice it" * needs_ceph()) {
  Findings at(*lab_cluster());
  at.cluster.write(at.image, 0, pattern(mib, 1));
  const Snapshot a = at.ours.create_snapshot(at.image, "a");
  at.cluster.write(at.image, 8 * mib, pattern(mib, 2));
  const Snapshot b = at.ours.create_snapshot(at.image, "b");
  const Snapshot base = at.replicate_point(std::nullopt, a);
  CHECK(at.ours.head_unchanged_since(at.replica, base, {}));
  at.cluster.write(at.replica, 4 * mib, pattern(4096, 3));

  const CommandResult result = at.stock_import(at.stock_export(a, b));
  CHECK(result.exit_status == 0);
  CHECK(at.replica_has("b"));
  CHECK_FALSE(at.is_same(b));

  // The question that a run asks before it writes, and ends as a conflict where the answer is no.
  at.stock.must(at.replica, {"snap", "rm", "--no-progress", "--image", at.replica.name, "--snap", "b"});
  test::roll_back(at.ours, at.replica, base, {});
  at.cluster.write(at.replica, 4 * mib, pattern(4096, 3));
  CHECK_FALSE(at.ours.head_unchanged_since(at.replica, base, {}));
  test::roll_back(at.ours, at.replica, base, {});
  at.replicate_point(a, b);
  CHECK(at.is_same(b));
}

TEST_CASE("finding 3: another diff onto a half-applied one corrupts, rolling back or continuing does not" * needs_ceph()) {
  Findings at(*lab_cluster());
  at.cluster.write(at.image, 0, pattern(mib, 1));
  const Snapshot a = at.ours.create_snapshot(at.image, "a");
  at.cluster.write(at.image, 8 * mib, pattern(4 * mib, 2));
  const Snapshot b = at.ours.create_snapshot(at.image, "b");
  at.cluster.discard(at.image, 8 * mib, 4 * mib);
  const Snapshot c = at.ours.create_snapshot(at.image, "c");
  const Snapshot base = at.replicate_point(std::nullopt, a);
  std::string cut = at.stock_export(a, b);
  REQUIRE(cut.ends_with('e'));
  cut.pop_back();

  SUBCASE("the stock command") {
    CHECK(at.stock_import(cut).exit_status != 0);
    CHECK_FALSE(at.replica_has("b"));
    CHECK(at.stock_import(at.stock_export(a, c)).exit_status == 0);
    CHECK(at.replica_has("c"));
    CHECK_FALSE(at.is_same(c));
  }
  SUBCASE("rolled back") {
    CHECK(at.stock_import(cut).exit_status != 0);
    CHECK_FALSE(at.ours.head_unchanged_since(at.replica, base, {}));
    test::roll_back(at.ours, at.replica, base, {});
    at.replicate_point(a, c);
    CHECK(at.is_same(c));
  }
  SUBCASE("the same transfer continued, and no other one") {
    {
      const auto sink = test::write_diff(at.ours, at.replica, {"a to b", 0}, {});
      sink->size(32 * mib);
      sink->data(8 * mib, pattern(2 * mib, 2));
      sink->mark();
    }
    CHECK_FALSE(at.ours.head_unchanged_since(at.replica, base, {}));
    const auto metadata = at.ours.find(at.replica)->metadata;
    REQUIRE(metadata.contains(std::string(progress_key)));
    const auto reached = parse_progress(metadata.at(std::string(progress_key)));
    REQUIRE(reached);
    CHECK(*reached == TransferProgress{"a to b", 10 * mib});
    CHECK(code_of([&] { test::write_diff(at.ours, at.replica, {"a to c", reached->offset}, {}); }) == "conflict");
    {
      const auto sink = test::write_diff(at.ours, at.replica, *reached, {});
      at.ours.read_diff(at.image, a, b, reached->offset, *sink, {});
    }
    at.ours.create_snapshot(at.replica, "b");
    CHECK(at.is_same(b));
    at.replicate_point(b, c);
    CHECK(at.is_same(c));
  }
}

TEST_CASE("finding 4: import-diff reads on after garbage in a stream, we refuse it" * needs_ceph()) {
  Findings at(*lab_cluster());
  at.cluster.write(at.image, 0, pattern(mib, 1));
  const Snapshot a = at.ours.create_snapshot(at.image, "a");
  const std::string stream = at.stock_export(std::nullopt, a);
  // The banner, the end snapshot's name, the size.
  constexpr std::size_t first_extent = 12 + (1 + 4 + 1) + (1 + 8);
  REQUIRE(stream.at(first_extent) == 'w');
  std::string garbled = stream;
  bool is_complete = false;
  SUBCASE("that means nothing") {
    garbled.insert(first_extent, "?!");
    is_complete = true;
  }
  SUBCASE("that is the end's tag") {
    garbled.insert(first_extent, "e");
  }

  const auto read_all = [&garbled] {
    return [rest = std::string_view(garbled)](std::span<std::byte> buffer) mutable {
      const std::size_t count = std::min(buffer.size(), rest.size());
      std::copy_n(std::as_bytes(std::span(rest)).begin(), count, buffer.begin());
      rest.remove_prefix(count);
      return count;
    };
  };
  CHECK(code_of([&] { import_diff(at.cluster.access(), at.replica, read_all()); }) == "format");
  CHECK_FALSE(at.replica_has("a"));

  CHECK(at.stock_import(garbled).exit_status == 0);
  CHECK(at.replica_has("a"));
  CHECK(at.is_same(a) == is_complete);
}

TEST_CASE("finding 5: an automatic lock is given away to who writes, ours is not" * needs_ceph()) {
  Findings at(*lab_cluster());
  at.cluster.write(at.image, 0, pattern(mib, 1));
  const Snapshot a = at.ours.create_snapshot(at.image, "a");
  const std::string stream = at.stock_export(std::nullopt, a);
  {
    const rbd::Image guest = at.cluster.open(at.replica, rbd::Image::Mode::write);
    const auto bytes = pattern(4096, 2);
    guest.check(rbd_write(guest.get(), 16 * mib, bytes.size(), reinterpret_cast<const char*>(bytes.data())),
                "write");
    int owns = 0;
    guest.check(rbd_is_exclusive_lock_owner(guest.get(), &owns), "look at lock");
    CHECK(owns == 1);
    // We do not write what somebody has open.
    CHECK(code_of([&] { test::write_diff(at.ours, at.replica, {}, {}); }) == "in_use");
    CHECK(at.stock_import(stream).exit_status == 0);
    const auto content = at.cluster.content(at.replica, "a");
    const bool was_written = std::equal(content.begin(), content.begin() + mib, pattern(mib, 1).begin());
    CHECK(was_written);
  }
  at.stock.must(at.replica, {"snap", "rm", "--no-progress", "--image", at.replica.name, "--snap", "a"});

  const auto sink = test::write_diff(at.ours, at.replica, {}, {});
  sink->size(32 * mib);
  CHECK(at.stock_import(stream).exit_status == 30);
  CHECK_FALSE(at.replica_has("a"));
  CHECK_THROWS_AS(at.cluster.write(at.replica, 0, pattern(4096, 3)), Error);
  sink->data(0, pattern(4096, 4));
  sink->finish();
  // The end snapshot is made while the lock is held.
  const Snapshot end = at.ours.create_snapshot(at.replica, "end");
  CHECK(end.size_bytes == 32 * mib);
  const auto content = at.cluster.content(at.replica, "end");
  const bool is_ours = std::equal(content.begin(), content.begin() + 4096, pattern(4096, 4).begin());
  CHECK(is_ours);
}
