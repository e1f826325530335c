// Recovery points that a cut run began: completed by the next one, or given up for a reason that is said.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "plan/record.hpp"
#include "plan/transfer_progress.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

constexpr std::uint64_t mib = 1U << 20;
constexpr std::uint64_t block_bytes = 4096;

/// VM 100 with scsi0, and its replica VM 99100.
struct Stage {
  explicit Stage(std::size_t disks = 2) {
    clusters.options.parallel = "1";
    clusters.options.keep_local = "1d";
    clusters.options.keep_remote = "1d";
    clusters.marks.bytes = 1;
    clusters.add_guest(100, disks);
  }

  GuestReport run() {
    clusters.faults.arm();
    const MirrorReport report = clusters.run();
    clusters.clock.time += std::chrono::minutes(10);
    REQUIRE(report.guests.size() == 1);
    totals = report.totals;
    return report.guests.front();
  }

  GuestReport run_well() {
    GuestReport report = run();
    CAPTURE(report.error);
    REQUIRE(report.outcome == Outcome::ok);
    for (const DiskReport& disk : report.disks) {
      const bool is_same = clusters.replica_images.content(replica(disk.key), report.recovery_point) ==
                           clusters.source_images.content(image(disk.key));
      CHECK(is_same);
    }
    return report;
  }

  /// A run whose transfer of a disk ends at its `nth` piece of data.
  void run_cut(const std::string& key, int nth) {
    clusters.faults.arm("destination write_diff " + to_string(replica(key)) + " data #" + std::to_string(nth),
                        Fault::dies);
    (void)clusters.run();
    REQUIRE(clusters.faults.happened());
    clusters.clock.time += std::chrono::minutes(10);
    begun = record("scsi0").end_snapshot;
    REQUIRE_FALSE(begun.empty());
  }

  void write_blocks(const std::string& key, std::uint64_t count) {
    const std::vector<std::byte> bytes(count * block_bytes, static_cast<std::byte>(clusters.random() % 255 + 1));
    clusters.source_images.write(image(key), 0, bytes);
  }

  ImageSpec image(const std::string& key) { return clusters.image_of(100, key); }
  ImageSpec replica(const std::string& key) { return clusters.replica_of(image(key), 99100); }
  ReplicaRecord record(const std::string& key) {
    return image_record(clusters.replica_images.find(replica(key)).value()).replica.value();
  }
  std::vector<std::string> snapshots(MemoryImageStore& store, const ImageSpec& spec) {
    std::vector<std::string> names;
    const ImageState state = store.find(spec).value();
    for (const Snapshot& snapshot : state.snapshots) names.push_back(snapshot.name);
    return names;
  }
  void remove_snapshot(const std::string& key, const std::string& name) {
    const ImageState state = clusters.source_images.find(image(key)).value();
    for (const Snapshot& snapshot : state.snapshots) {
      if (snapshot.name == name) clusters.source_images.remove_snapshot(image(key), snapshot);
    }
  }
  PointConfig point(const std::string& name) {
    const ImageState state = clusters.replica_images.find(replica("scsi0")).value();
    return parse_point(state.metadata.at(std::string(point_key_prefix) + name));
  }

  TwoClusters clusters;
  MirrorTotals totals;
  std::string begun;
};

/// Of everything a snapshot holds.
std::size_t digest(MemoryImageStore& store, const ImageSpec& spec, const std::string& name) {
  class Sink final : public DiffSink {
   public:
    void size(std::uint64_t size_bytes) override { add(std::to_string(size_bytes)); }
    void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
      add(std::to_string(offset));
      add({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    }
    void zero(std::uint64_t, std::uint64_t) override {}
    void finish() override {}
    std::size_t value = 0;

   private:
    void add(std::string_view text) { value = value * 31 + std::hash<std::string_view>{}(text); }
  };
  Sink sink;
  const ImageState state = store.find(spec).value();
  for (const Snapshot& snapshot : state.snapshots) {
    if (snapshot.name == name) store.read_diff(spec, std::nullopt, snapshot, 0, sink, {});
  }
  return sink.value;
}

bool warns(const GuestReport& report, const std::string& text) {
  return std::any_of(report.warnings.begin(), report.warnings.end(),
                     [&](const std::string& warning) { return warning.find(text) != std::string::npos; });
}

}  // namespace

TEST_CASE("a point that was cut is completed, and the guest gets a new one in the same run") {
  for (const bool first_copy : {true, false}) {
    CAPTURE(first_copy);
    Stage stage;
    if (!first_copy) stage.run_well();
    stage.write_blocks("scsi0", 3);
    stage.write_blocks("scsi1", 4);
    const auto moment = stage.clusters.source_images.content(stage.image("scsi1"));
    stage.run_cut("scsi1", 3);
    // The guest goes on.
    stage.write_blocks("scsi0", 5);
    stage.write_blocks("scsi1", 1);

    const GuestReport report = stage.run_well();
    REQUIRE(report.resumed);
    CHECK(report.resumed->recovery_point == stage.begun);
    CHECK(report.resumed->complete);
    REQUIRE(report.resumed->disks.size() == 2);
    CHECK(report.resumed->disks[0].key == "scsi0");
    CHECK(report.resumed->disks[0].from_bytes == 16 * block_bytes);  // all of it was there
    CHECK(report.resumed->disks[0].stream_bytes == 0);
    CHECK(report.resumed->disks[1].from_bytes == 2 * block_bytes);
    CHECK(report.resumed->disks[1].stream_bytes > 2 * block_bytes);
    CHECK(report.resumed->disks[1].stream_bytes < 2 * block_bytes + 256);
    CHECK(report.recovery_point > stage.begun);
    CHECK(report.disks[0].base == stage.begun);
    const bool is_same = stage.clusters.replica_images.content(stage.replica("scsi1"), stage.begun) == moment;
    CHECK(is_same);
    CHECK(stage.totals.guests_ok == 1);
    CHECK(stage.totals.guests_running == 1);
    CHECK(stage.totals.guests_failed == 0);
    CHECK(stage.clusters.source_images.calls("create_snapshot") == (first_copy ? 2 : 3) * 2);

    std::vector<std::string> kinds = stage.clusters.events.kinds();
    CHECK(std::count(kinds.begin(), kinds.end(), "guest_started") == 1);
    CHECK(std::count(kinds.begin(), kinds.end(), "point_resumed") == 1);
    CHECK(std::count(kinds.begin(), kinds.end(), "transfer_resumed") == 1);
    CHECK(std::count(kinds.begin(), kinds.end(), "guest_finished") == 1);
    CHECK_FALSE(stage.run_well().resumed);
  }
}

TEST_CASE("of a transfer that is cut at most 64 MiB are sent again") {
  std::mt19937 random(1);
  constexpr std::uint64_t content = 144 * mib;
  for (int round = 0; round < 3; ++round) {
    Stage stage(1);
    stage.clusters.marks = {};
    stage.clusters.add_disk(100, "scsi1", "hdd", "vm-100-disk-1", 1024 * mib);
    std::vector<std::byte> bytes(mib);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    for (std::uint64_t offset = 0; offset < content; offset += mib) {
      stage.clusters.source_images.write(stage.image("scsi1"), 7 * offset, bytes);
    }
    const int blocks = 1 + static_cast<int>(random() % (content / block_bytes));
    CAPTURE(blocks);
    stage.run_cut("scsi1", blocks);
    const std::uint64_t before = static_cast<std::uint64_t>(blocks - 1) * block_bytes;
    stage.clusters.faults.arm();
    const MirrorReport report = stage.clusters.run();
    REQUIRE(report.guests.front().resumed);
    const ResumedDisk& disk = report.guests.front().resumed->disks.at(1);
    // A record has 17 bytes beside its data.
    const std::uint64_t after = disk.stream_bytes / (block_bytes + 17) * block_bytes;
    CHECK(before + after >= content);
    CHECK(before + after <= content + 64 * mib);
    if (before > 40 * mib) CHECK(disk.from_bytes > 0);
    CHECK(report.guests.front().outcome == Outcome::ok);
    CHECK(digest(stage.clusters.replica_images, stage.replica("scsi1"), stage.begun) ==
          digest(stage.clusters.source_images, stage.image("scsi1"), stage.begun));
  }
}

TEST_CASE("a completion that is cut as well goes on from where it came to") {
  Stage stage;
  stage.run_well();
  stage.write_blocks("scsi0", 12);
  stage.run_cut("scsi0", 3);
  std::uint64_t reached = 2 * block_bytes;
  for (const int nth : {4, 2, 3}) {
    const std::string begun = stage.begun;
    stage.run_cut("scsi0", nth);
    CHECK(stage.begun == begun);
    reached += static_cast<std::uint64_t>(nth - 1) * block_bytes;
    const ImageState state = stage.clusters.replica_images.find(stage.replica("scsi0")).value();
    CHECK(parse_progress(state.metadata.at(std::string(progress_key)))->offset == reached);
  }
  const GuestReport report = stage.run_well();
  CHECK(report.resumed.value().disks[0].from_bytes == reached);
}

TEST_CASE("a point that is completed has the configuration of its own moment") {
  Stage stage;
  stage.run_well();
  stage.write_blocks("scsi0", 4);
  stage.run_cut("scsi0", 2);
  VmConfig config = parse_vm_config(stage.clusters.source.config(100).value());
  config.set("memory", "1024");
  config.set("onboot", "0");
  config.set("cipassword", "secret");
  stage.clusters.source.set_config(100, config.to_bytes());
  const GuestReport report = stage.run_well();
  REQUIRE(report.resumed);
  CHECK(parse_vm_config(stage.point(stage.begun).config).get("memory") == "512");
  CHECK(stage.point(stage.begun).onboot == "1");
  CHECK(parse_vm_config(stage.point(report.recovery_point).config).get("memory") == "1024");
  CHECK(stage.point(report.recovery_point).onboot == "0");
  const VmConfig replica = parse_vm_config(stage.clusters.destination.config(99100).value());
  CHECK(replica.get("memory") == "1024");
  CHECK(replica.get("cipassword") == "secret");
}

TEST_CASE("a point whose snapshot is gone from the source is given up") {
  for (const bool first_copy : {true, false}) {
    CAPTURE(first_copy);
    Stage stage;
    if (!first_copy) stage.run_well();
    stage.write_blocks("scsi1", 4);
    stage.run_cut("scsi1", 3);
    stage.remove_snapshot("scsi1", stage.begun);
    // One of the same name is another one.
    if (first_copy) stage.clusters.source_images.create_snapshot(stage.image("scsi1"), stage.begun);
    stage.write_blocks("scsi1", 2);
    const GuestReport report = stage.run_well();
    CHECK_FALSE(report.resumed);
    CHECK(warns(report, stage.begun + " cannot be completed, its snapshot of slow/vm-100-disk-1 is gone"));
    CHECK(warns(report, first_copy ? "begins anew" : "is rolled back to"));
    const auto there = stage.snapshots(stage.clusters.replica_images, stage.replica("scsi1"));
    CHECK(std::count(there.begin(), there.end(), stage.begun) == 0);
  }
}

TEST_CASE("a point of other disks, or from another base, is given up") {
  SUBCASE("a disk more") {
    Stage stage;
    stage.run_well();
    stage.write_blocks("scsi1", 4);
    stage.run_cut("scsi1", 3);
    stage.clusters.add_disk(100, "scsi2", "hdd", "vm-100-disk-7", 20480);
    const GuestReport report = stage.run_well();
    CHECK_FALSE(report.resumed);
    CHECK(warns(report, "backup/vm-99100-disk-7-hdd has no part in it"));
  }
  SUBCASE("a disk less") {
    Stage stage;
    stage.run_well();
    stage.write_blocks("scsi0", 4);
    stage.run_cut("scsi0", 3);
    VmConfig config = parse_vm_config(stage.clusters.source.config(100).value());
    config.remove("scsi1");
    stage.clusters.source.set_config(100, config.to_bytes());
    const GuestReport report = stage.run_well();
    CHECK_FALSE(report.resumed);
    CHECK(warns(report, "the guest has other disks now"));
  }
  SUBCASE("the base") {
    Stage stage;
    const std::string older = stage.run_well().recovery_point;
    stage.write_blocks("scsi0", 2);
    const std::string base = stage.run_well().recovery_point;
    stage.write_blocks("scsi0", 6);
    stage.run_cut("scsi0", 3);
    stage.remove_snapshot("scsi0", base);
    const GuestReport report = stage.run_well();
    CHECK_FALSE(report.resumed);
    CHECK(report.disks[0].base == older);
    CHECK(warns(report, "do not have the base any more that it started from"));
  }
}

TEST_CASE("a replica that was touched after its transfer was cut is not gone on with") {
  enum class Touch { roll_back, write, zero };
  for (const bool first_copy : {true, false}) {
    // The first of them was applied as a whole, the other one in part.
    for (const std::string key : {"scsi0", "scsi1"}) {
      for (const Touch touch : {Touch::roll_back, Touch::write, Touch::zero}) {
        if (first_copy && touch == Touch::roll_back) continue;
        CAPTURE(first_copy);
        CAPTURE(key);
        CAPTURE(static_cast<int>(touch));
        Stage stage;
        const std::string base = first_copy ? "" : stage.run_well().recovery_point;
        stage.write_blocks("scsi0", 4);
        stage.write_blocks("scsi1", 6);
        stage.run_cut("scsi1", 4);
        MemoryImageStore& store = stage.clusters.replica_images;
        const ImageSpec replica = stage.replica(key);
        if (touch == Touch::roll_back) {
          const std::vector<Snapshot> snapshots = store.find(replica)->snapshots;
          const auto found = std::ranges::find(snapshots, base, &Snapshot::name);
          REQUIRE(found != snapshots.end());
          store.hold(replica, {})->roll_back(*found, {});
        } else if (touch == Touch::write) {
          store.write(replica, 3 * block_bytes, std::vector<std::byte>(100, std::byte{9}));
        } else {
          store.zero(replica, 0, 2 * block_bytes);
        }
        const GuestReport report = stage.run_well();
        CHECK_FALSE(report.resumed);
        CHECK(warns(report, "it cannot be told that nobody changed it since its transfer was cut"));
        CHECK(std::ranges::count(stage.snapshots(store, replica), stage.begun) == 0);
        stage.write_blocks(key, 2);
        (void)stage.run_well();
      }
    }
  }
}

TEST_CASE("a transfer that had not come to a mark begins at the base again, whatever the head reads as") {
  Stage stage;
  stage.run_well();
  stage.write_blocks("scsi1", 6);
  stage.run_cut("scsi1", 1);
  MemoryImageStore& store = stage.clusters.replica_images;
  const std::size_t touched = 3 * block_bytes;
  store.write(stage.replica("scsi1"), touched, std::vector<std::byte>(100, std::byte{9}));
  const GuestReport report = stage.run_well();
  CHECK(report.resumed.value().complete);
  CHECK(digest(store, stage.replica("scsi1"), stage.begun) ==
        digest(stage.clusters.source_images, stage.image("scsi1"), stage.begun));
}

TEST_CASE("a progress of another transfer counts for nothing") {
  Stage stage;
  stage.run_well();
  stage.write_blocks("scsi0", 6);
  stage.run_cut("scsi0", 4);
  for (const std::string& value : {render_progress({"another", 5 * block_bytes}), std::string("nonsense")}) {
    stage.clusters.replica_images.set_metadata(stage.replica("scsi0"), std::string(progress_key), value);
    stage.clusters.options.dry_run = true;
    const GuestReport planned = stage.run();
    stage.clusters.options.dry_run = false;
    CHECK(planned.resumed.value().disks[0].from_bytes == 0);
    CHECK(planned.steps.back() == "then make a new recovery point of VM 100");
  }
  const GuestReport report = stage.run_well();
  CHECK(report.resumed.value().disks[0].from_bytes == 0);
}

TEST_CASE("somebody who is at a replica that was cut is left alone") {
  Stage stage;
  stage.run_well();
  stage.write_blocks("scsi0", 6);
  stage.run_cut("scsi0", 4);
  // Between the look and the writing.
  class Intruder final : public EventSink {
   public:
    explicit Intruder(Stage& stage) : stage_(stage) {}
    void on_event(const Event& event) override {
      if (event.kind != EventKind::replica_locked) return;
      stage_.clusters.replica_images.set_watchers(stage_.replica("scsi1"), {"192.0.2.1:0/7"});
    }

   private:
    Stage& stage_;
  };
  Intruder intruder(stage);
  stage.clusters.faults.arm();
  const GuestReport report = stage.clusters.run(intruder).guests.front();
  CHECK(report.error_code == ErrorCode::in_use);
  CHECK_FALSE(report.resumed.value().complete);
  CHECK(parse_vm_config(stage.clusters.destination.config(99100).value()).get("lock") == "migrate");
  stage.clusters.replica_images.set_watchers(stage.replica("scsi1"), {});
  CHECK(stage.run_well().resumed.value().complete);
}

TEST_CASE("a snapshot that goes while it is read fails its run, and the next one makes another") {
  Stage stage;
  const std::string base = stage.run_well().recovery_point;
  stage.write_blocks("scsi0", 3);
  stage.clusters.source_images.on_listing = [&](DiffSink&, const std::stop_token&) {
    for (const std::string& name : stage.snapshots(stage.clusters.source_images, stage.image("scsi0"))) {
      if (name != base) stage.remove_snapshot("scsi0", name);
    }
  };
  CHECK(stage.run().outcome == Outcome::failed);
  CHECK(stage.snapshots(stage.clusters.replica_images, stage.replica("scsi0")) == std::vector<std::string>{base});
  stage.clusters.source_images.on_listing = nullptr;
  stage.run_well();
}
