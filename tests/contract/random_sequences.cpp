// What reaches a replica, point by point, after anything that can happen to an image: random sequences on real
// Ceph.
//   CROSSOVER_SEQUENCES=10000  how many (500)
//   CROSSOVER_FIRST_SEED=1     where the seeds begin; with CROSSOVER_SEQUENCES=1 a sequence alone
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "contract/agent_harness.hpp"
#include "contract/ceph_harness.hpp"
#include "crossover/error.hpp"
#include "engine/fast_listing.hpp"
#include "support/held.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

constexpr std::uint64_t mib = 1U << 20;
constexpr std::uint8_t object_order = 16;
constexpr std::uint64_t object_bytes = 1U << object_order;
constexpr std::uint64_t max_image_bytes = 3 * mib;
constexpr std::size_t workers = 12;  // most of the time they wait for the monitor

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoull(text);
}

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  /// 0 to `limit`.
  std::uint64_t up_to(std::uint64_t limit) {
    return std::uniform_int_distribution<std::uint64_t>(0, limit)(random_);
  }
  bool one_in(std::uint64_t count) { return up_to(count - 1) == 0; }
  std::vector<std::byte> bytes(std::uint64_t count) {
    std::vector<std::byte> out(count);
    for (std::uint64_t at = 0; at < count; at += sizeof(std::uint64_t)) {
      const std::uint64_t value = random_();
      std::memcpy(out.data() + at, &value, std::min<std::uint64_t>(sizeof value, count - at));
    }
    return out;
  }

 private:
  std::mt19937_64 random_;
};

/// Images that go when it goes, a clone before its parent.
class Images {
 public:
  explicit Images(LabCluster& cluster) : cluster_(cluster) {}
  Images(const Images&) = delete;
  Images& operator=(const Images&) = delete;
  ~Images() {
    for (const ImageSpec& image : made_) cluster_.remove(image);
  }

  /// A name, which stays where it is. A parent's is asked for after its clone's.
  const ImageSpec& add() { return made_.emplace_back(cluster_.new_image()); }

 private:
  LabCluster& cluster_;
  std::deque<ImageSpec> made_;
};

/// One sequence: an image, what happens to it, and its replicas.
class Sequence {
 public:
  /// `targets` are ways to the same cluster; each point of the replica takes one of them.
  Sequence(LabCluster& cluster, ImageStore& source, std::vector<StoreHarness*> targets, std::uint64_t seed)
      : cluster_(cluster),
        source_(source),
        targets_(std::move(targets)),
        dice_(seed),
        images_(cluster),
        image_(images_.add()),
        replica_(images_.add()) {}

  /// Throws what went wrong.
  void run() {
    make_source();
    guest_.emplace(cluster_.open(image_, rbd::Image::Mode::write));
    fill(guest());
    const std::uint64_t points = 2 + dice_.up_to(2);
    for (std::uint64_t point = 0; point < points; ++point) {
      for (std::uint64_t count = dice_.up_to(10); count > 0; --count) change();
      mirror("point-" + std::to_string(point));
    }
  }

  /// How many diffs were read by the object maps.
  [[nodiscard]] std::uint64_t fast() const { return fast_; }
  /// What was done, a line each.
  [[nodiscard]] const std::string& story() const { return story_; }

 private:
  struct Held {
    std::string name;
    std::uint64_t size_bytes;
    std::optional<Snapshot> point;  // ours
  };

  template <typename... Arguments>
  void tell(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
    story_ += "  " + fmt::format(text, std::forward<Arguments>(arguments)...) + "\n";
  }

  void check(ssize_t result, const char* operation) {
    if (result < 0) throw std::runtime_error(fmt::format("{}: {}", operation, result));
  }

  void make_source() {
    ImageLayout layout;
    layout.size_bytes = size_ = mib / 2 + dice_.up_to(max_image_bytes - mib / 2);
    layout.order = object_order;
    layout.features = image_feature::layering;
    if (dice_.one_in(2)) layout.features |= image_feature::object_map | image_feature::fast_diff;
    if (dice_.one_in(5)) {
      const ImageSpec& parent = images_.add();
      source_.create(parent, layout);
      {
        const rbd::Image open = cluster_.open(parent, rbd::Image::Mode::write);
        fill(open.get());
      }
      cluster_.clone(parent, "golden", image_);
      tell("a clone of {} bytes", size_);
      return;
    }
    if (dice_.one_in(3)) {
      layout.stripe_unit = object_bytes >> dice_.up_to(4);
      layout.stripe_count = 2 + dice_.up_to(5);
    }
    source_.create(image_, layout);
    tell("an image of {} bytes, stripes of {} over {}, features {}", size_, layout.stripe_unit, layout.stripe_count,
         layout.features);
  }

  /// Large pieces, so that there is something to be lost.
  void fill(rbd_image_t image) {
    for (std::uint64_t count = dice_.up_to(4); count > 0; --count) {
      const std::uint64_t offset = dice_.up_to(size_ - 1);
      const auto bytes = dice_.bytes(std::min(size_ - offset, 1 + dice_.up_to(16 * object_bytes)));
      tell("fill {}~{}", offset, bytes.size());
      check(rbd_write(image, offset, bytes.size(), reinterpret_cast<const char*>(bytes.data())), "fill");
    }
  }

  /// Some bytes of the image: few or many, anywhere or by whole objects.
  std::pair<std::uint64_t, std::uint64_t> range() {
    std::uint64_t offset = dice_.up_to(size_ - 1);
    const std::uint64_t most = std::vector<std::uint64_t>{512, 9000, 9000, 5 * object_bytes}[dice_.up_to(3)];
    std::uint64_t length = 1 + dice_.up_to(std::min(size_ - offset, most) - 1);
    if (dice_.one_in(3)) {
      const std::uint64_t unit = dice_.one_in(2) ? object_bytes : 4096;
      offset -= offset % unit;
      length = std::min(size_ - offset, (length + unit - 1) / unit * unit);
    }
    return {offset, length};
  }

  void change() {
    const std::uint64_t kind = dice_.up_to(19);
    if (kind < 10) {
      if (size_ > 0) touch(kind);
    } else if (kind < 12) {
      resize(dice_.up_to(dice_.one_in(12) ? object_bytes : max_image_bytes));
    } else if (kind < 15) {
      make_snapshot();
    } else if (kind < 16) {
      remove_snapshot();
    } else if (kind < 17) {
      // Smaller for the time of one snapshot.
      const std::uint64_t size = size_;
      resize(dice_.up_to(size));
      make_snapshot();
      resize(size);
    } else if (!held_.empty()) {
      const Held& back = held_[dice_.up_to(held_.size() - 1)];
      tell("roll back to {}, {} bytes", back.name, back.size_bytes);
      check(rbd_snap_rollback(guest(), back.name.c_str()), "roll back");
      size_ = back.size_bytes;
    }
  }

  void resize(std::uint64_t size_bytes) {
    size_ = dice_.one_in(4) ? size_bytes - size_bytes % object_bytes : size_bytes;
    tell("resize to {}", size_);
    check(rbd_resize(guest(), size_), "resize");
  }

  void make_snapshot() {
    const std::string name = "foreign-" + std::to_string(names_++);
    tell("snapshot {}", name);
    check(rbd_snap_create(guest(), name.c_str()), "create snapshot");
    held_.push_back({name, size_, std::nullopt});
  }

  void touch(std::uint64_t kind) {
    const auto [offset, length] = range();
    if (kind < 6) {
      auto bytes = dice_.bytes(length);
      // Zeroes in the middle of what is written.
      if (dice_.one_in(4)) std::fill_n(bytes.begin(), dice_.up_to(length), std::byte{});
      tell("write {}~{}", offset, length);
      check(rbd_write(guest(), offset, length, reinterpret_cast<const char*>(bytes.data())), "write");
    } else if (kind < 8) {
      tell("discard {}~{}", offset, length);
      check(rbd_discard(guest(), offset, length), "discard");
    } else {
      tell("write zeroes {}~{}", offset, length);
      check(rbd_write_zeroes(guest(), offset, length, 0, 0), "write zeroes");
    }
  }

  /// Removes any snapshot but the base of the next diff.
  void remove_snapshot() {
    if (held_.empty()) return;
    const auto chosen = held_.begin() + static_cast<std::ptrdiff_t>(dice_.up_to(held_.size() - 1));
    if (chosen->point && chosen->point == base_) return;
    tell("remove snapshot {}", chosen->name);
    if (chosen->point) {
      source_.remove_snapshot(image_, *chosen->point);
    } else {
      check(rbd_snap_remove(guest(), chosen->name.c_str()), "remove snapshot");
    }
    held_.erase(chosen);
  }

  void mirror(const std::string& name) {
    check(rbd_flush(guest()), "flush");
    std::optional<std::vector<RollbackTarget>> targets = source_.fast_listing()->rollback_targets(image_);
    const Snapshot point = source_.create_snapshot(image_, name);
    if (point.size_bytes != size_) throw std::runtime_error(fmt::format("{} has {} bytes", name, point.size_bytes));
    StoreHarness& target = *targets_[dice_.up_to(targets_.size() - 1)];
    ImageStore& store = target.store();
    tell("{}, {} bytes, by {}", name, size_, target.name());
    if (!base_) store.create(replica_, replica_layout());
    read(point, *test::write_diff(store, replica_, {}, {}));
    const Snapshot made = store.create_snapshot(replica_, name);
    compare(made, cluster_.content(image_, name), cluster_.content(replica_, name));
    base_ = point;
    older_.reset();
    if (targets) older_ = RollbackTargets{point.id, std::move(*targets)};
    held_.push_back({name, size_, point});
  }

  /// By the object maps where they tell of all.
  void read(const Snapshot& point, DiffSink& sink) {
    if (base_) {
      FastListing& listing = *source_.fast_listing();
      const FirstPass pass = listing.first_pass(image_, *base_, point, older_);
      tell("first pass: {}", pass.refused.empty() ? fmt::format("{} ranges", pass.ranges.size()) : pass.refused);
      if (pass.refused.empty()) {
        ++fast_;
        return listing.read_diff_in(image_, *base_, point, pass.ranges, sink, {});
      }
    }
    source_.read_diff(image_, base_, point, 0, sink, {});
  }

  void compare(const Snapshot& made, const std::vector<std::byte>& wanted,
               const std::vector<std::byte>& got) const {
    if (made.size_bytes == size_ && wanted.size() == size_ && got == wanted) return;
    const auto [first, other] = std::mismatch(wanted.begin(), wanted.end(), got.begin(), got.end());
    throw std::runtime_error(fmt::format("{}: {} bytes instead of {}, the first other one at {}", made.name,
                                         got.size(), wanted.size(), std::distance(wanted.begin(), first)));
  }

  /// The source's own, or another.
  ImageLayout replica_layout() {
    ImageLayout layout = source_.find(image_)->layout;
    if (dice_.one_in(2)) return layout;
    layout.order = static_cast<std::uint8_t>(14 + dice_.up_to(8));
    layout.stripe_unit = layout.stripe_count = 0;
    layout.features = image_feature::layering;
    layout.size_bytes = dice_.up_to(max_image_bytes);
    return layout;
  }

  rbd_image_t guest() { return guest_->get(); }

  LabCluster& cluster_;
  ImageStore& source_;
  std::vector<StoreHarness*> targets_;
  Dice dice_;
  Images images_;
  const ImageSpec& image_;
  const ImageSpec& replica_;
  std::optional<rbd::Image> guest_;  // open all the time, as a running guest's
  std::uint64_t size_ = 0;
  std::vector<Held> held_;
  std::optional<Snapshot> base_;
  std::optional<RollbackTargets> older_;  // than the base
  std::uint64_t fast_ = 0;
  int names_ = 0;
  std::string story_;
};

}  // namespace

TEST_CASE("what is mirrored after random sequences is equal, point by point") {
  LabCluster* cluster = lab_cluster();
  if (cluster == nullptr) FAIL("this needs a cluster: with-ceph starts one");
  const std::uint64_t first = from_environment("CROSSOVER_FIRST_SEED", 1);
  const std::uint64_t count = from_environment("CROSSOVER_SEQUENCES", 500);
  std::atomic<std::uint64_t> next{0};
  std::atomic<std::uint64_t> fast{0};
  std::mutex mutex;
  std::vector<std::string> failures;
  {
    std::vector<std::jthread> threads;
    for (std::size_t worker = 0; worker < std::min<std::uint64_t>(workers, count); ++worker) {
      threads.emplace_back([&] {
        const auto source = make_librbd_harness(*cluster);
        const auto direct = make_librbd_harness(*cluster);
        const auto behind_agent = make_agent_librbd_harness(*cluster);
        for (std::uint64_t index = next++; index < count; index = next++) {
          Sequence sequence(*cluster, source->store(), {direct.get(), behind_agent.get()}, first + index);
          try {
            sequence.run();
            fast += sequence.fast();
          } catch (const std::exception& error) {
            const std::lock_guard lock(mutex);
            failures.push_back(fmt::format("CROSSOVER_FIRST_SEED={} CROSSOVER_SEQUENCES=1: {}\n{}", first + index,
                                           error.what(), sequence.story()));
          }
        }
      });
    }
  }
  for (const std::string& failure : failures) FAIL_CHECK(failure);
  CHECK(next >= count);
  MESSAGE(fast.load() << " diffs were read by the object maps");
  if (count >= 100) CHECK(fast > count / 10);
}
