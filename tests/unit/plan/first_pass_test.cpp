// What of an image may differ by its object maps: against a model of what librbd does to maps and content, which is
// as blind as the real ones are.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "crossover/error.hpp"
#include "plan/first_pass.hpp"
#include "stream/little_endian.hpp"

using namespace crossover;

namespace {

constexpr std::uint64_t object_bytes = 4096;
constexpr ObjectLayout layout{object_bytes, 1};

using States = std::vector<ObjectState>;

/// A map as "object_map_load" answers it.
std::string render(const States& states) {
  std::string header("\x01\x01", 2);
  stream::append_little_endian(header, std::uint32_t{8});
  stream::append_little_endian(header, std::uint64_t{states.size()});
  std::string bytes;
  stream::append_little_endian(bytes, static_cast<std::uint32_t>(header.size()));
  bytes += header;
  for (std::size_t i = 0; i < states.size(); ++i) {
    if (i % 4 == 0) bytes.push_back(0);
    bytes.back() = static_cast<char>(static_cast<unsigned char>(bytes.back()) | static_cast<unsigned>(states[i])
                                                                                    << (2 * (3 - i % 4)));
  }
  return bytes + "checksums";
}

/// An image of some objects: what is in them, and what librbd's maps say of that.
class Model {
 public:
  struct Moment {
    Snapshot snapshot;
    std::vector<int> content;  ///< by object; 0: absent
    States map;
  };

  explicit Model(std::size_t objects) : content_(objects), map_(objects, ObjectState::absent) {}

  void write(std::size_t object) {
    if (content_.empty()) return;
    object %= content_.size();
    content_[object] = ++writes_;
    map_[object] = ObjectState::written;
  }

  void discard(std::size_t object) {
    if (content_.empty()) return;
    object %= content_.size();
    content_[object] = 0;
    map_[object] = ObjectState::absent;
  }

  void resize(std::size_t objects) {
    content_.resize(objects);
    map_.resize(objects, ObjectState::absent);
  }

  Snapshot snap() {
    const Snapshot snapshot{++ids_, "s" + std::to_string(ids_), content_.size() * object_bytes};
    moments_.push_back({snapshot, content_, map_});
    for (ObjectState& state : map_) {
      if (state == ObjectState::written) state = ObjectState::clean;
    }
    return snapshot;
  }

  /// The map that follows keeps what the removed one knew of writes.
  void remove(std::size_t index) {
    const States removed = moments_[index].map;
    States& next = index + 1 < moments_.size() ? moments_[index + 1].map : map_;
    for (std::size_t i = 0; i < next.size(); ++i) {
      if (next[i] == ObjectState::clean && (i >= removed.size() || removed[i] == ObjectState::written)) {
        next[i] = ObjectState::written;
      }
    }
    moments_.erase(moments_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  void roll_back(std::size_t index) {
    content_ = moments_[index].content;
    map_ = moments_[index].map;
  }

  [[nodiscard]] const std::vector<Moment>& moments() const { return moments_; }
  [[nodiscard]] const Moment& moment(std::uint64_t id) const {
    return *std::find_if(moments_.begin(), moments_.end(),
                         [&](const Moment& one) { return one.snapshot.id == id; });
  }

  [[nodiscard]] std::vector<MappedSnapshot> mapped() const {
    std::vector<MappedSnapshot> out;
    for (const Moment& one : moments_) out.push_back({one.snapshot, ObjectMap::parse(render(one.map))});
    return out;
  }

  /// Objects that differ and are in none of the ranges.
  [[nodiscard]] std::vector<std::size_t> missed(std::uint64_t from, std::uint64_t to,
                                                const std::vector<ByteRange>& ranges) const {
    const std::vector<int>& before = moment(from).content;
    const std::vector<int>& after = moment(to).content;
    std::vector<std::size_t> out;
    for (std::size_t i = 0; i < after.size(); ++i) {
      if (after[i] == (i < before.size() ? before[i] : 0)) continue;
      const bool listed = std::any_of(ranges.begin(), ranges.end(), [&](const ByteRange& range) {
        return i * object_bytes >= range.offset && (i + 1) * object_bytes <= range.offset + range.length_bytes;
      });
      if (!listed) out.push_back(i);
    }
    return out;
  }

 private:
  std::vector<int> content_;
  States map_;
  std::vector<Moment> moments_;
  std::uint64_t ids_ = 0;
  int writes_ = 0;
};

/// A base with what was there to roll back to.
struct Base {
  explicit Base(
      Model& model, const std::function<void()>& meanwhile = [] {})
      : older{0, find_rollback_targets(model.mapped()).value()} {
    meanwhile();
    snapshot = model.snap();
    older.base_id = snapshot.id;
  }
  RollbackTargets older;
  Snapshot snapshot;
};

FirstPass pass(const Model& model, const Base& base, const Snapshot& end) {
  return first_pass(layout, model.mapped(), base.snapshot, end, base.older);
}

/// One of the model's operations, chosen at random. `keep`: this snapshot stays.
void step(Model& model, std::mt19937& random, std::optional<std::uint64_t> keep, bool resizes) {
  const auto pick = [&](std::size_t below) {
    return std::uniform_int_distribution<std::size_t>(0, below - 1)(random);
  };
  const std::size_t moments = model.moments().size();
  switch (pick(10)) {
    case 0:
    case 1:
      model.snap();
      return;
    case 2:
      if (moments > 0) {
        const std::size_t index = pick(moments);
        if (model.moments()[index].snapshot.id != keep) model.remove(index);
      }
      return;
    case 3:
      if (moments > 0) model.roll_back(pick(moments));
      return;
    case 4:
      if (resizes) model.resize(4 + pick(12));
      return;
    case 5:
      model.discard(pick(16));
      return;
    default:
      for (std::size_t i = 0; i < 1 + pick(3); ++i) model.write(pick(16));
  }
}

}  // namespace

TEST_CASE("an object map is read as Ceph writes it") {
  // A snapshot's map of a real image of 16 objects (16.2.15).
  const std::string real(
      "\x0e\0\0\0\x01\x01\x08\0\0\0\x10\0\0\0\0\0\0\0\x44\x54\x04\x04\x0c\0\0\0\xe6\xb3\xc1\x6e\x01\0\0\0\x9e\xc1"
      "\x8d"
      "\x70",
      38);
  const ObjectMap map = ObjectMap::parse(real);
  CHECK(map.size() == 16);
  std::string states;
  for (std::uint64_t i = 0; i < 18; ++i) states += std::to_string(static_cast<int>(map[i]));
  CHECK(states == "101011100010001000");
  CHECK(static_cast<int>(ObjectMap::parse(render({ObjectState::clean, ObjectState::pending}))[1]) == 2);

  for (std::size_t length = 0; length < 22; ++length) {
    CAPTURE(length);
    CHECK_THROWS_AS(ObjectMap::parse(std::string_view(real).substr(0, length)), Error);
  }
  std::string newer = real;
  newer[5] = 2;
  CHECK_THROWS_AS(ObjectMap::parse(newer), Error);
  std::string huge = real;
  huge.replace(10, 8, 8, '\xff');
  CHECK_THROWS_AS(ObjectMap::parse(huge), Error);
}

TEST_CASE("what was written, discarded and made new since the base is listed, and no more") {
  Model model(16);
  for (const std::size_t object : {1, 2, 3, 9}) model.write(object);
  model.snap();
  model.write(5);
  model.snap();
  const Base base(model);
  model.write(2);
  model.discard(9);
  model.snap();
  model.write(3);
  model.write(12);
  const Snapshot end = model.snap();
  const FirstPass found = pass(model, base, end);
  CHECK(found.refused.empty());
  CHECK(found.ranges == std::vector<ByteRange>{{2 * object_bytes, 2 * object_bytes},
                                               {9 * object_bytes, object_bytes},
                                               {12 * object_bytes, object_bytes}});
  SUBCASE("of a striped image whole periods") {
    const FirstPass striped = first_pass({object_bytes, 4}, model.mapped(), base.snapshot, end, base.older);
    CHECK(striped.ranges == std::vector<ByteRange>{{0, 4 * object_bytes}, {8 * object_bytes, 8 * object_bytes}});
  }
}

TEST_CASE("a rollback past the base is not overlooked") {
  Model model(16);
  for (std::size_t object = 0; object < 8; ++object) model.write(object);
  model.snap();
  model.write(2);
  const Snapshot older = model.snap();
  model.write(5);
  model.snap();
  const Base base(model);
  model.write(7);
  SUBCASE("it is refused, though the maps do not tell of it") {
    model.roll_back(1);
    const Snapshot end = model.snap();
    RollbackTargets trusting = base.older;
    for (RollbackTarget& target : trusting.targets) target.changed.emplace();
    const FirstPass blind = first_pass(layout, model.mapped(), base.snapshot, end, trusting);
    CHECK(model.missed(base.snapshot.id, end.id, blind.ranges) == std::vector<std::size_t>{5});
    CHECK(pass(model, base, end).refused == "a rollback to s2 cannot be ruled out");
  }
  SUBCASE("also if that snapshot is gone since") {
    model.roll_back(1);
    model.remove(1);
    const Snapshot end = model.snap();
    CHECK(pass(model, base, end).refused == "a rollback to s2 cannot be ruled out");
  }
  SUBCASE("where there was none, it is ruled out") {
    const Snapshot end = model.snap();
    CHECK(pass(model, base, end).refused.empty());
    model.remove(1);
    CHECK(pass(model, base, end).refused.empty());
  }
  SUBCASE("nor where the witness was written by the guest: that is refused, too") {
    model.write(2);
    model.remove(1);
    const Snapshot end = model.snap();
    CHECK(pass(model, base, end).refused == "a rollback to s2 cannot be ruled out");
  }
  SUBCASE("and a snapshot that nobody kept a witness of is suspect") {
    const Snapshot end = model.snap();
    RollbackTargets fewer = base.older;
    fewer.targets.pop_back();
    CHECK(first_pass(layout, model.mapped(), base.snapshot, end, fewer).refused ==
          "a rollback to s3 cannot be ruled out");
    CHECK(older.name == "s2");
  }
}

TEST_CASE("a first pass is refused where the maps do not count") {
  Model model(16);
  for (std::size_t object = 0; object < 8; ++object) model.write(object);
  const Base base(model);
  model.write(3);
  model.resize(4);
  model.snap();
  model.resize(16);
  const Snapshot end = model.snap();
  CHECK(pass(model, base, end).refused == "its snapshot s2 is smaller than both");
  model.remove(1);
  CHECK(pass(model, base, end).refused.empty());

  std::vector<MappedSnapshot> maps = model.mapped();
  maps.back().map.reset();
  CHECK(first_pass(layout, maps, base.snapshot, end, base.older).refused ==
        "its snapshot s3 has no valid object map");
  CHECK(first_pass(layout, model.mapped(), base.snapshot, end, std::nullopt).refused ==
        "what was there to roll back to when s1 was made is not known");
  RollbackTargets another = base.older;
  another.base_id = 77;
  CHECK(first_pass(layout, model.mapped(), base.snapshot, end, another).refused ==
        "what was there to roll back to when s1 was made is not known");
  CHECK(first_pass(layout, model.mapped(), {99, "gone", 0}, end, base.older).refused == "a snapshot is missing");
  CHECK(first_pass(layout, model.mapped(), end, base.snapshot, base.older).refused == "a snapshot is missing");
}

TEST_CASE("whatever happens to an image, nothing that differs is outside of a first pass") {
  constexpr unsigned sequences = 30000;
  unsigned found = 0;
  unsigned blind = 0;
  for (unsigned seed = 0; seed < sequences; ++seed) {
    std::mt19937 random(seed);
    Model model(16);
    const bool resizes = seed % 3 == 0;
    for (int i = 0; i < 12; ++i) step(model, random, std::nullopt, resizes);
    const Base base(model, [&] {
      if (seed % 4 != 0) return;
      // Between the look and the snapshot the guest writes, and somebody makes a snapshot.
      model.write(seed);
      model.snap();
      model.write(seed / 16);
    });
    for (int i = 0; i < 8; ++i) step(model, random, base.snapshot.id, resizes);
    const Snapshot end = model.snap();
    for (int i = 0; i < 2; ++i) {
      step(model, random, base.snapshot.id, resizes);
      if (model.moments().back().snapshot.id < end.id) break;
    }
    const bool there = std::any_of(model.moments().begin(), model.moments().end(),
                                   [&](const Model::Moment& one) { return one.snapshot.id == end.id; });
    if (!there) continue;
    const FirstPass pass = ::pass(model, base, end);
    CAPTURE(seed);
    if (pass.refused.empty()) {
      ++found;
      REQUIRE(model.missed(base.snapshot.id, end.id, pass.ranges).empty());
      continue;
    }
    // The model has to be as blind as librbd, or this shows nothing.
    RollbackTargets trusting{base.snapshot.id, {}};
    for (const MappedSnapshot& one : model.mapped()) {
      trusting.targets.push_back({one.snapshot.id, one.snapshot.name, {}, std::vector<ByteRange>{}});
    }
    const FirstPass trusted = first_pass(layout, model.mapped(), base.snapshot, end, trusting);
    if (trusted.refused.empty() && !model.missed(base.snapshot.id, end.id, trusted.ranges).empty()) ++blind;
  }
  CHECK(found > sequences / 10);
  CHECK(blind > 30);
}

TEST_CASE("nor over many points, whose removal leaves less and less to go by") {
  constexpr unsigned sequences = 3000;
  unsigned found = 0;
  unsigned by_changes = 0;
  for (unsigned seed = 0; seed < sequences; ++seed) {
    std::mt19937 random(seed);
    Model model(16);
    for (int i = 0; i < 8; ++i) step(model, random, std::nullopt, false);
    std::optional<Base> base;
    std::vector<std::uint64_t> points;
    for (int run = 0; run < 8; ++run) {
      // Some guests rest most of the time.
      const unsigned steps = random() % (seed % 2 == 0 ? 3 : 7);
      for (unsigned i = 0; i < steps; ++i) {
        step(model, random, base ? std::optional(base->snapshot.id) : std::nullopt, seed % 3 == 0);
      }
      Base next(model);
      if (base) {
        const FirstPass pass = ::pass(model, *base, next.snapshot);
        CAPTURE(seed);
        CAPTURE(run);
        KnownChanges known{base->snapshot, base->older, {}, {}};
        if (pass.refused.empty()) {
          ++found;
          REQUIRE(model.missed(base->snapshot.id, next.snapshot.id, pass.ranges).empty());
          known.touched = pass.ranges;
        }
        std::vector<ByteRange> changed;
        for (const std::size_t object : model.missed(base->snapshot.id, next.snapshot.id, {})) {
          changed.push_back({object * object_bytes, object_bytes});
        }
        known.diff = changed;
        note_changes(next.older.targets, known);
        by_changes += static_cast<unsigned>(
            std::count_if(next.older.targets.begin(), next.older.targets.end(), [](const RollbackTarget& one) {
              return one.changed && one.witnesses.empty() && !one.changed->empty();
            }));
      }
      base = next;
      points.push_back(next.snapshot.id);
      // Retention: the newest three stay.
      if (points.size() > 3) {
        for (std::size_t i = 0; i < model.moments().size(); ++i) {
          if (model.moments()[i].snapshot.id == points.front()) model.remove(i);
        }
        points.erase(points.begin());
      }
    }
  }
  CHECK(found > sequences);
  CHECK(by_changes > 100);
}

TEST_CASE("what is known to differ from a base is kept from one to the next, unless it is much") {
  const Snapshot base{5, "base", 0};
  const auto note = [&](const std::vector<ByteRange>& before, const std::vector<ByteRange>& changed) {
    std::vector<RollbackTarget> targets{
        {3, "older", {}, {}}, {4, "manual", {}, {}}, {5, "base", {}, {}}, {6, "new", {}, {}}};
    const RollbackTargets older{5, {{3, "older", {}, before}, {4, "manual", {7}, {}}}};
    note_changes(targets, {base, older, changed, std::vector<ByteRange>{{0, 99}}});
    CHECK_FALSE(targets[1].changed);
    CHECK(targets[2].changed == changed);
    CHECK(targets[3].changed == std::vector<ByteRange>{{0, 99}});
    return targets[0].changed;
  };
  CHECK(note({{0, 8}}, {}) == std::vector<ByteRange>{{0, 8}});
  CHECK(note({{0, 8}, {20, 4}}, {{4, 8}, {40, 1}}) == std::vector<ByteRange>{{0, 12}, {20, 4}, {40, 1}});
  std::vector<ByteRange> many;
  for (std::uint64_t i = 0; i < max_noted_ranges; ++i) many.push_back({8 * i, 4});
  CHECK(note({}, many) == many);
  CHECK_FALSE(note({{1000, 4}}, many));

  std::vector<RollbackTarget> targets{{3, "older", {}, {}}};
  note_changes(
      targets,
      {base, RollbackTargets{4, {{3, "older", {}, std::vector<ByteRange>{}}}}, std::vector<ByteRange>{}, {}});
  CHECK_FALSE(targets[0].changed);
}
