// The contract of ImageStore: every store this run can reach is put through every case.
#include <doctest/doctest.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "contract/store_harness.hpp"
#include "crossover/error.hpp"
#include "plan/transfer_progress.hpp"
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
  layout.features = image_feature::layering | image_feature::exclusive_lock;
  return layout;
}

ImageSpec make_image(StoreHarness& harness, const ImageLayout& layout) {
  const ImageSpec image = harness.new_image();
  harness.store().create(image, layout);
  return image;
}

/// Whether a head reads as a snapshot, as whoever only looks at the image and whoever holds it are told.
bool is_unchanged(ImageStore& store, const ImageSpec& image, const Snapshot& base) {
  const bool answer = store.head_unchanged_since(image, base, {});
  CHECK(store.hold(image, {})->head_unchanged_since(base, {}) == answer);
  return answer;
}

template <typename Action>
std::string code_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(!error.cause().empty());
    return std::string(to_string(error.code()));
  }
  return "none";
}

/// Keeps what it is given and checks the rules of a sink's caller.
class RecordingSink final : public DiffSink {
 public:
  struct Record {
    std::uint64_t offset;
    std::uint64_t length;
    bool is_zero;
  };
  std::uint64_t size_bytes = 0;
  int sizes = 0;
  int ends = 0;
  std::vector<Record> records;

  void size(std::uint64_t size) override {
    size_bytes = size;
    ++sizes;
  }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override { take(offset, bytes.size(), false); }
  void zero(std::uint64_t offset, std::uint64_t length) override { take(offset, length, true); }
  void finish() override { ++ends; }

  [[nodiscard]] std::uint64_t bytes(bool is_zero) const {
    std::uint64_t sum = 0;
    for (const Record& record : records) {
      if (record.is_zero == is_zero) sum += record.length;
    }
    return sum;
  }

 private:
  void take(std::uint64_t offset, std::uint64_t length, bool is_zero) {
    REQUIRE(sizes == 1);
    REQUIRE(ends == 0);
    REQUIRE(length > 0);
    if (!records.empty()) REQUIRE(offset >= records.back().offset + records.back().length);
    REQUIRE(offset + length <= size_bytes);
    records.push_back({offset, length, is_zero});
  }
};

/// Passes records on and does something at the first.
class InterruptingSink final : public DiffSink {
 public:
  explicit InterruptingSink(std::function<void()> at_first) : at_first_(std::move(at_first)) {}
  void size(std::uint64_t) override {}
  void data(std::uint64_t, std::span<const std::byte>) override { interrupt(); }
  void zero(std::uint64_t, std::uint64_t) override { interrupt(); }
  void finish() override { finished = true; }
  bool finished = false;

 private:
  void interrupt() {
    if (at_first_) std::exchange(at_first_, nullptr)();
  }
  std::function<void()> at_first_;
};

/// Brings `from`..`to` of one image to another and makes the end snapshot there.
Snapshot replicate(StoreHarness& source, const ImageSpec& image, const std::optional<Snapshot>& from,
                   const Snapshot& to, StoreHarness& target, const ImageSpec& replica) {
  {
    const auto sink = test::write_diff(target.store(), replica, {}, {});
    source.store().read_diff(image, from, to, 0, *sink, {});
  }
  return target.store().create_snapshot(replica, to.name);
}

void check_same(StoreHarness& source, const ImageSpec& image, StoreHarness& target, const ImageSpec& replica,
                const std::string& snapshot) {
  // Not CHECK(a == b), which would print both.
  const bool is_same = source.content(image, snapshot) == target.content(replica, snapshot);
  CHECK(is_same);
}

/// Runs a case with each store.
template <typename Case>
void each_store(const Case& run) {
  for (const auto& harness : harnesses()) {
    CAPTURE(harness->name());
    run(*harness);
  }
}

/// Runs a case with each store as the source and each as the target.
template <typename Case>
void each_pair(const Case& run) {
  for (const auto& source : harnesses()) {
    for (const auto& target : harnesses()) {
      CAPTURE(source->name());
      CAPTURE(target->name());
      run(*source, *target);
    }
  }
}

}  // namespace

TEST_CASE("a store knows its cluster") {
  each_store([](StoreHarness& harness) {
    const std::string fsid = harness.store().fsid();
    CHECK(fsid.size() == 36);
    CHECK(harness.store().fsid() == fsid);
  });
}

TEST_CASE("an image is made once, found as it was made, and removed") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    ImageLayout layout;
    layout.size_bytes = 5 * mib + 12345;
    layout.order = 20;
    layout.features = image_feature::layering | image_feature::exclusive_lock | image_feature::object_map |
                      image_feature::fast_diff | image_feature::deep_flatten | image_feature::journaling;
    const ImageSpec image = harness.new_image();
    CHECK_FALSE(store.find(image));
    store.create(image, layout);
    CHECK(code_of([&] { store.create(image, layout); }) == "already_exists");
    const std::optional<ImageState> state = store.find(image);
    REQUIRE(state);
    CHECK(!state->id.empty());
    CHECK(state->pool_id > 0);
    CHECK(state->layout.size_bytes == layout.size_bytes);
    CHECK(state->layout.order == 20);
    CHECK(state->layout.features == (layout.features & ~image_feature::journaling));
    CHECK(state->layout.stripe_count == 0);
    CHECK(state->layout.data_pool.empty());
    CHECK(state->parent.empty());
    CHECK(state->snapshots.empty());
    CHECK(state->metadata.empty());
    CHECK(state->watchers.empty());
    store.remove(image);
    CHECK_FALSE(store.find(image));
    CHECK(code_of([&] { store.remove(image); }) == "not_found");
  });
}

TEST_CASE("an image in the trash is kept, and its name is free") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(4 * mib));
    harness.write(image, 0, pattern(4096, 1));
    store.create_snapshot(image, "one");
    const std::string id = store.find(image)->id;
    CHECK(harness.kept_in_trash(image, id).count() < 0);
    store.trash(image, std::chrono::hours(48));
    CHECK_FALSE(store.find(image));
    const std::chrono::seconds kept = harness.kept_in_trash(image, id);
    CHECK(kept > std::chrono::hours(47));
    CHECK(kept <= std::chrono::hours(48) + std::chrono::seconds(1));
    CHECK(code_of([&] { store.trash(image, std::chrono::hours(1)); }) == "not_found");
    store.create(image, plain(8 * mib));
    CHECK(store.find(image)->id != id);
    CHECK(harness.kept_in_trash(image, id) > std::chrono::hours(47));
  });
}

TEST_CASE("an image gets the exclusive lock, and no feature without those it needs") {
  each_store([](StoreHarness& harness) {
    ImageLayout layout;
    layout.size_bytes = mib;
    const ImageSpec image = make_image(harness, layout);
    CHECK((harness.store().find(image)->layout.features & image_feature::exclusive_lock) != 0);
  });
}

TEST_CASE("stripes are kept") {
  each_store([](StoreHarness& harness) {
    ImageLayout layout = plain(8 * mib);
    layout.order = 18;
    layout.stripe_unit = 16384;
    layout.stripe_count = 5;
    const ImageSpec image = make_image(harness, layout);
    const ImageLayout made = harness.store().find(image)->layout;
    CHECK(made.order == 18);
    CHECK(made.stripe_unit == 16384);
    CHECK(made.stripe_count == 5);
    CHECK((made.features & image_feature::striping) != 0);
  });
}

TEST_CASE("many images are found in their order, missing ones too") {
  each_store([](StoreHarness& harness) {
    std::vector<ImageSpec> images;
    for (int count = 0; count < 9; ++count) {
      images.push_back(count % 3 == 1 ? harness.new_image()
                                      : make_image(harness, plain(mib * (1 + images.size()))));
    }
    const auto states = harness.store().find_all(images);
    REQUIRE(states.size() == images.size());
    for (std::size_t index = 0; index < images.size(); ++index) {
      CHECK(states[index].has_value() == (index % 3 != 1));
      CHECK(states[index] == harness.store().find(images[index]));
      if (states[index]) CHECK(states[index]->layout.size_bytes == mib * (1 + index));
    }
    CHECK(harness.store().find_all({}).empty());
  });
}

TEST_CASE("metadata comes back as it was set") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(mib));
    std::map<std::string, std::string> expected{
        {"crossover.replica", R"({"name":"a \"b\"","list":[1,2],"path":"C:\\x"})"},
        {"crossover.lines", "first\nsecond\n\n\tfourth\r\nlast\n"},
        {"crossover.dash", "--help"},
        {"crossover.space", "  two spaces around  "},
        {"crossover.unicode", "Größe 大きさ \xF0\x9F\x92\xBE"},
        {"crossover.shell", "$(touch /tmp/no) `id` 'single' \"double\" ; & | * ? \\"},
        {"crossover.config.crossover-job-20240102T030405Z", std::string(20000, 'x') + "\n"},
    };
    for (const auto& [key, value] : expected) store.set_metadata(image, key, value);
    CHECK(store.find(image)->metadata == expected);
    store.set_metadata(image, "crossover.replica", "new");
    expected["crossover.replica"] = "new";
    store.remove_metadata(image, "crossover.lines");
    store.remove_metadata(image, "crossover.lines");
    store.remove_metadata(image, "crossover.never");
    expected.erase("crossover.lines");
    store.set_metadata(image, "other.key", "not ours");
    CHECK(store.find(image)->metadata == expected);
    ImageSpec missing = harness.new_image();
    CHECK(code_of([&] { store.set_metadata(missing, "crossover.a", "b"); }) == "not_found");
    CHECK(code_of([&] { store.remove_metadata(missing, "crossover.a"); }) == "not_found");
  });
}

TEST_CASE("metadata is replaced only if it is what was expected") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(mib));
    const std::string key = "crossover.migration";
    const auto value = [&]() -> std::optional<std::string> {
      const ImageState state = store.find(image).value();
      const auto found = state.metadata.find(key);
      return found == state.metadata.end() ? std::nullopt : std::optional(found->second);
    };
    const std::string first = R"({"step":"switching"})";
    CHECK_FALSE(store.replace_metadata(image, key, first, "other"));
    CHECK_FALSE(store.replace_metadata(image, key, first, std::nullopt));
    CHECK_FALSE(value());
    CHECK(store.replace_metadata(image, key, std::nullopt, first));
    CHECK(value() == first);
    CHECK_FALSE(store.replace_metadata(image, key, std::nullopt, "other"));
    CHECK_FALSE(store.replace_metadata(image, key, first + " ", "other"));
    CHECK_FALSE(store.replace_metadata(image, key, first.substr(1), std::nullopt));
    CHECK(value() == first);
    // What set_metadata() wrote, and what it will overwrite, are the same value.
    store.set_metadata(image, key, "second");
    CHECK(store.replace_metadata(image, key, "second", "third"));
    CHECK(value() == "third");
    store.set_metadata(image, key, "fourth");
    CHECK(value() == "fourth");
    CHECK(store.replace_metadata(image, key, "fourth", std::nullopt));
    CHECK_FALSE(value());
    CHECK(code_of([&] { (void)store.replace_metadata(harness.new_image(), key, std::nullopt, "x"); }) == "not_found");
  });
}

TEST_CASE("snapshots are known by name and id") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(mib));
    const Snapshot z = store.create_snapshot(image, "z-first");
    harness.resize(image, 2 * mib);
    const Snapshot a = store.create_snapshot(image, "a-second");
    CHECK(z.id < a.id);
    CHECK(z.name == "z-first");
    CHECK(z.size_bytes == mib);
    CHECK(a.size_bytes == 2 * mib);
    CHECK(store.find(image)->snapshots == std::vector{z, a});
    CHECK(code_of([&] { store.create_snapshot(image, "a-second"); }) == "already_exists");
    CHECK(code_of([&] { store.create_snapshot(harness.new_image(), "a"); }) == "not_found");
    CHECK(code_of([&] { store.remove(image); }) != "none");
    CHECK(store.find(image)->snapshots == std::vector{z, a});

    Snapshot other = z;
    other.id += 1000;
    CHECK(code_of([&] { store.remove_snapshot(image, other); }) == "conflict");
    store.remove_snapshot(image, z);
    store.remove_snapshot(image, z);
    CHECK(store.find(image)->snapshots == std::vector{a});
    const Snapshot again = store.create_snapshot(image, "z-first");
    CHECK(again.id > a.id);
    CHECK(code_of([&] { store.remove_snapshot(image, z); }) == "conflict");

    harness.protect(image, "a-second", true);
    CHECK(code_of([&] { store.remove_snapshot(image, a); }) == "conflict");
    harness.protect(image, "a-second", false);
    store.remove_snapshot(image, a);
    store.remove_snapshot(image, again);
    store.remove(image);
    store.remove_snapshot(image, a);
  });
}

TEST_CASE("what a store reads every store can write") {
  each_pair([](StoreHarness& source, StoreHarness& target) {
    const ImageSpec image = make_image(source, plain(20 * mib + 1000));
    source.write(image, 0, pattern(100, 1));
    source.write(image, 4 * mib - 50, pattern(100, 2));
    source.write(image, 9 * mib + 4096, pattern(300000, 3));
    source.write(image, 20 * mib, pattern(1000, 4));
    const Snapshot one = source.store().create_snapshot(image, "one");
    const ImageSpec replica = make_image(target, plain(mib));
    replicate(source, image, std::nullopt, one, target, replica);
    check_same(source, image, target, replica, "one");

    source.write(image, 4 * mib, pattern(10, 5));
    source.zero(image, 9 * mib + 8192, 100000);
    source.discard(image, 0, 4 * mib);
    const Snapshot two = source.store().create_snapshot(image, "two");
    replicate(source, image, one, two, target, replica);
    check_same(source, image, target, replica, "two");

    source.resize(image, 9 * mib + 5000);
    const Snapshot three = source.store().create_snapshot(image, "three");
    source.resize(image, 24 * mib);
    source.write(image, 23 * mib, pattern(5000, 6));
    const Snapshot four = source.store().create_snapshot(image, "four");
    replicate(source, image, two, three, target, replica);
    check_same(source, image, target, replica, "three");
    replicate(source, image, three, four, target, replica);
    check_same(source, image, target, replica, "four");

    // All of it once more, in one step.
    const ImageSpec second = make_image(target, plain(20 * mib + 1000));
    replicate(source, image, std::nullopt, two, target, second);
    replicate(source, image, two, four, target, second);
    check_same(source, image, target, second, "four");
  });
}

TEST_CASE("an image without content is one size, and an unchanged one nothing more") {
  each_store([](StoreHarness& harness) {
    const ImageSpec image = make_image(harness, plain(40 * mib));
    const Snapshot one = harness.store().create_snapshot(image, "one");
    const Snapshot two = harness.store().create_snapshot(image, "two");
    for (const auto& from : {std::optional<Snapshot>{}, std::optional{one}}) {
      RecordingSink sink;
      harness.store().read_diff(image, from, two, 0, sink, {});
      CHECK(sink.size_bytes == 40 * mib);
      CHECK(sink.sizes == 1);
      CHECK(sink.ends == 1);
      CHECK(sink.records.empty());
    }
  });
}

TEST_CASE("a diff holds what was written and little more") {
  each_store([](StoreHarness& harness) {
    const ImageSpec image = make_image(harness, plain(64 * mib));
    harness.write(image, 0, pattern(16 * mib, 1));
    const Snapshot one = harness.store().create_snapshot(image, "one");
    harness.write(image, 5 * mib + 512, pattern(1024, 2));
    harness.write(image, 12 * mib, std::vector<std::byte>(65536));
    harness.discard(image, 8 * mib, 4 * mib);
    const Snapshot two = harness.store().create_snapshot(image, "two");
    RecordingSink full;
    harness.store().read_diff(image, std::nullopt, one, 0, full, {});
    CHECK(full.bytes(false) == 16 * mib);
    CHECK(full.bytes(true) == 0);
    RecordingSink sink;
    harness.store().read_diff(image, one, two, 0, sink, {});
    CHECK(sink.bytes(false) <= 4096);
    CHECK(sink.bytes(true) == 4 * mib + 65536);
    // Neighbouring zeroes are one record, wherever they came from.
    CHECK(sink.records.size() == 2);
  });
}

TEST_CASE("a diff is refused for snapshots that are not what they were") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(mib));
    const Snapshot one = store.create_snapshot(image, "one");
    const Snapshot two = store.create_snapshot(image, "two");
    store.remove_snapshot(image, one);
    RecordingSink sink;
    CHECK(code_of([&] { store.read_diff(image, one, two, 0, sink, {}); }) == "not_found");
    const Snapshot again = store.create_snapshot(image, "one");
    CHECK(code_of([&] { store.read_diff(image, one, two, 0, sink, {}); }) == "conflict");
    CHECK(code_of([&] { store.read_diff(image, std::nullopt, one, 0, sink, {}); }) == "conflict");
    CHECK(code_of([&] { store.read_diff(image, again, two, 0, sink, {}); }) == "usage");
    CHECK(code_of([&] { store.read_diff(image, two, two, 0, sink, {}); }) == "usage");
    CHECK(code_of([&] { store.read_diff(harness.new_image(), {}, two, 0, sink, {}); }) == "not_found");
    CHECK(code_of([&] { store.head_unchanged_since(image, one, {}); }) == "conflict");
    CHECK(code_of([&] { store.hold(image, {})->head_unchanged_since(one, {}); }) == "conflict");
    CHECK(code_of([&] { test::roll_back(store, image, one, {}); }) == "conflict");
    CHECK(sink.ends == 0);
  });
}

/// Puts together what it is given, and insists that it was given every byte of the ranges.
class RangeSink final : public DiffSink {
 public:
  std::uint64_t size_bytes = 0;
  std::map<std::uint64_t, std::vector<std::byte>> pieces;
  int ends = 0;

  void size(std::uint64_t size) override { size_bytes = size; }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    piece(offset).insert(piece_end_, bytes.begin(), bytes.end());
    position_ = offset + bytes.size();
  }
  void zero(std::uint64_t offset, std::uint64_t length) override {
    piece(offset).insert(piece_end_, length, std::byte{0});
    position_ = offset + length;
  }
  void finish() override { ++ends; }

 private:
  std::vector<std::byte>& piece(std::uint64_t offset) {
    REQUIRE(offset >= position_);
    if (pieces.empty() || offset != position_) pieces[offset];
    std::vector<std::byte>& last = pieces.rbegin()->second;
    piece_end_ = last.end();
    return last;
  }
  std::uint64_t position_ = 0;
  std::vector<std::byte>::iterator piece_end_;
};

/// Written here, discarded there, with zeroes as data, and with an end inside a block.
Snapshot make_varied(StoreHarness& harness, const ImageSpec& image) {
  harness.write(image, 0, pattern(300, 1));
  harness.write(image, 5 * mib - 100, pattern(9000, 2));
  harness.write(image, 12 * mib, pattern(4 * mib, 3));
  harness.discard(image, 13 * mib, mib);
  harness.write(image, 14 * mib, std::vector<std::byte>(65536));
  harness.write(image, 20 * mib, std::vector<std::byte>(65536));
  harness.write(image, 28 * mib + 4096, pattern(904, 4));
  const Snapshot snapshot = harness.store().create_snapshot(image, "varied");
  harness.write(image, 12 * mib, pattern(mib, 5));
  harness.resize(image, 3 * mib);
  return snapshot;
}

constexpr std::uint64_t varied_bytes = 28 * mib + 5000;

std::vector<BlockHash> hashes(ImageStore& store, const ImageSpec& image, const Snapshot& snapshot,
                              const BlockSelection& blocks) {
  std::vector<BlockHash> taken;
  store.hash_blocks(image, snapshot, blocks, [&taken](const BlockHash& hash) { taken.push_back(hash); }, {});
  return taken;
}

std::vector<BlockHash> expected_hashes(const std::vector<std::byte>& content, const BlockSelection& blocks) {
  std::vector<BlockHash> expected;
  for (const ByteRange& range : blocks.ranges) {
    const std::uint64_t end = std::min<std::uint64_t>(range.offset + range.length_bytes, content.size());
    for (std::uint64_t offset = range.offset; offset < end; offset += blocks.block_bytes) {
      const std::uint64_t number = offset / blocks.block_bytes;
      if (blocks.sample) {
        const std::uint64_t hash = XXH3_64bits_withSeed(&number, sizeof number, blocks.sample->seed);
        if (hash >= ~std::uint64_t{0} / 1'000'000 * blocks.sample->per_million) continue;
      }
      std::vector<std::byte> block(blocks.block_bytes);
      const std::uint64_t length = std::min(blocks.block_bytes, content.size() - offset);
      std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(offset), length, block.begin());
      if (std::all_of(block.begin(), block.end(), [](std::byte byte) { return byte == std::byte{0}; })) continue;
      const XXH128_hash_t hash = XXH3_128bits(block.data(), block.size());
      expected.push_back({number, hash.high64, hash.low64});
    }
  }
  return expected;
}

TEST_CASE("ranges of a snapshot come whole, holes as zeroes, and nothing else") {
  each_store([](StoreHarness& harness) {
    const ImageSpec image = make_image(harness, plain(varied_bytes));
    const Snapshot snapshot = make_varied(harness, image);
    const std::vector<std::byte> content = harness.content(image, "varied");
    const std::vector<ByteRange> ranges{{100, 4000},         {5 * mib - 50, 30},      {5 * mib, 100},
                                        {6 * mib, 1},        {12 * mib + 7, 8 * mib}, {28 * mib + 4500, 9000},
                                        {100 * mib, 5 * mib}};
    RangeSink sink;
    harness.store().read_ranges(image, snapshot, ranges, sink, {});
    CHECK(sink.size_bytes == varied_bytes);
    CHECK(sink.ends == 1);
    REQUIRE(sink.pieces.size() == 6);
    for (const auto& [offset, bytes] : sink.pieces) {
      CAPTURE(offset);
      const bool is_asked_for = std::any_of(ranges.begin(), ranges.end(), [&](const ByteRange& range) {
        return range.offset == offset && std::min(range.length_bytes, varied_bytes - offset) == bytes.size();
      });
      CHECK(is_asked_for);
      CHECK(std::equal(bytes.begin(), bytes.end(), content.begin() + static_cast<std::ptrdiff_t>(offset)));
    }
    RangeSink nothing;
    harness.store().read_ranges(image, snapshot, {}, nothing, {});
    CHECK(nothing.pieces.empty());
    CHECK(nothing.ends == 1);
  });
}

TEST_CASE("blocks are hashed by their content, however it was written") {
  each_store([](StoreHarness& harness) {
    const ImageSpec image = make_image(harness, plain(varied_bytes));
    const Snapshot snapshot = make_varied(harness, image);
    const std::vector<std::byte> content = harness.content(image, "varied");
    for (const BlockSelection& blocks :
         {BlockSelection{4 * mib, {{0, 32 * mib}}}, BlockSelection{4096, {{0, 32 * mib}}},
          BlockSelection{65536, {{0, 65536}, {5 * mib, 65536}, {13 * mib, 3 * mib}}},
          BlockSelection{4 * mib, {{24 * mib, 8 * mib}, {400 * mib, 4 * mib}}}, BlockSelection{4 * mib, {}}}) {
      CAPTURE(blocks.block_bytes);
      const bool is_same = hashes(harness.store(), image, snapshot, blocks) == expected_hashes(content, blocks);
      CHECK(is_same);
    }
    CHECK(hashes(harness.store(), image, snapshot, {4 * mib, {{0, 32 * mib}}}).size() == 4);
  });
}

TEST_CASE("a sample is the same blocks in every store, or refused") {
  each_store([](StoreHarness& harness) {
    const ImageSpec image = make_image(harness, plain(varied_bytes));
    const Snapshot snapshot = make_varied(harness, image);
    BlockSelection blocks{4096, {{0, 32 * mib}}, BlockSample{250'000, 7}};
    if (harness.name() == "rbd command") {
      CHECK(code_of([&] { hashes(harness.store(), image, snapshot, blocks); }) == "unsupported");
      return;
    }
    const std::vector<std::byte> content = harness.content(image, "varied");
    const std::vector<BlockHash> first = hashes(harness.store(), image, snapshot, blocks);
    CHECK(first.size() > 100);
    CHECK(first.size() < 400);
    CHECK((first == expected_hashes(content, blocks)));
    blocks.sample->seed = 8;
    CHECK((hashes(harness.store(), image, snapshot, blocks) == expected_hashes(content, blocks)));
    CHECK((hashes(harness.store(), image, snapshot, blocks) != first));
    blocks.sample->per_million = 1'000'000;
    CHECK((hashes(harness.store(), image, snapshot, blocks) ==
           hashes(harness.store(), image, snapshot, {4096, {{0, 32 * mib}}})));
  });
}

TEST_CASE("hashes are refused of snapshots that are not what they were, and of what are no blocks") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(8 * mib));
    harness.write(image, 0, pattern(mib, 1));
    const Snapshot one = store.create_snapshot(image, "one");
    const auto code = [&](const Snapshot& snapshot, const BlockSelection& blocks) {
      return code_of([&] { hashes(store, image, snapshot, blocks); });
    };
    const BlockSelection whole{4 * mib, {{0, 8 * mib}}};
    for (const BlockSelection& wrong :
         {BlockSelection{0, {}}, BlockSelection{2048, {}}, BlockSelection{8 * mib, {}}, BlockSelection{5000, {}},
          BlockSelection{4096, {{100, 4096}}}, BlockSelection{4096, {{0, 100}}},
          BlockSelection{4096, {{4096, 4096}, {0, 4096}}}, BlockSelection{4096, {}, BlockSample{0, 1}},
          BlockSelection{4096, {}, BlockSample{1'000'001, 1}}}) {
      if (wrong.sample && harness.name() == "rbd command") continue;
      CHECK(code(one, wrong) == "usage");
    }
    RangeSink sink;
    const std::vector<ByteRange> range{{0, 10}};
    Snapshot other = one;
    other.id += 1000;
    CHECK(code(other, whole) == "conflict");
    CHECK(code_of([&] { store.read_ranges(image, other, range, sink, {}); }) == "conflict");
    store.remove_snapshot(image, one);
    CHECK(code(one, whole) == "not_found");
    CHECK(code_of([&] { store.read_ranges(image, one, range, sink, {}); }) == "not_found");
    CHECK(code_of([&] { hashes(store, harness.new_image(), one, whole); }) == "not_found");
    CHECK(sink.ends == 0);
  });
}

TEST_CASE("a head is unchanged until it is written or resized") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(300 * mib));
    harness.write(image, 200 * mib, pattern(5000, 1));
    Snapshot base = store.create_snapshot(image, "one");
    CHECK(is_unchanged(store, image, base));
    harness.write(image, 299 * mib, pattern(512, 2));
    CHECK_FALSE(is_unchanged(store, image, base));
    base = store.create_snapshot(image, "two");
    CHECK(is_unchanged(store, image, base));
    harness.resize(image, 301 * mib);
    CHECK_FALSE(is_unchanged(store, image, base));
    base = store.create_snapshot(image, "three");
    harness.resize(image, 150 * mib);
    CHECK_FALSE(is_unchanged(store, image, base));
    base = store.create_snapshot(image, "four");
    harness.write(image, 0, pattern(1, 1));
    CHECK_FALSE(is_unchanged(store, image, base));
  });
}

TEST_CASE("a head that was rolled back reads as its snapshot") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(300 * mib));
    harness.write(image, 200 * mib, pattern(5000, 1));
    harness.write(image, 100 * mib, pattern(70000, 3));
    const Snapshot base = store.create_snapshot(image, "one");
    harness.write(image, 200 * mib, pattern(6000, 2));
    test::roll_back(store, image, base, {});
    // The stock command would have to fetch what is listed.
    const bool can_tell = harness.name() != "rbd command";
    CHECK(is_unchanged(store, image, base) == can_tell);
    harness.write(image, 200 * mib + 4999, pattern(1, 7));
    CHECK_FALSE(is_unchanged(store, image, base));
  });
}

TEST_CASE("a head is rolled back, size included") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(8 * mib));
    harness.write(image, 1000, pattern(5 * mib, 1));
    const Snapshot one = store.create_snapshot(image, "one");
    const auto before = harness.content(image, "");
    harness.write(image, 0, pattern(4096, 2));
    harness.resize(image, 2 * mib);
    test::roll_back(store, image, one, {});
    const bool is_same = harness.content(image, "") == before;
    CHECK(is_same);
    test::roll_back(store, image, one, {});
    CHECK(store.find(image)->layout.size_bytes == 8 * mib);
  });
}

TEST_CASE("changes around a rollback are not missed") {
  each_pair([](StoreHarness& source, StoreHarness& target) {
    ImageLayout layout = plain(8 * mib);
    layout.features |= image_feature::object_map | image_feature::fast_diff;
    const ImageSpec image = make_image(source, layout);
    source.write(image, 0, pattern(4 * mib, 1));
    source.store().create_snapshot(image, "s0");
    const Snapshot s1 = source.store().create_snapshot(image, "s1");
    source.write(image, 0, pattern(4 * mib, 2));
    const Snapshot s2 = source.store().create_snapshot(image, "s2");
    test::roll_back(source.store(), image, s1, {});
    const Snapshot s3 = source.store().create_snapshot(image, "s3");
    const ImageSpec replica = make_image(target, layout);
    replicate(source, image, std::nullopt, s2, target, replica);
    replicate(source, image, s2, s3, target, replica);
    check_same(source, image, target, replica, "s3");

    source.resize(image, mib);
    source.store().create_snapshot(image, "s4");
    source.resize(image, 8 * mib);
    const Snapshot s5 = source.store().create_snapshot(image, "s5");
    replicate(source, image, s3, s5, target, replica);
    check_same(source, image, target, replica, "s5");
  });
}

TEST_CASE("an image that is held is looked at, written, marked and cut off through its hold") {
  each_store([](StoreHarness& harness) {
    const ImageSpec image = make_image(harness, plain(8 * mib));
    harness.write(image, 0, pattern(mib, 1));
    const Snapshot one = harness.store().create_snapshot(image, "one");
    const std::unique_ptr<ImageHold> hold = harness.store().hold(image, {});
    CHECK(hold->state().watchers.empty());
    CHECK(hold->state().snapshots == std::vector{one});
    hold->set_metadata("crossover.test", "a");
    hold->set_metadata("crossover.other", "b");
    hold->remove_metadata("crossover.other");
    hold->remove_metadata("crossover.never");
    CHECK(hold->state().metadata.at("crossover.test") == "a");
    CHECK_FALSE(hold->state().metadata.contains("crossover.other"));
    const auto bytes = pattern(mib, 2);
    {
      const auto sink = hold->write_diff({}, {});
      sink->size(4 * mib);
      sink->data(mib, bytes);
      sink->finish();
    }
    const Snapshot two = hold->create_snapshot("two");
    CHECK(two.size_bytes == 4 * mib);
    CHECK(two.id > one.id);
    CHECK(code_of([&] { hold->create_snapshot("two"); }) == "already_exists");
    hold->roll_back(one, {});
    CHECK(hold->state().layout.size_bytes == 8 * mib);
    {
      // One after another.
      const auto sink = hold->write_diff({}, {});
      sink->size(8 * mib);
      sink->zero(0, 4096);
      sink->finish();
    }
    const Snapshot three = hold->create_snapshot("three");
    CHECK(harness.store().find(image)->snapshots == std::vector{one, two, three});
    std::vector<std::byte> expected = pattern(mib, 1);
    expected.resize(8 * mib);
    std::fill_n(expected.begin(), 4096, std::byte{0});
    const bool is_same = harness.content(image, "three") == expected;
    CHECK(is_same);
  });
}

TEST_CASE("an image that is not there is not held") {
  each_store([](StoreHarness& harness) {
    CHECK(code_of([&] { harness.store().hold(harness.new_image(), {}); }) == "not_found");
  });
}

TEST_CASE("a transfer that broke off is repeated") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(8 * mib));
    const ImageSpec replica = make_image(harness, plain(8 * mib));
    harness.write(image, 0, pattern(8 * mib, 1));
    const Snapshot one = store.create_snapshot(image, "one");
    {
      const auto sink = test::write_diff(store, replica, {}, {});
      sink->size(8 * mib);
      sink->data(0, pattern(mib, 9));
      sink->data(mib, pattern(4 * mib, 9));
    }
    CHECK(store.find(replica)->snapshots.empty());
    // The stock command may still be busy with what it was given.
    for (int attempt = 0; attempt < 50 && !store.find(replica)->watchers.empty(); ++attempt) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    replicate(harness, image, std::nullopt, one, harness, replica);
    check_same(harness, image, harness, replica, "one");
  });
}

TEST_CASE("a sink refuses what is out of order or out of the image") {
  each_store([](StoreHarness& harness) {
    const ImageSpec image = make_image(harness, plain(mib));
    const auto bytes = pattern(4096, 1);
    const auto refuses = [&](const std::function<void(DiffSink&)>& action) {
      const auto sink = test::write_diff(harness.store(), image, {}, {});
      return code_of([&] { action(*sink); });
    };
    CHECK(refuses([&](DiffSink& sink) { sink.data(0, bytes); }) == "usage");
    CHECK(refuses([&](DiffSink& sink) { sink.finish(); }) == "usage");
    CHECK(refuses([&](DiffSink& sink) {
            sink.size(mib);
            sink.size(mib);
          }) == "usage");
    CHECK(refuses([&](DiffSink& sink) {
            sink.size(mib);
            sink.data(mib - 4095, bytes);
          }) == "usage");
    CHECK(refuses([&](DiffSink& sink) {
            sink.size(mib);
            sink.zero(mib, 1);
          }) == "usage");
    CHECK(refuses([&](DiffSink& sink) {
            sink.size(mib);
            sink.zero(8192, ~0ULL - 8191);
          }) == "usage");
    CHECK(refuses([&](DiffSink& sink) {
            sink.size(mib);
            sink.data(8192, bytes);
            sink.zero(8192 + 4095, 1);
          }) == "usage");
    CHECK(code_of([&] { test::write_diff(harness.store(), harness.new_image(), {}, {}); }) == "not_found");
  });
}

TEST_CASE("a diff begins where it is told to, and what lies before is cut off") {
  each_store([](StoreHarness& harness) {
    for (const std::uint64_t stripes : {1, 4}) {
      ImageLayout layout = plain(20 * mib);
      layout.order = 20;
      if (stripes > 1) layout.stripe_unit = 65536;
      layout.stripe_count = stripes;
      const ImageSpec image = make_image(harness, layout);
      harness.write(image, mib, pattern(3 * mib, 1));
      harness.write(image, 9 * mib, pattern(2 * mib, 2));
      const Snapshot one = harness.store().create_snapshot(image, "one");
      harness.write(image, 2 * mib, pattern(mib, 3));
      harness.zero(image, 9 * mib, mib);
      harness.write(image, 12 * mib + 4096, pattern(9000, 4));
      const Snapshot two = harness.store().create_snapshot(image, "two");
      for (const auto& from : {std::optional<Snapshot>{}, std::optional{one}}) {
        RecordingSink all;
        harness.store().read_diff(image, from, two, 0, all, {});
        for (const std::uint64_t offset :
             {std::uint64_t{4096}, mib, 2 * mib + 4096, 2 * mib + 777, 9 * mib + 512, 12 * mib, 20 * mib}) {
          CAPTURE(offset);
          CAPTURE(stripes);
          RecordingSink rest;
          harness.store().read_diff(image, from, two, offset, rest, {});
          CHECK(rest.size_bytes == 20 * mib);
          CHECK(rest.ends == 1);
          if (!rest.records.empty()) CHECK(rest.records.front().offset >= offset);
          // The same bytes are in it, whatever records they are cut into.
          const auto covered = [offset](const RecordingSink& sink) {
            std::map<std::uint64_t, std::uint64_t> ranges;
            for (const RecordingSink::Record& record : sink.records) {
              const std::uint64_t begin = std::max(record.offset, offset);
              const std::uint64_t end = record.offset + record.length;
              if (begin >= end) continue;
              const auto last = ranges.empty() ? ranges.end() : std::prev(ranges.end());
              if (last != ranges.end() && last->second == begin) {
                last->second = end;
              } else {
                ranges[begin] = end;
              }
            }
            return ranges;
          };
          CHECK(covered(rest) == covered(all));
        }
      }
    }
  });
}

TEST_CASE("a diff is written from an offset on only if its progress says so") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(4 * mib));
    const auto write_from = [&](const TransferProgress& from, std::uint64_t offset) {
      return code_of([&] {
        const auto sink = test::write_diff(store, image, from, {});
        sink->size(4 * mib);
        sink->data(offset, pattern(4096, 1));
        sink->finish();
      });
    };
    const auto progress = [&]() -> std::optional<TransferProgress> {
      const auto state = store.find(image);
      const auto found = state->metadata.find(std::string(progress_key));
      return found == state->metadata.end() ? std::nullopt : parse_progress(found->second);
    };
    CHECK(write_from({"one", mib}, 2 * mib) == "conflict");
    store.set_metadata(image, std::string(progress_key), render_progress({"one", mib}));
    CHECK(write_from({"two", mib}, 2 * mib) == "conflict");
    CHECK(write_from({"one", mib + 1}, 2 * mib) == "conflict");
    CHECK(write_from({"one", mib}, mib - 4096) == "usage");
    CHECK(progress() == TransferProgress{"one", mib});
    CHECK(write_from({"one", mib}, mib) == "none");
    store.set_metadata(image, std::string(progress_key), "{\"version\":99}");
    CHECK(write_from({"one", mib}, mib) == "conflict");
  });
}

TEST_CASE("an image that had no size in between has nothing in it") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(8 * mib));
    harness.write(image, 0, pattern(6 * mib, 1));
    for (const std::uint64_t size : {std::uint64_t{0}, 8 * mib}) {
      const auto sink = test::write_diff(store, image, {}, {});
      sink->size(size);
      sink->finish();
    }
    const bool is_empty = harness.content(image, "") == std::vector<std::byte>(8 * mib);
    CHECK(is_empty);
  });
}

TEST_CASE("that nobody changed a head since a transfer is known, or not claimed") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(4 * mib));
    const auto is_as_left = [&](const std::string& id) {
      return store.hold(image, {})->head_unchanged_since_transfer(id, {});
    };
    const auto transfer = [&](const std::string& id) {
      const auto sink = test::write_diff(store, image, {id, 0}, {});
      sink->size(4 * mib);
      sink->data(0, pattern(65536, 1));
      sink->finish();
    };
    CHECK_FALSE(is_as_left("one"));
    transfer("one");
    const bool can_tell = is_as_left("one");
    // The stock command has no lock that would tell.
    CHECK(can_tell == (harness.name().find("rbd command") == std::string::npos));
    CHECK_FALSE(is_as_left("another"));
    CHECK_FALSE(is_as_left(""));
    // Whoever looks, and what leaves the head alone, does not change that.
    CHECK(is_as_left("one") == can_tell);
    store.set_metadata(image, "crossover.test", "a value");
    CHECK(is_as_left("one") == can_tell);
    harness.write(image, 8192, pattern(4096, 2));
    CHECK_FALSE(is_as_left("one"));
    transfer("one");
    transfer("two");
    CHECK_FALSE(is_as_left("one"));
    CHECK(is_as_left("two") == can_tell);
    const Snapshot made = store.create_snapshot(image, "made");
    store.hold(image, {})->roll_back(made, {});
    CHECK_FALSE(is_as_left("two"));
  });
}

TEST_CASE("what a sink throws comes out of the reading") {
  each_store([](StoreHarness& harness) {
    const ImageSpec image = make_image(harness, plain(64 * mib));
    for (std::uint64_t offset = 0; offset < 64; offset += 4)
      harness.write(image, offset * mib, pattern(mib, offset));
    const Snapshot one = harness.store().create_snapshot(image, "one");
    InterruptingSink refusing([] { throw std::domain_error("no"); });
    CHECK_THROWS_AS(harness.store().read_diff(image, std::nullopt, one, 0, refusing, {}), std::domain_error);
    CHECK_FALSE(refusing.finished);
    RecordingSink sink;
    harness.store().read_diff(image, std::nullopt, one, 0, sink, {});
    CHECK(sink.bytes(false) == 16 * mib);
  });
}

TEST_CASE("a transfer is cancelled") {
  each_store([](StoreHarness& harness) {
    ImageStore& store = harness.store();
    const ImageSpec image = make_image(harness, plain(64 * mib));
    for (std::uint64_t offset = 0; offset < 64; offset += 4)
      harness.write(image, offset * mib, pattern(mib, offset));
    const Snapshot one = store.create_snapshot(image, "one");
    std::stop_source during;
    InterruptingSink stopping([&] { during.request_stop(); });
    CHECK_THROWS_AS(store.read_diff(image, std::nullopt, one, 0, stopping, during.get_token()), Cancelled);
    CHECK_FALSE(stopping.finished);

    std::stop_source before;
    before.request_stop();
    RecordingSink sink;
    CHECK_THROWS_AS(store.read_diff(image, std::nullopt, one, 0, sink, before.get_token()), Cancelled);
    CHECK_THROWS_AS(test::write_diff(store, image, {}, before.get_token()), Cancelled);
    CHECK_THROWS_AS(test::roll_back(store, image, one, before.get_token()), Cancelled);
    CHECK_THROWS_AS(store.head_unchanged_since(image, one, before.get_token()), Cancelled);
    CHECK_THROWS_AS(store.hold(image, {})->head_unchanged_since(one, before.get_token()), Cancelled);

    const ImageSpec replica = make_image(harness, plain(8 * mib));
    std::stop_source writing;
    const auto target = test::write_diff(store, replica, {}, writing.get_token());
    target->size(8 * mib);
    target->data(0, pattern(mib, 1));
    writing.request_stop();
    const auto write_on = [&] {
      target->data(mib, pattern(6 * mib, 2));
      target->finish();
    };
    CHECK_THROWS_AS(write_on(), Cancelled);
  });
}

TEST_CASE("random chains of changes arrive whole, from every store in every store") {
  std::uint64_t seed = 1;
  each_pair([&seed](StoreHarness& source, StoreHarness& target) {
    std::mt19937_64 random(seed++);
    const auto up_to = [&](std::uint64_t limit) {
      return std::uniform_int_distribution<std::uint64_t>(0, limit)(random);
    };
    ImageLayout layout = plain(6 * mib + up_to(8 * mib));
    layout.order = static_cast<std::uint8_t>(16 + up_to(6));
    if (up_to(2) == 0) {
      layout.stripe_unit = (std::uint64_t{1} << layout.order) >> up_to(3);
      layout.stripe_count = 2 + up_to(5);
    }
    if (up_to(1) == 0) layout.features |= image_feature::object_map | image_feature::fast_diff;
    CAPTURE(int{layout.order});
    CAPTURE(layout.stripe_unit);
    CAPTURE(layout.stripe_count);
    const ImageSpec image = make_image(source, layout);
    const ImageSpec replica = make_image(target, plain(mib));
    std::vector<Snapshot> snapshots;
    std::uint64_t size = layout.size_bytes;
    std::optional<Snapshot> base;
    for (int step = 0; step < 10; ++step) {
      for (std::uint64_t count = up_to(6); count > 0; --count) {
        const std::uint64_t offset = up_to(size - 1);
        const std::uint64_t length =
            1 + up_to(std::min<std::uint64_t>(size - offset - 1, up_to(3) == 0 ? mib : 9000));
        switch (up_to(5)) {
          case 0:
            source.zero(image, offset, length);
            break;
          case 1:
            source.discard(image, offset, length);
            break;
          default:
            source.write(image, offset, pattern(length, random()));
            break;
        }
      }
      if (up_to(3) == 0) {
        size = mib + up_to(14 * mib);
        source.resize(image, size);
      }
      if (!snapshots.empty() && up_to(4) == 0) {
        const Snapshot& back = snapshots[up_to(snapshots.size() - 1)];
        test::roll_back(source.store(), image, back, {});
        size = back.size_bytes;
      }
      const Snapshot next = source.store().create_snapshot(image, "step-" + std::to_string(step));
      snapshots.push_back(next);
      // Now and then a snapshot is passed over.
      if (up_to(3) == 0) continue;
      replicate(source, image, base, next, target, replica);
      check_same(source, image, target, replica, next.name);
      base = next;
    }
  });
}
