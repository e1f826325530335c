// Which images are a replica's former ones, what needs them, and that they stand in no one's way.
#include <doctest/doctest.h>

#include "crossover/error.hpp"
#include "migrate_stage.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

struct FormerStage : Stage {
  void detach(const std::string& key) {
    VmConfig config = parse_vm_config(clusters.source.config(100).value());
    config.remove(key);
    clusters.source.set_config(100, config.to_bytes());
  }
  void run_well() {
    pass();
    const GuestReport guest = clusters.run().guests.at(0);
    REQUIRE_MESSAGE(guest.outcome == Outcome::ok, guest.error);
  }
  void cut(const std::string& call) {
    clusters.faults.arm(call);
    REQUIRE(clusters.run().guests.at(0).outcome == Outcome::failed);
    REQUIRE(clusters.faults.happened());
    clusters.faults.arm();
  }
  PrunedReplica prune() {
    return clusters.prune("99100", {.keep_remote = "0s", .former_images = true}).replicas.at(0);
  }
};

}  // namespace

TEST_CASE_FIXTURE(FormerStage, "disks in storages that have keyrings of their own are one replica's") {
  clusters.source.inventory.ceph_files = {"ssd.keyring", "hdd.keyring"};
  REQUIRE(migrate().outcome == Outcome::ok);
  clusters.back = true;
  clusters.options.job_name = "home";
  clusters.options.prefix_id.clear();
  clusters.options.vmid = "99100:100";
  clusters.options.destination = "e1";
  clusters.options.pool = "ssd";
  clusters.options.keep_remote = "0s";
  for (int i = 0; i < 3; ++i) {
    clusters.clock.time += std::chrono::minutes(10);
    const GuestReport home = clusters.run().guests.at(0);
    REQUIRE_MESSAGE(home.outcome == Outcome::ok, home.error);
    CHECK(home.former_images.empty());
  }
  const ReplicaReport replica = clusters.points(100);
  CHECK(replica.former_images.empty());
  CHECK(replica.points.at(0).complete);
  CHECK(replica.points.at(0).disks.size() == 2);
  const RecoverReport report = clusters.recover(100);
  CHECK_MESSAGE(report.outcome == Outcome::ok, report.error);
}

TEST_CASE_FIXTURE(FormerStage, "a transfer into it that was cut is none that anybody goes on with") {
  clusters.options.keep_local = "52w";
  clusters.options.keep_remote = "52w";
  cut("destination write_diff backup/vm-99100-disk-1-hdd #1");
  detach("scsi1");
  for (int i = 0; i < 2; ++i) run_well();
  const PrunedReplica pruned = prune();
  CHECK_MESSAGE(pruned.outcome == Outcome::ok, pruned.error);
  CHECK(pruned.trashed.size() == 1);
  const ReplicaReport replica = clusters.points(99100);
  CHECK_FALSE(replica.unfinished);
  CHECK(replica.applying.empty());
  CHECK(replica.points.size() == 1);
}

TEST_CASE_FIXTURE(FormerStage, "a point that lost a snapshot by hand does not keep it for ever") {
  const std::string point = clusters.points(99100).points.at(0).name;
  clusters.options.keep_remote = "52w";
  detach("scsi1");
  run_well();
  const ImageState state = clusters.replica_images.find(first).value();
  for (const Snapshot& one : state.snapshots) {
    if (one.name == point) clusters.replica_images.remove_snapshot(first, one);
  }
  // Its own snapshot stays as long as the policy says.
  CHECK(clusters.points(99100).former_images.at(0).points == 1);
  clusters.options.keep_remote = "0s";
  run_well();
  CHECK(prune().trashed.size() == 1);
}

TEST_CASE_FIXTURE(FormerStage, "one whose first copy was cut is named") {
  clusters.add_disk(100, "scsi2", "hdd", "vm-100-disk-2", 8192);
  cut("destination write_diff backup/vm-99100-disk-2-hdd #1");
  detach("scsi2");
  run_well();
  REQUIRE(clusters.replica_images.find({"backup", "", "vm-99100-disk-2-hdd"}));
  CHECK(clusters.points(99100).former_images.size() == 1);
  CHECK(prune().trashed.size() == 1);
}

TEST_CASE_FIXTURE(FormerStage, "one that cannot be looked at is in the way of the points that need it, and of no other") {
  const std::string older = clusters.points(99100).points.at(0).name;
  clusters.options.keep_remote = "52w";
  detach("scsi1");
  run_well();
  clusters.faults.at = [](const std::string& call) {
    if (call != "destination find backup/vm-99100-disk-1-hdd") return;
    throw Error(ErrorCode::not_found, "open pool", "backup", "there is no such pool");
  };
  const RecoverReport refused = clusters.recover(99100, {.point = older});
  CHECK(refused.outcome != Outcome::ok);
  CHECK_MESSAGE(contains(refused.error, "is not complete: there is no image backup/vm-99100-disk-1-hdd"), refused.error);
  CHECK(prune().outcome != Outcome::ok);
  const RecoverReport report = clusters.recover(99100);
  CHECK_MESSAGE(report.outcome == Outcome::ok, report.error);
}
