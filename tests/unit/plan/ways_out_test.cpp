// Conflicts have names, and the ways out of them are planned only when they are asked for.
#include <doctest/doctest.h>

#include <algorithm>

#include "plan/points.hpp"
#include "plan_stage.hpp"
#include "support/golden.hpp"
#include "support/records.hpp"

using namespace crossover;
using namespace crossover::test;
using std::chrono::hours;

namespace {

const std::string older = "mirror-20261101192032";
const std::string newer = "mirror-20261101192144";

/// The plan is stopped by this conflict, and its text begins with its name and has these words.
void check_conflict(PlanStage& stage, Conflict conflict, const std::vector<std::string>& words) {
  const GuestPlan plan = stage.plan();
  CAPTURE(PlanStage::text_of(plan));
  REQUIRE(plan.problem);
  CHECK(plan.problem->conflict == conflict);
  CHECK(plan.problem->text.starts_with(fmt::format("VM 100: {}: ", to_string(conflict))));
  CHECK(plan.problem->text.find('\n') == std::string::npos);
  for (const std::string& word : words) {
    CAPTURE(word);
    CHECK(plan.problem->text.find(word) != std::string::npos);
  }
}

bool has_step(const GuestPlan& plan, StepKind kind) {
  return std::any_of(plan.steps.begin(), plan.steps.end(), [kind](const Step& step) { return step.kind == kind; });
}

/// A replica whose base somebody removed from the source.
void lose_base(PlanStage& stage) {
  const std::string only = stage.add_point(noon - hours(1));
  for (const char* key : {"scsi0", "scsi1"}) PlanStage::remove_snapshot(*stage.source_image(key), only);
}

/// The record of a copy that a reseed made in that image, as of another source image if `id` says so.
ReplicaRecord copy_of(PlanStage& stage, const std::string& key, const std::string& id) {
  ReplicaRecord record = stage.record(key);
  record.image_id = id;
  record.points.clear();
  record.state = ReplicaState::applying;
  record.replaces = ImageIdentity{{"backup", "", key == "scsi0" ? "vm-99100-disk-0-ssd" : "vm-99100-disk-1-hdd"},
                                  stage.replica_image(key)->id};
  return record;
}

void put_copy(std::optional<ImageState>& image, const ReplicaRecord& record) {
  image = PlanStage::image(record.image_id, 5, 32 << 20);
  put_record(image->metadata, {record, std::nullopt});
}

const std::string first_copy = "vm-99100-disk-0-ssd-r2";
const std::string second_copy = "vm-99100-disk-1-hdd-r2";

/// The configuration as a reseed leaves it.
std::string reseeded_config(const PlanStage& stage) {
  VmConfig config = parse_vm_config(stage.replica_config);
  config.set("scsi0", "copy:" + first_copy + ",size=32M");
  config.set("scsi1", "copy:" + second_copy + ",size=8M");
  return config.to_bytes();
}

}  // namespace

TEST_CASE("each conflict has its name") {
  PlanStage stage;
  SUBCASE("no common base") {
    lose_base(stage);
    check_conflict(stage, Conflict::no_common_base, {"fast/vm-100-disk-0", "--reseed"});
  }
  SUBCASE("image in use") {
    stage.add_point(noon - hours(1));
    stage.replica_image("scsi0")->watchers = {"192.0.2.9:0/1"};
    check_conflict(stage, Conflict::image_in_use, {"192.0.2.9:0/1"});
    CHECK(stage.plan().problem->code == ErrorCode::in_use);
  }
  SUBCASE("another source, which a restored guest is: --reseed") {
    stage.add_point(noon - hours(1));
    stage.source_image("scsi0")->id = "restored";
    stage.source_image("scsi0")->metadata.clear();
    check_conflict(stage, Conflict::another_source, {"image id s0", "restored", "--reseed"});
  }
  SUBCASE("another source in another cluster") {
    stage.add_point(noon - hours(1));
    ReplicaRecord record = stage.record("scsi0");
    record.source.fsid = west_fsid;
    stage.save("scsi0", record);
    check_conflict(stage, Conflict::another_source, {west_fsid, "choose another target VMID"});
  }
  SUBCASE("another source of the same guest's, for another target VMID: --reseed would not take it either") {
    stage.add_point(noon - hours(1));
    ReplicaRecord record = stage.record("scsi0");
    record.source.image_id = "before";
    record.target_vmid = 555;
    stage.save("scsi0", record);
    for (const bool reseed : {false, true}) {
      stage.options.reseed = reseed;
      check_conflict(stage, Conflict::another_source, {"image id before", "choose another target VMID"});
    }
  }
  SUBCASE("target VMID taken") {
    stage.put_target("name: other\nvmgenid: 11111111-3f65-4d0a-9f6b-0a6d1a2b3c4d\n");
    check_conflict(stage, Conflict::target_vmid_taken, {"VM 99100 (other)", "--prefixid"});
  }
  SUBCASE("replica running") {
    stage.add_point(noon - hours(1));
    stage.put_target(stage.replica_config, Power::running);
    check_conflict(stage, Conflict::replica_running, {"w1", "--discard-changes"});
  }
  SUBCASE("replica promoted, whatever is asked for") {
    const std::string point = stage.add_point(noon - hours(1));
    ReplicaRecord record = stage.record("scsi0");
    record.promoted = Promotion{point, noon};
    stage.save("scsi0", record);
    check_conflict(stage, Conflict::replica_promoted, {point, "qm destroy 99100"});
    stage.options.discard_changes = true;
    stage.options.reseed = true;
    check_conflict(stage, Conflict::replica_promoted, {point});
  }
  SUBCASE("image name taken") {
    stage.replica_image("scsi0") = PlanStage::image("r0", 5, 32 << 20);
    check_conflict(stage, Conflict::image_name_taken, {"no record"});
  }
  SUBCASE("job name taken") {
    stage.add_point(noon - hours(1));
    stage.options.job_name = "NIGHTLY!";
    check_conflict(stage, Conflict::job_name_taken, {"'Nightly'"});
  }
}

TEST_CASE("what was written to a replica is dropped only when that is asked for") {
  PlanStage stage;
  stage.add_point(noon - hours(1));
  CHECK(stage.text().find("roll") == std::string::npos);
  stage.options.discard_changes = true;
  check_golden("plan/discard-changes.txt", stage.text());
}

TEST_CASE("a replica of the shell tool is left alone, and its conflict names the way to take it over") {
  PlanStage stage;
  stage.add_shell_tool_replica({older, newer});
  check_conflict(stage, Conflict::target_vmid_taken, {"--overwrite", "--adopt"});
  stage.options.overwrite = true;
  check_conflict(stage, Conflict::image_name_taken, {"vm-99100-disk-0-ssd", newer, "--adopt"});
}

TEST_CASE("a replica of the shell tool is taken over from its newest common snapshot") {
  PlanStage stage;
  stage.options.adopt = true;
  stage.add_shell_tool_replica({older, newer});
  check_golden("plan/adopt.txt", stage.text());
  const GuestPlan plan = stage.plan();
  CHECK(plan.disks[0].points ==
        std::vector<PointIds>{{newer, stage.source_image("scsi0")->snapshots.back().id,
                               stage.replica_image("scsi0")->snapshots.back().id, false, true}});
  REQUIRE(plan.warnings.size() == 2);
  CHECK(plan.warnings[0].find(older) != std::string::npos);
  CHECK(plan.removals.empty());

  SUBCASE("one that every disk has") {
    PlanStage::remove_snapshot(*stage.replica_image("scsi1"), newer);
    // The other disk's head cannot be unchanged since, which is for the run to find.
    CHECK(stage.plan().disks[0].replica_base->name == older);
  }
  SUBCASE("none that every disk has") {
    PlanStage::remove_snapshot(*stage.replica_image("scsi1"), newer);
    PlanStage::remove_snapshot(*stage.source_image("scsi0"), older);
    check_conflict(stage, Conflict::no_common_base, {older, newer, "--reseed"});
  }
  SUBCASE("names that are no moment are none of the shell tool's") {
    for (const char* key : {"scsi0", "scsi1"}) {
      for (ImageState* image : {&*stage.source_image(key), &*stage.replica_image(key)}) {
        image->snapshots = {{1, "mirror-20261301000000", 8 << 20}, {2, "mirror-before-upgrade", 8 << 20}};
      }
    }
    check_conflict(stage, Conflict::no_common_base, {"none", "--reseed"});
  }
  SUBCASE("another size") {
    for (Snapshot& snapshot : stage.replica_image("scsi1")->snapshots) snapshot.size_bytes += 4096;
    check_conflict(stage, Conflict::size_mismatch, {newer, "8388608", "8392704", "--reseed"});
  }
  SUBCASE("an image that is open") {
    stage.replica_image("scsi1")->watchers = {"192.0.2.9:0/1"};
    check_conflict(stage, Conflict::image_in_use, {"vm-99100-disk-1-hdd", "192.0.2.9:0/1"});
  }
  SUBCASE("another guest's configuration") {
    stage.put_target("name: other\nscsi0: copy:vm-99100-disk-0-ssd\nvmgenid: 1\n");
    check_conflict(stage, Conflict::target_vmid_taken, {"another guest"});
  }
  SUBCASE("no configuration") {
    stage.inventory.destination.guests.clear();
    check_conflict(stage, Conflict::another_source, {"vm-99100-disk-0-ssd", "vmgenid"});
  }
  SUBCASE("a configuration that does not name the image") {
    stage.put_target("name: web\nscsi0: copy:vm-99100-disk-0-ssd\nvmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3c4d\n");
    check_conflict(stage, Conflict::another_source, {"vm-99100-disk-1-hdd", "vmgenid"});
  }
  SUBCASE("a disk that is new gets a first copy") {
    stage.replica_image("scsi1").reset();
    const GuestPlan with_new = stage.plan();
    REQUIRE_FALSE(with_new.problem);
    CHECK(with_new.disks[0].adopt);
    CHECK(with_new.disks[1].full);
  }
}

TEST_CASE("a take-over that was cut between two disks goes on with the same snapshot") {
  PlanStage stage;
  stage.options.adopt = true;
  stage.add_shell_tool_replica({older, newer});
  const ImageState& source = *stage.source_image("scsi0");
  ReplicaRecord record;
  record.source = {east_fsid, source.pool_id, source.id, 100};
  record.job = "Nightly";
  record.target_vmid = 99100;
  record.image_id = "r0";
  record.pool_id = 5;
  record.state = ReplicaState::complete;
  record.end_snapshot = older;
  record.points = {{older, source.snapshots[1].id, stage.replica_image("scsi0")->snapshots[0].id, false, true}};
  stage.save("scsi0", record);
  const GuestPlan plan = stage.plan();
  REQUIRE_FALSE(plan.problem);
  CHECK_FALSE(plan.disks[0].adopt);
  CHECK(plan.disks[0].source_base->name == older);
  CHECK(plan.disks[1].adopt);
  CHECK(plan.disks[1].source_base->name == older);

  // A base, and no recovery point.
  const PointNames names =
      point_names(stage.inventory.replica_images, {plan.disks[0].replica, plan.disks[1].replica});
  CHECK(names.committed.empty());

  // Once it is taken over it needs no flag.
  ReplicaRecord second = record;
  second.source = {east_fsid, 2, "s1", 100};
  second.image_id = "r1";
  second.points = plan.disks[1].points;
  stage.save("scsi1", second);
  stage.options.adopt = false;
  const GuestPlan later = stage.plan();
  REQUIRE_FALSE(later.problem);
  CHECK_FALSE(has_step(later, StepKind::verify_content));
  CHECK(later.disks[1].replica_base->name == older);
}

TEST_CASE("a new copy is made beside the replica, whose configuration is not touched before") {
  PlanStage stage;
  stage.options.reseed = true;
  lose_base(stage);
  check_golden("plan/reseed.txt", stage.text());
  const GuestPlan plan = stage.plan();
  CHECK(plan.reseeds);
  REQUIRE(plan.disks[0].replaces);
  CHECK(*plan.disks[0].replaces == ImageIdentity{{"backup", "", "vm-99100-disk-0-ssd"}, "r0"});
  CHECK(plan.replica_config.find("copy:" + first_copy) != std::string::npos);

  SUBCASE("a name that is taken by something else is passed over") {
    stage.beside(first_copy) = PlanStage::image("x", 5, 1 << 20);
    CHECK(stage.plan().disks[0].replica.spec.name == "vm-99100-disk-0-ssd-r3");
  }
  SUBCASE("a copy that was begun is gone on with") {
    const ReplicaRecord record = copy_of(stage, "scsi0", "c0");
    put_copy(stage.beside(first_copy), record);
    const GuestPlan again = stage.plan();
    CHECK(again.disks[0].replica.spec.name == first_copy);
    CHECK(again.disks[0].replace);
  }
  SUBCASE("one that is another source's is not") {
    ReplicaRecord record = copy_of(stage, "scsi0", "c0");
    record.source.image_id = "other";
    put_copy(stage.beside(first_copy), record);
    CHECK(stage.plan().disks[0].replica.spec.name == "vm-99100-disk-0-ssd-r3");
  }
  SUBCASE("one that was just created is gone on with, if it has no snapshots of somebody else's") {
    for (const char* key : {"scsi0", "scsi1"}) {
      const std::string image = "backup/" + (key == std::string("scsi0") ? first_copy : second_copy);
      stage.source_record(key, {{"nightly", {"Nightly", west_fsid, 99100, image}}});
    }
    stage.beside(first_copy) = PlanStage::image("c0", 5, 32 << 20);
    CHECK(stage.plan().disks[0].replica.spec.name == first_copy);
    stage.snapshot(*stage.beside(first_copy), "keep");
    CHECK(stage.plan().disks[0].replica.spec.name == "vm-99100-disk-0-ssd-r3");
  }
  SUBCASE("no name is free") {
    for (int number = 2; number <= 9; ++number) {
      stage.beside(fmt::format("vm-99100-disk-0-ssd-r{}", number)) = PlanStage::image("x", 5, 1 << 20);
    }
    check_conflict(stage, Conflict::image_name_taken, {"vm-99100-disk-0-ssd-r9"});
  }
  SUBCASE("somebody has the old image open") {
    stage.replica_image("scsi0")->watchers = {"192.0.2.9:0/1"};
    check_conflict(stage, Conflict::image_in_use, {"vm-99100-disk-0-ssd on"});
  }
  SUBCASE("the replica runs") {
    stage.put_target(stage.replica_config, Power::running);
    check_conflict(stage, Conflict::replica_running, {"w1"});
  }
  SUBCASE("the old image is another cluster's") {
    for (const char* key : {"scsi0", "scsi1"}) {
      ReplicaRecord record = stage.record(key);
      record.source.fsid = "cccccccc-2222-3333-4444-555555555555";
      stage.save(key, record);
    }
    stage.options.overwrite = true;
    check_conflict(stage, Conflict::another_source, {"cccccccc"});
  }
  SUBCASE("the guest was restored, so that its disks are other images") {
    for (const char* key : {"scsi0", "scsi1"}) {
      stage.source_image(key)->id += "-restored";
      stage.source_image(key)->metadata.clear();
    }
    const GuestPlan restored = stage.plan();
    REQUIRE_FALSE(restored.problem);
    CHECK(restored.disks[0].replica.spec.name == first_copy);
  }
}

TEST_CASE("a replica of the shell tool can be copied anew") {
  PlanStage stage;
  stage.options.reseed = true;
  stage.add_shell_tool_replica({newer});
  const GuestPlan plan = stage.plan();
  REQUIRE_FALSE(plan.problem);
  CHECK(plan.reseeds);
  CHECK(plan.disks[1].replica.spec.name == second_copy);
  SUBCASE("but no image that nothing says is this guest's") {
    stage.put_target("name: web\nscsi0: copy:vm-99100-disk-0-ssd\nvmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3c4d\n");
    check_conflict(stage, Conflict::image_name_taken, {"vm-99100-disk-1-hdd"});
  }
}

TEST_CASE("without a replica a run that would copy anew is a first copy") {
  PlanStage stage;
  const std::string first = stage.text();
  stage.options.reseed = true;
  CHECK(stage.text() == first);
}

TEST_CASE("the images that the configuration names are the replica's, and what they replaced goes") {
  PlanStage stage;
  const std::string only = stage.add_point(noon - hours(1));
  for (const std::string key : {"scsi0", "scsi1"}) {
    ReplicaRecord record = copy_of(stage, key, key == "scsi0" ? "c0" : "c1");
    record.state = ReplicaState::complete;
    auto& image = stage.beside(key == "scsi0" ? first_copy : second_copy);
    put_copy(image, record);
    const Snapshot there = stage.snapshot(*image, only);
    record.points = {{only, stage.source_image(key)->snapshots.back().id, there.id}};
    put_record(image->metadata, {record, std::nullopt});
    if (key == "scsi0") image->metadata[std::string(point_key_prefix) + only] = render_point({});
  }
  // Not yet: the old ones are.
  CHECK(stage.plan().disks[0].replica.spec.name == "vm-99100-disk-0-ssd");

  stage.put_target(reseeded_config(stage));
  for (const bool reseed : {false, true}) {
    CAPTURE(reseed);
    // A run that is told to copy anew once more goes on with what is there: the one before did not come to its end.
    stage.options.reseed = reseed;
    check_golden("plan/reseeded.txt", stage.text());
    CHECK_FALSE(stage.plan().reseeds);
  }
}

TEST_CASE("a replica is taken over or copied anew") {
  PlanStage stage;
  stage.options.adopt = true;
  stage.options.reseed = true;
  CHECK_THROWS_WITH_AS(parse_options(stage.options), doctest::Contains("--reseed"), Error);
}
