// Retention where the replicas are: what it takes, and what it never does.
#include <doctest/doctest.h>

#include "plan/points.hpp"
#include "point_keeper.hpp"
#include "support/records.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

struct Stage {
  Stage() : keeper(clusters, 100, 99100) {
    clusters.options.keep_local = "1d";
    clusters.options.keep_remote = "100w";
    clusters.marks.bytes = 1;
    clusters.add_guest(100);
  }

  std::string run() {
    clusters.write_at_random();
    const MirrorReport report = clusters.run();
    keeper.remember();
    clusters.clock.time += std::chrono::hours(1);
    return report.guests.empty() ? "" : report.guests.front().recovery_point;
  }

  std::string run_well() {
    clusters.faults.arm();
    const std::string point = run();
    REQUIRE_FALSE(point.empty());
    return point;
  }

  void cut() {
    clusters.faults.arm("destination write_diff backup/vm-99100-disk-1-hdd finish #1", Fault::dies);
    CHECK(run().empty());
    clusters.faults.arm();
  }

  PrunedReplica prune(const std::string& keep) {
    const PruneReport report = clusters.prune("99100", {.keep_remote = keep});
    REQUIRE(report.replicas.size() == 1);
    CHECK(report.replicas.front().outcome == Outcome::ok);
    return report.replicas.front();
  }

  TwoClusters clusters;
  PointKeeper keeper;
};

using Names = std::set<std::string>;

}  // namespace

TEST_CASE("the newest point stays, and the next run starts from it") {
  Stage stage;
  for (int i = 0; i < 3; ++i) stage.run_well();
  const std::string newest = stage.run_well();
  const PrunedReplica pruned = stage.prune("0s");
  CHECK(pruned.removed.size() == 6);
  CHECK(stage.keeper.points() == Names{newest});
  CHECK(stage.keeper.bases() == Names{newest});
  CHECK(stage.prune("0s").removed.empty());
  const std::string next = stage.run_well();
  CHECK(stage.clusters.run().guests.at(0).disks.at(0).base == next);
  stage.keeper.remember();
  stage.keeper.check_replica();
  stage.keeper.check_in_step();
  // What the records said of the points that are gone went with the next one.
  for (const ImageSpec& image : stage.clusters.replica_images.images()) {
    const ImageState state = *stage.clusters.replica_images.find(image);
    const ImageRecord record = image_record(state);
    for (const PointIds& point : record.replica->points) {
      CHECK(find_snapshot(state, point.name, point.replica_id) != nullptr);
    }
  }
}

TEST_CASE("what a transfer needs that was cut stays") {
  Stage stage;
  for (int i = 0; i < 3; ++i) stage.run_well();
  const std::string newest = stage.run_well();
  stage.cut();
  const std::string begun = stage.keeper.begun();
  REQUIRE_FALSE(begun.empty());
  SUBCASE("its base is the newest point") {
    stage.prune("0s");
    CHECK(stage.keeper.points() == Names{newest});
  }
  SUBCASE("its base is an older one, for it was begun anew from there") {
    ReplicaRecord record;
    const std::string older = *stage.keeper.points().begin();
    for (const ImageSpec& image : stage.clusters.replica_images.images()) {
      const ImageState state = *stage.clusters.replica_images.find(image);
      ImageRecord changed = image_record(state);
      Snapshot base;
      base.id = changed.replica->points.front().source_id;
      changed.replica->transfer = transfer_id(*changed.replica, base, changed.replica->end_source_id);
      put_record(stage.clusters.replica_images, image, changed);
    }
    stage.prune("0s");
    CHECK(stage.keeper.points() == Names{older, newest});
    return;
  }
  stage.clusters.faults.arm();
  const MirrorReport report = stage.clusters.run();
  REQUIRE(report.guests.at(0).outcome == Outcome::ok);
  CHECK(report.guests.at(0).resumed.value().recovery_point == begun);
  stage.keeper.remember();
  stage.keeper.check_replica();
}

TEST_CASE("the newest good point stays beside a newer bad one") {
  Stage stage;
  for (int i = 0; i < 3; ++i) stage.run_well();
  const Names points = stage.keeper.points();
  const std::string newest = stage.run_well();
  const ImageSpec image{"backup", "", "vm-99100-disk-1-hdd"};
  ImageRecord record = image_record(*stage.clusters.replica_images.find(image));
  record.replica->points.back().bad = true;
  put_record(stage.clusters.replica_images, image, record);
  stage.prune("0s");
  CHECK(stage.keeper.points() == Names{*points.rbegin(), newest});
}

TEST_CASE("others' snapshots and leftovers") {
  Stage stage;
  stage.run_well();
  const std::string newest = stage.run_well();
  const ImageSpec image{"backup", "", "vm-99100-disk-0-ssd"};
  for (const char* name : {"before-upgrade", "mirror-before-upgrade", "crossover-hourly-20200101T000000Z",
                           "mirror-20200101000000", "crossover-default-20200230T000000Z"}) {
    stage.clusters.replica_images.create_snapshot(image, name);
  }
  // Ours, and never a point.
  stage.clusters.replica_images.create_snapshot(image, "crossover-default-20200101T000000Z");
  const PrunedReplica pruned = stage.prune("100w");
  CHECK(pruned.removed == std::vector<std::string>{to_string(image) + "@crossover-default-20200101T000000Z"});
  stage.prune("0s");
  CHECK(stage.clusters.replica_images.find(image)->snapshots.size() == 6);
  CHECK(stage.keeper.points() == Names{newest});
}

TEST_CASE("which replicas are meant") {
  Stage stage;
  stage.clusters.add_guest(200);
  stage.clusters.options.vmid = "100,200";
  stage.clusters.options.job_name = "Nightly";
  for (int i = 0; i < 2; ++i) stage.run_well();
  stage.clusters.destination.put_guest(500, "w1", "memory: 512\n", Power::stopped);
  const auto vmids = [&](const std::string& which, const PruneOptions& options) {
    std::vector<std::uint32_t> found;
    for (const PrunedReplica& one : stage.clusters.prune(which, options).replicas) found.push_back(one.vmid);
    return found;
  };
  using Vmids = std::vector<std::uint32_t>;
  CHECK(vmids("all", {.keep_remote = "1d"}) == Vmids{99100, 99200});
  CHECK(vmids("all", {.keep_remote = "1d", .job_name = "Nightly"}) == Vmids{99100, 99200});
  CHECK(vmids("all", {.keep_remote = "1d", .job_name = "nightly"}) == Vmids{});
  CHECK(vmids("99200", {.keep_remote = "1d"}) == Vmids{99200});
  CHECK_THROWS_AS((void)vmids("500", {.keep_remote = "1d"}), Error);
  CHECK_THROWS_AS((void)vmids("501", {.keep_remote = "1d"}), Error);
  CHECK_THROWS_AS((void)vmids("99100:1", {.keep_remote = "1d"}), Error);
  CHECK_THROWS_AS((void)vmids("99100", {}), Error);

  const std::string dump = stage.clusters.dump();
  const PruneReport planned = stage.clusters.prune("99100", {.keep_remote = "0s", .dry_run = true});
  CHECK(planned.replicas.at(0).outcome == Outcome::planned);
  CHECK(planned.replicas.at(0).removed.size() == 2);
  CHECK(stage.clusters.dump() == dump);

  REQUIRE(stage.clusters.recover(99100).outcome == Outcome::ok);
  const std::string recovered = stage.clusters.dump();
  CHECK(stage.clusters.prune("99100", {.keep_remote = "0s"}).replicas.at(0).untouched.find("promoted") !=
        std::string::npos);
  CHECK(stage.clusters.dump() == recovered);
}

TEST_CASE("cut anywhere it takes no point in half, and the next run of either kind goes on") {
  const auto prepare = [](Stage& stage) {
    for (int i = 0; i < 4; ++i) stage.run_well();
    stage.cut();
  };
  std::vector<std::string> calls;
  {
    Stage stage;
    prepare(stage);
    stage.prune("last=2");
    calls = stage.clusters.faults.calls();
  }
  REQUIRE(calls.size() > 8);
  for (const std::string& call : calls) {
    for (const Fault fault : {Fault::fails, Fault::answer_lost, Fault::cancels, Fault::dies, Fault::dies_after,
                              Fault::foreign, Fault::foreign_after}) {
      CAPTURE(call);
      INFO(to_string(fault));
      Stage stage;
      prepare(stage);
      stage.clusters.faults.arm(call, fault);
      try {
        (void)stage.clusters.prune("99100", {.keep_remote = "last=2"});
      } catch (const Error&) {
      } catch (const Cancelled&) {
      } catch (...) {
        CHECK(fault >= Fault::foreign);
      }
      REQUIRE(stage.clusters.faults.happened());
      CHECK(stage.clusters.is_let_go());
      stage.clusters.faults.arm();
      stage.keeper.check_replica();
      CHECK_FALSE(stage.keeper.bases().empty());
      stage.prune("last=2");
      CHECK(stage.keeper.points().size() == 2);
      stage.run_well();
      stage.keeper.check_replica();
      stage.keeper.check_in_step();
    }
  }
}

TEST_CASE("points stay what they are where it cannot be told whether they may go, whatever was thrown") {
  Stage stage;
  for (int i = 0; i < 4; ++i) stage.run_well();
  const auto points = stage.keeper.points();
  // Three points have a key on each of two disks.
  int keys = 6;
  stage.clusters.faults.at = [&keys](const std::string& call) {
    if (call.starts_with("destination remove_metadata ")) --keys;
    if (keys != 0 || !call.starts_with("destination find ")) return;
    keys = -1;
    throw 42;
  };
  const PrunedReplica report = stage.clusters.prune("99100", {.keep_remote = "last=1"}).replicas.at(0);
  CHECK(report.outcome == Outcome::failed);
  CHECK_MESSAGE(report.error.find("no recovery point was removed") != std::string::npos, report.error);
  CHECK(stage.keeper.points() == points);
  stage.clusters.faults.at = nullptr;
  stage.prune("last=1");
  CHECK(stage.keeper.points().size() == 1);
}

TEST_CASE("whatever is run and pruned in which order, the base is there and nothing is sent anew") {
  for (const char* local : {"0s", "last=3"}) {
    Stage stage;
    stage.clusters.options.keep_local = local;
    stage.clusters.options.keep_remote = "last=4,hourly=6";
    stage.run_well();
    for (int step = 0; step < 60; ++step) {
      CAPTURE(step);
      switch (stage.clusters.random() % 4) {
        case 0:
          stage.cut();
          break;
        case 1:
          stage.prune("0s");
          break;
        case 2:
          stage.prune("daily=2,last=3");
          break;
        default: {
          stage.clusters.faults.arm();
          stage.clusters.write_at_random();
          const GuestReport guest = stage.clusters.run().guests.at(0);
          stage.keeper.remember();
          stage.clusters.clock.time += std::chrono::hours(5);
          CAPTURE(guest.error);
          REQUIRE(guest.outcome == Outcome::ok);
          for (const DiskReport& disk : guest.disks) CHECK_FALSE(disk.full);
        }
      }
      CHECK_FALSE(stage.keeper.bases().empty());
      stage.keeper.check_replica();
    }
  }
}
