// What a replica's images say of it, and what a recovery and retention make of that.
#include "plan/replica.hpp"

#include <doctest/doctest.h>

#include "plan/prune_plan.hpp"
#include "plan/recover_plan.hpp"
#include "plan_stage.hpp"

using namespace crossover;
using namespace crossover::test;
using std::chrono::hours;

namespace {

constexpr const char* first = "backup/vm-99100-disk-0-ssd";
constexpr const char* second = "backup/vm-99100-disk-1-hdd";

/// The stage's replica as the destination alone knows it.
struct There {
  PlanStage stage;

  std::string add_point(std::chrono::sys_seconds time, const std::vector<std::string>& images = {first, second}) {
    const std::string name = stage.add_point(time);
    PointConfig config{99100, stage.replica_config, std::nullopt, "1", images};
    stage.replica_image("scsi0")->metadata[std::string(point_key_prefix) + name] = render_point(config);
    return name;
  }

  ReplicaLook look() { return {stage.inventory.destination, stage.inventory.replica_images, problems}; }
  Replica replica() {
    const auto found = read_replica(99100, look());
    REQUIRE(found);
    return *found;
  }
  RecoverPlan recover(const RecoverOptions& options = {}) {
    return plan_recover(parse_options(99100, options), stage.inventory.destination, replica(), noon);
  }
  std::string refusal(const RecoverOptions& options = {}) {
    const RecoverPlan plan = recover(options);
    REQUIRE(plan.problem);
    CHECK(plan.steps.empty());
    return fmt::format("{}: {}", to_string(plan.problem->code), plan.problem->text);
  }
  /// Why the newest point is none.
  std::string incomplete() { return replica().points.at(0).incomplete; }
  std::string removed(const std::string& keep) {
    const PrunePlan plan = plan_prune(parse_options("99100", PruneOptions{.keep_remote = keep}), replica(), noon);
    CHECK_FALSE(plan.problem);
    std::string text = plan.untouched;
    for (const Removal& removal : plan.removals) {
      CHECK_FALSE(removal.on_source);
      const bool is_first = to_string(removal.image.spec) == first;
      text +=
          fmt::format("{}{}@{}", text.empty() ? "" : " ", is_first ? 0 : 1, removal.snapshot.name.substr(27, 4));
    }
    return text;
  }

  ImageProblems problems;
};

bool has(const std::string& text, const std::string& part) {
  CAPTURE(text);
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a point is complete with its configuration and all its disks, by their recorded ids") {
  There there;
  there.add_point(noon - hours(2));
  const std::string name = there.add_point(noon - hours(1));
  REQUIRE(there.replica().points.size() == 2);
  CHECK(there.replica().points[0].name == name);
  CHECK(there.incomplete().empty());
  CHECK(there.replica().points[0].disks.size() == 2);
  SUBCASE("without configuration") {
    there.stage.replica_image("scsi0")->metadata.erase(std::string(point_key_prefix) + name);
    CHECK(has(there.incomplete(), "it has no configuration"));
  }
  SUBCASE("with one that cannot be read") {
    there.stage.replica_image("scsi0")->metadata[std::string(point_key_prefix) + name] = "{";
    CHECK(has(there.incomplete(), "crossover.config."));
  }
  SUBCASE("with one of another VM") {
    there.stage.replica_image("scsi0")->metadata[std::string(point_key_prefix) + name] =
        render_point({99200, "", std::nullopt, "", {first, second}});
    CHECK(has(there.incomplete(), "its configuration is of VM 99200"));
  }
  SUBCASE("without a snapshot") {
    PlanStage::remove_snapshot(*there.stage.replica_image("scsi1"), name);
    CHECK(there.incomplete() == std::string(second) + " does not have its snapshot");
  }
  SUBCASE("with another snapshot of that name") {
    PlanStage::remove_snapshot(*there.stage.replica_image("scsi1"), name);
    there.stage.snapshot(*there.stage.replica_image("scsi1"), name);
    CHECK(there.incomplete() == std::string(second) + " has a snapshot of its name that is not its own, or is being removed");
  }
  SUBCASE("without an image") {
    there.stage.replica_image("scsi1").reset();
    CHECK(there.incomplete() == std::string("there is no image ") + second + " of this replica");
  }
  SUBCASE("an image whose record was copied from another one") {
    there.stage.replica_image("scsi1")->id = "another";
    CHECK(there.incomplete() == std::string("there is no image ") + second + " of this replica");
  }
  SUBCASE("a disk that is not in the configuration any more still counts") {
    there.stage.put_target("memory: 512\nscsi0: copy:vm-99100-disk-0-ssd\n");
    CHECK(images_to_look_at(99100, there.look()).size() == 2);
    CHECK(there.incomplete().empty());
    CHECK(there.replica().images.size() == 2);
  }
}

TEST_CASE("what is between two points is said") {
  There there;
  there.add_point(noon - hours(2));
  CHECK_FALSE(there.replica().unfinished());
  const std::string begun = there.stage.begin_point(noon - hours(1), ReplicaState::applied, ReplicaState::applying);
  CHECK(there.replica().unfinished());
  const ReplicaReport report = report_of(there.replica(), noon);
  CHECK(report.applying == begun);
  CHECK(report.lock == "migrate");
  CHECK(report.points.at(0).name == begun);
  CHECK(report.points.at(0).incomplete == "its transfer is not finished");
  CHECK(report.points.at(1).complete);
  CHECK(report.points.at(1).age == hours(2));
  CHECK(report.points.at(1).disks.at(0).size_bytes == 32 << 20);
  CHECK(report.source_fsid == east_fsid);
  CHECK(report.job == "Nightly");
}

TEST_CASE("VMs that are no replicas, and images that cannot be told") {
  There there;
  there.stage.put_target(there.stage.replica_config);
  CHECK_FALSE(read_replica(99100, there.look()));
  there.add_point(noon - hours(1));
  SUBCASE("a record of another VM") {
    for (const std::string key : {"scsi0", "scsi1"}) {
      ReplicaRecord record = there.stage.record(key);
      record.target_vmid = 1;
      there.stage.save(key, record);
    }
    CHECK_FALSE(read_replica(99100, there.look()));
  }
  SUBCASE("of two jobs") {
    ReplicaRecord record = there.stage.record("scsi1");
    record.job = "Hourly";
    there.stage.save("scsi1", record);
    CHECK(has(there.refusal(), "by the job 'Hourly'"));
  }
  SUBCASE("a record that cannot be read") {
    there.stage.replica_image("scsi1")->metadata[std::string(replica_key)] = "{\"version\":3}";
    CHECK(has(there.refusal(), "a newer version of crossover wrote it"));
    CHECK(plan_prune(parse_options("99100", PruneOptions{.keep_remote = "0s"}), there.replica(), noon).problem);
  }
  SUBCASE("an image that cannot be looked at") {
    there.problems[there.replica().images.at(1).ref] = {ErrorCode::io, "it is on fire"};
    CHECK(has(there.refusal(), "it is on fire"));
  }
}

TEST_CASE("a recovery in its steps, and in whose way something stands") {
  There there;
  there.add_point(noon - hours(2));
  const std::string name = there.add_point(noon - hours(1));
  SUBCASE("all of it") {
    there.stage.put_target(there.stage.replica_config + "cipassword: secret\n");
    const RecoverPlan plan = there.recover({.start = true});
    std::vector<RecoverStepKind> kinds;
    for (const RecoverStep& step : plan.steps) kinds.push_back(step.kind);
    using enum RecoverStepKind;
    CHECK(kinds ==
          std::vector<RecoverStepKind>{promote, lock, check, roll_back, roll_back, settle, write_config, start});
    CHECK(plan.point == name);
    CHECK(plan.promotion == Promotion{name, noon});
    // Of the point, with what is not recorded: the password that is there.
    const VmConfig config = parse_vm_config(plan.config);
    CHECK(config.get("onboot") == "1");
    CHECK(config.get("cipassword") == "secret");
    CHECK_FALSE(config.get("lock"));
    const VmConfig locked = parse_vm_config(plan.locked_config);
    CHECK(locked.get("onboot") == "0");
    CHECK(locked.get("lock") == "migrate");
  }
  SUBCASE("a guest that had no onboot has none again") {
    there.stage.replica_image("scsi0")->metadata[std::string(point_key_prefix) + name] =
        render_point({99100, there.stage.replica_config, std::nullopt, "", {first, second}});
    CHECK_FALSE(parse_vm_config(there.recover().config).get("onboot"));
  }
  SUBCASE("no quorum") {
    there.stage.inventory.destination.writable = false;
    CHECK(has(there.refusal(), "no quorum"));
  }
  SUBCASE("its node does not answer") {
    there.stage.inventory.destination.nodes.at("w1").unreachable = "timeout";
    CHECK(has(there.refusal(), "unreachable: VM 99100 is on w1"));
  }
  SUBCASE("nobody knows whether it runs") {
    there.stage.put_target(there.stage.replica_config, Power::unknown);
    CHECK(has(there.refusal(), "does not say whether it runs"));
  }
  SUBCASE("no point at all") {
    there.stage.replica_image("scsi0")->metadata.erase(std::string(point_key_prefix) + name);
    there.stage.replica_image("scsi0")->metadata.erase(std::string(point_key_prefix) + point_name(noon - hours(2)));
    CHECK(has(there.refusal(), "no recovery point that is complete and good"));
  }
  SUBCASE("a name that is none") {
    CHECK_THROWS_AS((void)parse_options(99100, RecoverOptions{.point = "yesterday"}), Error);
  }
  SUBCASE("one that was begun at an older point goes on there") {
    ReplicaRecord record = there.stage.record("scsi1");
    record.promoted = Promotion{point_name(noon - hours(2)), noon};
    record.state = ReplicaState::applying;
    there.stage.save("scsi1", record);
    CHECK(there.recover().point == point_name(noon - hours(2)));
    CHECK(there.recover({.point = name}).point == name);
  }
}

TEST_CASE("retention where the replica is") {
  There there;
  for (int hour = 5; hour > 0; --hour) there.add_point(noon - hours(hour));
  SUBCASE("the newest stays, and what the policy keeps") {
    CHECK(there.removed("0s") == "0@0700 0@0800 0@0900 0@1000 1@0700 1@0800 1@0900 1@1000");
    CHECK(there.removed("last=3") == "0@0700 0@0800 1@0700 1@0800");
    CHECK(there.removed("3h") == "0@0700 0@0800 1@0700 1@0800");
    CHECK(there.removed("1d").empty());
  }
  SUBCASE("the newest good one stays beside a newer bad one, and takes no bad one's turn") {
    ReplicaRecord record = there.stage.record("scsi0");
    record.points.at(4).bad = record.points.at(3).bad = true;
    there.stage.save("scsi0", record);
    CHECK(there.removed("0s") == "0@0700 0@0800 0@1000 1@0700 1@0800 1@1000");
    CHECK(there.removed("last=2") == "0@0700 1@0700");
  }
  SUBCASE("base and end of a transfer that is under way stay") {
    const std::string end = there.stage.begin_point(noon, ReplicaState::applied, ReplicaState::applying);
    there.stage.snapshot(*there.stage.replica_image("scsi0"), end);
    CHECK(there.removed("0s") == "0@0700 0@0800 0@0900 0@1000 1@0700 1@0800 1@0900 1@1000");
    // From an older base, for the source has no newer one any more.
    for (const std::string key : {"scsi0", "scsi1"}) {
      ReplicaRecord record = there.stage.record(key);
      Snapshot base;
      base.id = record.points.at(1).source_id;
      record.transfer = transfer_id(record, base, record.end_source_id);
      there.stage.save(key, record);
    }
    CHECK(there.removed("0s") == "0@0700 0@0900 0@1000 1@0700 1@0900 1@1000");
    // Taken back, and nobody knows to where.
    ReplicaRecord record = there.stage.record("scsi1");
    record.state = ReplicaState::applying;
    record.transfer.clear();
    there.stage.save("scsi1", record);
    CHECK(there.removed("0s").empty());
  }
  SUBCASE("nothing goes from one that was promoted, or never became a replica") {
    ReplicaRecord record = there.stage.record("scsi1");
    record.promoted = Promotion{point_name(noon - hours(1)), noon};
    there.stage.save("scsi1", record);
    CHECK(has(there.removed("0s"), "it was promoted"));
  }
  SUBCASE("points that are not whole any more go by age, and take no whole one's turn") {
    PlanStage::remove_snapshot(*there.stage.replica_image("scsi1"), point_name(noon - hours(2)));
    CHECK(there.removed("last=2") == "0@0700 0@0800 1@0700 1@0800");
  }
}

TEST_CASE("a replica without a complete point is left alone") {
  There there;
  there.stage.begin_replica();
  there.stage.snapshot(*there.stage.replica_image("scsi0"), point_name(noon - hours(1)));
  CHECK(there.removed("0s") == "it has no complete recovery point");
}
