// Diffs by the object maps on real Ceph: what they list, and that they are refused wherever the maps are blind.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "contract/ceph_harness.hpp"
#include "contract/stock_rbd.hpp"
#include "rbd/librbd_store.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

constexpr std::uint64_t mib = 1U << 20;
constexpr std::uint64_t object = 4 * mib;
constexpr std::uint64_t with_map =
    image_feature::layering | image_feature::exclusive_lock | image_feature::object_map | image_feature::fast_diff;

/// Applies a diff to a copy of its base's content.
class Copy final : public DiffSink {
 public:
  explicit Copy(std::vector<std::byte> base) : bytes_(std::move(base)) {}
  void size(std::uint64_t size_bytes) override { bytes_.resize(size_bytes); }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override {
    std::fill_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), length_bytes, std::byte{});
  }
  void finish() override { finished_ = true; }

  [[nodiscard]] bool is(const std::vector<std::byte>& content) const { return finished_ && bytes_ == content; }

 private:
  std::vector<std::byte> bytes_;
  bool finished_ = false;
};

/// An image of 64 MiB in 16 objects, the first eight of which were written; with the snapshots "first", "older",
/// before which object 2 was written again, and "base", before which object 5 was.
struct Mapped {
  explicit Mapped(LabCluster& of, std::uint64_t features = with_map) : cluster(of) {
    ImageLayout layout;
    layout.size_bytes = 16 * object;
    layout.features = features;
    store.create(image, layout);
    for (std::uint64_t i = 0; i < 8; ++i) write(i);
    store.create_snapshot(image, "first");
    write(2);
    older = store.create_snapshot(image, "older");
    write(5);
    store.create_snapshot(image, "between");
    make_base();
  }

  void make_base() {
    const auto targets = store.rollback_targets(image);
    base = store.create_snapshot(image, "base");
    kept.reset();
    if (targets) kept = RollbackTargets{base.id, *targets};
  }

  void write(std::uint64_t at) {
    cluster.write(image, at * object + 8192, std::vector<std::byte>(4096, static_cast<std::byte>(++writes)));
  }

  /// Why a diff from the base to a snapshot made now is refused; empty: it is not, and the base becomes that by it.
  std::string refused() {
    const Snapshot end = store.create_snapshot(image, "end");
    const FirstPass pass = store.first_pass(image, base, end, kept);
    if (pass.refused.empty()) {
      Copy copy(cluster.content(image, base.name));
      store.read_diff_in(image, base, end, pass.ranges, copy, {});
      CHECK(copy.is(cluster.content(image, end.name)));
      listed = 0;
      for (const ByteRange& range : pass.ranges) listed += range.length_bytes;
    }
    store.remove_snapshot(image, end);
    return pass.refused;
  }

  LabCluster& cluster;
  LibrbdStore store{cluster.access()};
  StockRbd stock{cluster};
  ImageSpec image = cluster.new_image();
  Snapshot older;
  Snapshot base;
  std::optional<RollbackTargets> kept;
  int writes = 0;
  std::uint64_t listed = 0;
};

const std::string suspect = "a rollback to older cannot be ruled out";

}  // namespace

TEST_CASE("by the object maps a diff is what it is as a whole" * needs_ceph()) {
  Mapped at(*lab_cluster());
  CHECK(at.refused() == "");
  CHECK(at.listed == 0);
  at.write(7);
  at.write(12);
  at.cluster.discard(at.image, 0, object);
  at.cluster.zero(at.image, 3 * object + 8192, 4096);
  CHECK(at.refused() == "");
  CHECK(at.listed == 4 * object);
  SUBCASE("also over snapshots of others, and after they are gone") {
    at.store.create_snapshot(at.image, "others");
    at.write(1);
    CHECK(at.refused() == "");
    CHECK(at.listed == 5 * object);
    at.stock.must(at.image, {"snap", "rm", "--image", at.image.name, "--snap", "others", "--no-progress"});
    at.stock.must(at.image, {"snap", "rm", "--image", at.image.name, "--snap", "older", "--no-progress"});
    CHECK(at.refused() == "");
    CHECK(at.listed == 5 * object);
  }
  SUBCASE("after a rollback to the base, or to what came after it") {
    at.store.create_snapshot(at.image, "others");
    at.write(6);
    at.stock.must(at.image, {"snap", "rollback", "--image", at.image.name, "--snap", "others", "--no-progress"});
    CHECK(at.refused() == "");
    at.stock.must(at.image, {"snap", "rollback", "--image", at.image.name, "--snap", "base", "--no-progress"});
    CHECK(at.refused() == "");
  }
  SUBCASE("of an image that grew, and of one that shrank") {
    at.cluster.resize(at.image, 24 * object);
    at.write(20);
    CHECK(at.refused() == "");
    at.cluster.resize(at.image, 6 * object + 12288);
    CHECK(at.refused() == "");
    at.cluster.resize(at.image, 16 * object);
    CHECK(at.refused() == "");
  }
}

TEST_CASE("a diff by the object maps is refused after a rollback past its base" * needs_ceph()) {
  Mapped at(*lab_cluster());
  at.write(7);
  const auto roll_back = [&] {
    at.stock.must(at.image, {"snap", "rollback", "--image", at.image.name, "--snap", "older", "--no-progress"});
  };
  SUBCASE("as it is") {
    roll_back();
  }
  SUBCASE("with writes and a snapshot since") {
    roll_back();
    at.write(9);
    at.store.create_snapshot(at.image, "others");
    at.write(1);
  }
  SUBCASE("to a snapshot that is gone since") {
    roll_back();
    at.stock.must(at.image, {"snap", "rm", "--image", at.image.name, "--snap", "older", "--no-progress"});
  }
  CHECK(at.refused() == suspect);
  // The next base is one again.
  at.store.remove_snapshot(at.image, at.base);
  at.make_base();
  at.write(3);
  CHECK(at.refused() == "");
  CHECK(at.listed > 0);
}

TEST_CASE("a diff by the object maps is refused after a rollback of a group" * needs_ceph()) {
  Mapped at(*lab_cluster());
  const std::string pool = at.image.pool;
  const std::string group = "g-" + at.image.name;
  const std::string member = at.image.name;
  at.stock.must(at.image, {"group", "create", "--group", group});
  at.stock.must(at.image, {"group", "image", "add", "--group-pool", pool, "--group", group, "--image-pool", pool,
                           "--image", member});
  at.write(4);
  at.stock.must(at.image, {"group", "snap", "create", "--group", group, "--snap", "whole"});
  at.write(5);
  at.store.remove_snapshot(at.image, at.base);
  at.make_base();
  CHECK(at.refused() == "");
  at.stock.must(at.image, {"group", "snap", "rollback", "--group", group, "--snap", "whole", "--no-progress"});
  CHECK(at.refused().find("cannot be ruled out") != std::string::npos);
  at.stock.must(at.image, {"group", "snap", "rm", "--group", group, "--snap", "whole"});
  at.stock.must(at.image, {"group", "rm", "--group", group});
}

TEST_CASE("a diff by the object maps is refused where they do not count" * needs_ceph()) {
  SUBCASE("around a snapshot that is smaller than both ends") {
    Mapped at(*lab_cluster());
    at.cluster.resize(at.image, 6 * object);
    at.store.create_snapshot(at.image, "small");
    at.cluster.resize(at.image, 16 * object);
    CHECK(at.refused() == "its snapshot small is smaller than both");
    at.stock.must(at.image, {"snap", "rm", "--image", at.image.name, "--snap", "small", "--no-progress"});
    CHECK(at.refused() == "");
  }
  SUBCASE("of an image without them") {
    Mapped at(*lab_cluster(), image_feature::layering);
    CHECK_FALSE(at.kept);
    CHECK(at.refused() == "it has a parent, or no object map that tells of writes");
  }
  SUBCASE("of a clone, until it is flattened and has a new base") {
    Mapped parent(*lab_cluster());
    Mapped at(*lab_cluster());
    const ImageSpec child = at.cluster.new_image();
    at.cluster.clone(parent.image, "golden", child);
    const std::string without = "it has a parent, or no object map that tells of writes";
    at.image = child;
    for (const char* feature : {"exclusive-lock", "object-map", "fast-diff"}) {
      at.stock.run(child, {"feature", "enable", "--image", child.name, feature});  // it may have it
    }
    at.stock.must(child, {"object-map", "rebuild", "--image", child.name, "--no-progress"});
    at.make_base();
    CHECK(at.refused() == without);
    at.stock.must(child, {"flatten", "--image", child.name, "--no-progress"});
    CHECK(at.refused() != "");
    at.store.remove_snapshot(child, at.base);
    at.make_base();
    at.write(3);
    CHECK(at.refused() == "");
    at.cluster.remove(child);
  }
  SUBCASE("where they were switched off for a while") {
    Mapped at(*lab_cluster());
    at.write(3);
    at.stock.must(at.image, {"feature", "disable", "--image", at.image.name, "fast-diff", "object-map"});
    at.write(4);
    at.stock.must(at.image, {"feature", "enable", "--image", at.image.name, "object-map", "fast-diff"});
    CHECK(at.refused().find("has no valid object map") != std::string::npos);
    at.stock.must(at.image, {"object-map", "rebuild", "--image", at.image.name, "--no-progress"});
    CHECK_MESSAGE(at.refused() == "its snapshot base has no valid object map", "the head's is not the base's");
    at.stock.must(at.image, {"object-map", "rebuild", "--image", at.image.name, "--snap", "base", "--no-progress"});
    const std::string suspect_between = "a rollback to between cannot be ruled out";
    CHECK_MESSAGE(at.refused() == suspect_between, "nor is it that of an older one");
    at.store.remove_snapshot(at.image, at.base);
    at.make_base();
    CHECK(at.refused() == suspect_between);
  }
  SUBCASE("where a snapshot is there that was not known of") {
    Mapped at(*lab_cluster());
    at.kept->targets.pop_back();
    CHECK(at.refused() == "a rollback to between cannot be ruled out");
    at.kept->base_id = at.older.id;
    CHECK(at.refused() == "what was there to roll back to when base was made is not known");
  }
}
