// What an image's exclusive lock tells of its head: on real Ceph, against everything that somebody else can do to
// the image. A seal may be broken without a need, it may never stand on a head that was changed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "contract/agent_harness.hpp"
#include "contract/ceph_harness.hpp"
#include "contract/stock_rbd.hpp"
#include "rbd/head_lock.hpp"
#include "rbd/librbd_hold.hpp"
#include "rbd/librbd_store.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

constexpr std::uint64_t mib = 1U << 20;
constexpr std::uint64_t with_map =
    image_feature::layering | image_feature::exclusive_lock | image_feature::object_map | image_feature::fast_diff;

std::vector<std::byte> bytes_of(std::uint64_t length, int value) {
  return std::vector<std::byte>(length, static_cast<std::byte>(value));
}

/// An image of 16 MiB with a recovery point `old` and a newer one, `base`, made by a hold.
struct Sealed {
  explicit Sealed(LabCluster& of, std::uint64_t features = with_map) : cluster(of) {
    ImageLayout layout;
    layout.size_bytes = 16 * mib;
    layout.features = features;
    store.create(image, layout);
    old = write_point("old", 1);
    base = write_point("base", 2);
  }

  Snapshot write_point(const std::string& name, int value) {
    const auto hold = store.hold(image, {});
    const auto sink = hold->write_diff({}, {});
    sink->size(16 * mib);
    sink->data(0, bytes_of(mib, value));
    sink->finish();
    return hold->create_snapshot(name);
  }

  /// Whether the next one to have the lock knows that the head is `base`, without a look at it. A broken seal stays
  /// broken.
  bool stands() {
    const rbd::Image open = cluster.open(image, rbd::Image::Mode::write);
    const rbd::HeadLock lock(open, rbd::find_seal(open));
    return lock.knows(base.id);
  }

  bool is_listed_unchanged() { return store.head_unchanged_since(image, base, {}); }

  /// Lets the next hold look and seal the head once more.
  void seal() { REQUIRE(store.hold(image, {})->head_unchanged_since(base, {})); }

  void write(std::uint64_t offset, int value) { cluster.write(image, offset, bytes_of(4096, value)); }

  LabCluster& cluster;
  LibrbdStore store{cluster.access()};
  StockRbd stock{cluster};
  ImageSpec image = cluster.new_image();
  Snapshot old;
  Snapshot base;
};

}  // namespace

TEST_CASE("a hold that ends with the head at a snapshot tells so to the next one" * needs_ceph()) {
  Sealed at(*lab_cluster());
  CHECK(at.stands());
  // It is there as long as nobody breaks it, whoever looks.
  CHECK(at.stands());
  at.stock.must(at.image, {"info", "--image", at.image.name});
  at.stock.must(at.image, {"status", "--image", at.image.name});
  at.stock.must(at.image, {"lock", "ls", "--image", at.image.name});
  CHECK(at.stock.count(at.image, {"export", "--no-progress", "--image", at.image.name, "--path", "-"}) ==
        std::to_string(16 * mib));
  CHECK(at.is_listed_unchanged());
  CHECK(at.stands());
  {
    const auto hold = at.store.hold(at.image, {});
    CHECK(hold->head_unchanged_since(at.base, {}));
    CHECK_FALSE(hold->head_unchanged_since(at.old, {}));
    hold->set_metadata("crossover.test", "a value");
  }
  CHECK(at.stands());
  {
    const auto hold = at.store.hold(at.image, {});
    hold->roll_back(at.old, {});
  }
  CHECK_FALSE(at.stands());
  {
    const auto hold = at.store.hold(at.image, {});
    hold->roll_back(at.base, {});
  }
  CHECK(at.stands());
  SUBCASE("but not after a transfer that was cut") {
    {
      const auto hold = at.store.hold(at.image, {});
      CHECK(hold->head_unchanged_since(at.base, {}));
      const auto sink = hold->write_diff({}, {});
      sink->size(16 * mib);
      sink->data(0, bytes_of(5 * mib, 3));
    }
    CHECK_FALSE(at.stands());
    CHECK_FALSE(at.is_listed_unchanged());
  }
  SUBCASE("and the lock is free") {
    CHECK(at.stock.must(at.image, {"lock", "ls", "--image", at.image.name}).empty());
    at.write(0, 9);
    const rbd::Image other = at.cluster.open(at.image, rbd::Image::Mode::write);
    other.check(rbd_lock_acquire(other.get(), RBD_LOCK_MODE_EXCLUSIVE), "lock image");
  }
}

TEST_CASE("whatever somebody else does to a head breaks the seal on it" * needs_ceph()) {
  Sealed at(*lab_cluster());
  const auto broken = [&](const std::string& what, bool changed, const auto& action) {
    CAPTURE(what);
    at.seal();
    REQUIRE(at.stands());
    action();
    CHECK_FALSE(at.stands());
    CHECK(at.is_listed_unchanged() != changed);
    at.store.hold(at.image, {})->roll_back(at.base, {});
  };
  const auto stock = [&](std::vector<std::string> words) {
    words.insert(words.end(), {"--image", at.image.name});
    at.stock.must(at.image, words);
  };
  broken("a write", true, [&] { at.write(0, 9); });
  broken("the very same bytes", false, [&] { at.write(0, 2); });
  broken("zeroes", true, [&] { at.cluster.zero(at.image, 0, 4096); });
  broken("a discard", true, [&] { at.cluster.discard(at.image, 0, mib); });
  broken("bench", true, [&] { stock({"bench", "--io-type", "write", "--io-size", "4K", "--io-total", "16K"}); });
  broken("a rollback to an older one", true, [&] {
    stock({"snap", "rollback", "--no-progress", "--snap", "old"});
  });
  broken("a rollback to this one", false, [&] { stock({"snap", "rollback", "--no-progress", "--snap", "base"}); });
  broken("growing", true, [&] { at.cluster.resize(at.image, 20 * mib); });
  broken("shrinking and growing", true, [&] {
    at.cluster.resize(at.image, 0);
    at.cluster.resize(at.image, 16 * mib);
  });
  broken("a diff", true, [&] {
    const std::string diff = at.stock.must(
        at.image, {"export-diff", "--no-progress", "--image", at.image.name, "--snap", "old", "--path", "-"});
    at.stock.must(at.image, {"snap", "rm", "--no-progress", "--image", at.image.name, "--snap", "old"});
    at.stock.must(at.image, {"import-diff", "--no-progress", "-", "--image", at.image.name}, diff);
  });
  broken("writing without the feature", true, [&] {
    stock({"feature", "disable", "fast-diff", "object-map", "exclusive-lock"});
    at.write(0, 9);
    stock({"feature", "enable", "exclusive-lock", "object-map", "fast-diff"});
    stock({"object-map", "rebuild", "--no-progress"});
  });
}

TEST_CASE("a seal counts only if nobody had the lock between the look and the lock" * needs_ceph()) {
  Sealed at(*lab_cluster());
  const rbd::Image ours = at.cluster.open(at.image, rbd::Image::Mode::write);
  const auto seal = rbd::find_seal(ours);
  REQUIRE(seal);
  CHECK(seal->snapshot == at.base.id);
  SUBCASE("nobody") {
    CHECK(rbd::HeadLock(ours, seal).knows(at.base.id));
  }
  SUBCASE("somebody who is gone again") {
    at.write(0, 9);
    CHECK_FALSE(rbd::HeadLock(ours, seal).knows(at.base.id));
  }
  SUBCASE("somebody who rolled back, where the object map tells nothing") {
    at.stock.must(at.image, {"snap", "rollback", "--no-progress", "--image", at.image.name, "--snap", "old"});
    CHECK_FALSE(rbd::HeadLock(ours, seal).knows(at.base.id));
  }
  SUBCASE("somebody who still has it") {
    const rbd::Image other = at.cluster.open(at.image, rbd::Image::Mode::write);
    const auto bytes = bytes_of(4096, 9);
    other.check(static_cast<int>(std::min<ssize_t>(
                    0, rbd_write(other.get(), 0, bytes.size(), reinterpret_cast<const char*>(bytes.data())))),
                "write");
    CHECK_FALSE(rbd::find_seal(ours));
    CHECK_FALSE(rbd::HeadLock(ours, seal).knows(at.base.id));
  }
  CHECK(rbd::find_seal(ours).has_value() == at.is_listed_unchanged());
}

TEST_CASE("what the lock's holder resizes for another client breaks the seal" * needs_ceph()) {
  Sealed at(*lab_cluster());
  {
    const auto hold = at.store.hold(at.image, {});
    REQUIRE(hold->head_unchanged_since(at.base, {}));
    at.cluster.resize(at.image, 0);
    at.cluster.resize(at.image, 16 * mib);
    CHECK_FALSE(hold->head_unchanged_since(at.base, {}));
  }
  CHECK_FALSE(at.stands());
  CHECK_FALSE(at.is_listed_unchanged());
}

TEST_CASE("what was resized while the head was listed is not sealed" * needs_ceph()) {
  Sealed at(*lab_cluster());
  at.write(0, 2);
  {
    const auto hold = rbd::hold_image(rbd::Image(at.store.context(at.image), at.image, rbd::Image::Mode::write), {},
                                      [&](const Snapshot&, const std::stop_token&) {
                                        at.cluster.resize(at.image, 0);
                                        at.cluster.resize(at.image, 16 * mib);
                                        return true;
                                      });
    CHECK(hold->head_unchanged_since(at.base, {}));
  }
  CHECK_FALSE(at.stands());
  CHECK_FALSE(at.is_listed_unchanged());
}

TEST_CASE("our own changes beside the head leave the seal on it" * needs_ceph()) {
  Sealed at(*lab_cluster());
  at.store.set_metadata(at.image, "crossover.test", "a value");
  CHECK(at.stands());
  at.store.remove_metadata(at.image, "crossover.test");
  CHECK(at.stands());
  at.store.remove_snapshot(at.image, at.old);
  CHECK(at.stands());
  CHECK(at.is_listed_unchanged());
  // Somebody who has the image open is not kept from writing for that.
  {
    const rbd::Image other = at.cluster.open(at.image, rbd::Image::Mode::write);
    at.store.set_metadata(at.image, "crossover.test", "a value");
  }
  CHECK_FALSE(at.stands());
}

TEST_CASE("a hold through the agent leaves the seal and finds it" * needs_ceph()) {
  const char* folder = std::getenv("CROSSOVER_TEST_COMMAND");
  REQUIRE(folder != nullptr);
  Sealed at(*lab_cluster());
  const auto far_end = make_agent_process_harness(*lab_cluster(), folder);
  {
    const auto hold = far_end->store().hold(at.image, {});
    CHECK(hold->head_unchanged_since(at.base, {}));
    hold->roll_back(at.old, {});
    at.base = at.old;
  }
  CHECK(at.stands());
  far_end->store().set_metadata(at.image, "crossover.test", "a value");
  CHECK(at.stands());
  at.write(0, 9);
  CHECK_FALSE(far_end->store().hold(at.image, {})->head_unchanged_since(at.base, {}));
}

TEST_CASE("an image whose head cannot be watched is not sealed" * needs_ceph()) {
  for (const std::uint64_t features :
       {image_feature::layering, image_feature::layering | image_feature::exclusive_lock}) {
    Sealed at(*lab_cluster(), features);
    const auto found = [&] {
      return rbd::find_seal(at.cluster.open(at.image, rbd::Image::Mode::write)).has_value();
    };
    CHECK_FALSE(found());
    at.seal();
    CHECK_FALSE(found());
    at.write(0, 9);
    CHECK_FALSE(at.store.hold(at.image, {})->head_unchanged_since(at.base, {}));
  }
}
