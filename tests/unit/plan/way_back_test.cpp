// A guest that was promoted, and the images it came from: when they become its replica, and from which snapshot.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "plan_stage.hpp"
#include "support/golden.hpp"
#include "support/records.hpp"

using namespace crossover;
using namespace crossover::test;
using std::chrono::hours;

namespace {

const std::string older = point_name(noon - hours(3));
const std::string newer = point_name(noon - hours(2));

ReplicaRecord promoted_record(PlanStage& stage, const std::string& key) {
  return image_record(*stage.source_image(key)).replica.value();
}

void save_promoted(PlanStage& stage, const std::string& key, const ReplicaRecord& record) {
  put_record(stage.source_image(key)->metadata, {record, std::nullopt});
}

/// As if the origin had been this disk's replica before, and was promoted at `points`; or is it, without promotion.
ReplicaRecord origin_record(PlanStage& stage, const std::string& key, const std::vector<PointIds>& points,
                            bool promoted) {
  const ImageState& source = *stage.source_image(key);
  ReplicaRecord record;
  record.source = {east_fsid, source.pool_id, source.id, 100};
  record.job = "Nightly";
  record.target_vmid = 99100;
  record.image_id = stage.origin_image(key)->id;
  record.pool_id = stage.origin_image(key)->pool_id;
  record.state = ReplicaState::complete;
  record.points = points;
  if (promoted) record.promoted = Promotion{points.back().name, noon};
  return record;
}

void save_origin(PlanStage& stage, const std::string& key, const ReplicaRecord& record) {
  put_record(stage.origin_image(key)->metadata, {record, std::nullopt});
}

void check_conflict(PlanStage& stage, Conflict conflict, const std::vector<std::string>& words) {
  const GuestPlan plan = stage.plan();
  CAPTURE(PlanStage::text_of(plan));
  REQUIRE(plan.problem);
  CHECK(plan.problem->conflict == conflict);
  for (const std::string& word : words) {
    CAPTURE(word);
    CHECK(plan.problem->text.find(word) != std::string::npos);
  }
}

bool takes_back(const GuestPlan& plan) {
  return !plan.problem &&
         std::all_of(plan.disks.begin(), plan.disks.end(), [](const DiskPlan& disk) { return disk.take_back; });
}

}  // namespace

TEST_CASE("a guest goes back to the images it came from, wherever they are") {
  PlanStage stage;
  stage.come_from_west({older, newer});
  check_golden("plan/way-back.txt", stage.text());
  const GuestPlan plan = stage.plan();
  REQUIRE(takes_back(plan));
  CHECK(plan.disks[1].volume == "other:vm-99100-disk-1");
  CHECK(plan.replica_config.find("scsi1: other:vm-99100-disk-1,") != std::string::npos);
  CHECK(plan.warnings.empty());
  CHECK(plan.removals.empty());
  for (const DiskPlan& disk : plan.disks) {
    const std::string& key = disk.disk.key;
    CHECK(disk.points == std::vector<PointIds>{{newer, stage.source_image(key)->snapshots.back().id,
                                                stage.origin_image(key)->snapshots.back().id, false, true}});
    CHECK(disk.replica_newest == disk.replica_base);
    CHECK(disk.source_record.replica->promoted);
  }
  stage.options.discard_changes = true;
  check_golden("plan/way-back-discard.txt", stage.text());
}

TEST_CASE("the base is the newest good point that both sides have by its ids") {
  PlanStage stage;
  stage.come_from_west({older, newer});
  std::string expected = newer;
  ReplicaRecord record = promoted_record(stage, "scsi0");
  SUBCASE("gone on the source") {
    PlanStage::remove_snapshot(*stage.source_image("scsi0"), newer);
    expected = older;
  }
  SUBCASE("gone on the origin") {
    PlanStage::remove_snapshot(*stage.origin_image("scsi0"), newer);
    expected = older;
  }
  SUBCASE("made anew with the name it had") {
    PlanStage::remove_snapshot(*stage.origin_image("scsi0"), newer);
    stage.snapshot(*stage.origin_image("scsi0"), newer);
    expected = older;
  }
  SUBCASE("bad on another disk") {
    ReplicaRecord second = promoted_record(stage, "scsi1");
    second.points.back().bad = true;
    save_promoted(stage, "scsi1", second);
    expected = older;
  }
  SUBCASE("a base of the promoted replica itself") {
    record.points.back().adopted = true;
    save_promoted(stage, "scsi0", record);
  }
  SUBCASE("a snapshot that no record knows") {
    stage.snapshot(*stage.source_image("scsi0"), "manual");
    stage.snapshot(*stage.origin_image("scsi0"), "manual");
  }
  const GuestPlan plan = stage.plan();
  CAPTURE(PlanStage::text_of(plan));
  REQUIRE(takes_back(plan));
  CHECK(plan.disks[0].source_base->name == expected);
  CHECK(plan.disks[0].replica_base->name == expected);
}

TEST_CASE("without a base nothing is taken back") {
  PlanStage stage;
  stage.come_from_west({newer});
  PlanStage::remove_snapshot(*stage.source_image("scsi1"), newer);
  check_conflict(stage, Conflict::no_common_base, {"slow/vm-100-disk-1", "more/vm-99100-disk-1", "--reseed"});
  stage.options.reseed = true;
  const GuestPlan plan = stage.plan();
  REQUIRE_FALSE(plan.problem);
  CHECK(plan.reseeds);
  CHECK(plan.disks[1].full);
  CHECK(plan.disks[1].replaces->image == ImageSpec{"more", "", "vm-99100-disk-1"});
}

TEST_CASE("of two sides that were each other's replica the guest is where it was promoted last") {
  struct Row {
    std::uint64_t older_or_newer;  // than the newest snapshot of the origin that the disk's record knows
    bool goes;
  };
  for (const Row& row : {Row{0, true}, Row{1, false}, Row{2, false}}) {
    CAPTURE(row.older_or_newer);
    PlanStage stage;
    stage.come_from_west({older, newer});
    for (const std::string key : {"scsi0", "scsi1"}) {
      const std::uint64_t newest = promoted_record(stage, key).points.back().source_id;
      save_origin(stage, key, origin_record(stage, key, {{older, 90, newest + row.older_or_newer - 1}}, true));
    }
    if (row.goes) {
      CHECK(takes_back(stage.plan()));
    } else {
      check_conflict(stage, Conflict::replica_promoted, {"VM 99100"});
    }
  }
  SUBCASE("one disk is enough") {
    PlanStage stage;
    stage.come_from_west({older, newer});
    save_origin(stage, "scsi1", origin_record(stage, "scsi1", {{newer, 90, 999}}, true));
    check_conflict(stage, Conflict::replica_promoted, {"VM 99100"});
  }
}

TEST_CASE("what was taken back in a run that was cut is gone on with") {
  PlanStage stage;
  stage.come_from_west({older, newer});
  const std::vector<PointIds> taken = stage.plan().disks[0].points;
  save_origin(stage, "scsi0", origin_record(stage, "scsi0", taken, false));
  const GuestPlan plan = stage.plan();
  REQUIRE_FALSE(plan.problem);
  CHECK_FALSE(plan.disks[0].take_back);
  CHECK(plan.disks[0].replica_base->name == newer);
  CHECK(plan.disks[1].take_back);

  save_origin(stage, "scsi1", origin_record(stage, "scsi1", stage.plan().disks[1].points, false));
  const GuestPlan later = stage.plan();
  REQUIRE_FALSE(later.problem);
  CHECK(later.disks[1].replica.spec == ImageSpec{"more", "", "vm-99100-disk-1"});
  CHECK_FALSE(later.disks[1].take_back);
}

TEST_CASE("what is no origin is not taken for one") {
  PlanStage stage;
  stage.come_from_west({older, newer});
  // Both disks' records are changed in the same way.
  bool is_fenced = true;
  std::function<void(ReplicaRecord&)> change = [](ReplicaRecord&) {};
  SUBCASE("another cluster's image") {
    change = [](ReplicaRecord& one) { one.source.fsid = "cccccccc-2222-3333-4444-555555555555"; };
  }
  SUBCASE("another pool's") {
    change = [](ReplicaRecord& one) { one.source.pool_id += 10; };
  }
  SUBCASE("one that was made anew with the name it had") {
    change = [](ReplicaRecord& one) { one.source.image_id += "x"; };
  }
  SUBCASE("a disk that was promoted as another guest's") {
    change = [](ReplicaRecord& one) { one.target_vmid = 101; };
  }
  SUBCASE("a replica that was not promoted") {
    change = [](ReplicaRecord& one) { one.promoted.reset(); };
  }
  SUBCASE("another guest's configuration") {
    stage.put_target("name: web\nscsi0: copy:vm-99100-disk-0\nscsi1: other:vm-99100-disk-1\nvmgenid: 1\n");
  }
  SUBCASE("a configuration that does not name it") {
    is_fenced = false;
    stage.put_target("name: web\nvmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3c4d\n");
  }
  SUBCASE("the replica of another guest") {
    for (const std::string key : {"scsi0", "scsi1"}) {
      ReplicaRecord other = origin_record(stage, key, {{newer, 90, 91}}, false);
      other.source.image_id = "other";
      other.source.guest = 7;
      save_origin(stage, key, other);
    }
  }
  for (const std::string key : {"scsi0", "scsi1"}) {
    ReplicaRecord changed = promoted_record(stage, key);
    change(changed);
    save_promoted(stage, key, changed);
  }
  check_conflict(stage, Conflict::target_vmid_taken, {"VM 99100 (web)"});
  if (stage.plan().problem->text.find("--overwrite") == std::string::npos) return;
  // And what fences the guest over there is not ours to take away.
  stage.options.overwrite = true;
  const GuestPlan plan = stage.plan();
  CAPTURE(PlanStage::text_of(plan));
  REQUIRE(plan.problem);
  CHECK((plan.problem->code == ErrorCode::locked) == is_fenced);
}

TEST_CASE("a guest that could go back is told where to, if its job's name is taken") {
  PlanStage stage;
  stage.come_from_west({newer});
  stage.options.vmid = "100:500";
  stage.options.prefix_id.clear();
  check_conflict(stage, Conflict::job_name_taken, {"--jobname", "VM 99100 over there"});
  stage.options.job_name = "Weekly";
  const GuestPlan plan = stage.plan();
  REQUIRE_FALSE(plan.problem);
  CHECK(plan.disks[0].full);
}

TEST_CASE("a promotion that is not finished is no guest to go back") {
  PlanStage stage;
  stage.come_from_west({newer});
  ReplicaRecord record = promoted_record(stage, "scsi1");
  record.state = ReplicaState::applying;
  save_promoted(stage, "scsi1", record);
  check_conflict(stage, Conflict::source_unfinished, {"slow/vm-100-disk-1"});
}

TEST_CASE("what the configuration over there names besides is said") {
  PlanStage stage;
  stage.come_from_west({newer});
  stage.put_target(stage.origin_config +
                   "scsi5: other:vm-99100-disk-5\nunused0: copy:vm-99100-disk-9\nide2: none,media=cdrom\n"
                   "ide0: copy:vm-99100-cloudinit,media=cdrom\n\n[before]\nmemory: 256\n"
                   "scsi0: copy:vm-99100-disk-0,size=32M\n\n[after]\nscsi0: copy:vm-99100-disk-0,size=32M\n");
  stage.snapshot(*stage.origin_image("scsi0"), "after");
  const GuestPlan plan = stage.plan();
  CAPTURE(PlanStage::text_of(plan));
  REQUIRE(takes_back(plan));
  REQUIRE(plan.warnings.size() == 3);
  CHECK(plan.warnings[0].find("other:vm-99100-disk-5 (scsi5)") != std::string::npos);
  CHECK(plan.warnings[1].find("copy:vm-99100-disk-9 (unused0)") != std::string::npos);
  CHECK(plan.warnings[2].find("[before]: copy:vm-99100-disk-0 has no RBD snapshot") != std::string::npos);
  // The guest's own snapshots are there as before.
  CHECK(plan.replica_snapshots == "\n[after]\nscsi0: copy:vm-99100-disk-0,size=32M\n");
}

TEST_CASE("a migration back that was cut once it had promoted goes on with the images it promoted, in any storage") {
  for (const std::string only : {"", "scsi0", "scsi1"}) {
    CAPTURE(only);
    PlanStage stage;
    stage.come_from_west({older, newer});
    const std::string back = point_name(noon - hours(1));
    const GuestPlan before = stage.plan();
    for (const std::string key : {"scsi0", "scsi1"}) {
      std::vector<PointIds> points = before.disks.at(key == "scsi0" ? 0 : 1).points;
      const Snapshot here = stage.snapshot(*stage.source_image(key), back);
      points.push_back({back, here.id, stage.snapshot(*stage.origin_image(key), back).id});
      save_origin(stage, key, origin_record(stage, key, points, only.empty() || only == key));
    }
    const MirrorRequest request = parse_options(stage.options);
    auto scopes = scope_both(request, stage.inventory.source, stage.inventory.destination);
    (void)stage.plan();
    choose_replicas(scopes.front(), request, stage.inventory);
    std::vector<std::string> replicas;
    for (const ImageRef& image : scopes.front().replicas) replicas.push_back(to_string(image.spec));
    CHECK(replicas == std::vector<std::string>{"backup/vm-99100-disk-0", "more/vm-99100-disk-1"});
    check_conflict(stage, Conflict::replica_promoted, {"VM 99100"});
  }
}

TEST_CASE("retention takes nothing of what a guest was promoted with") {
  PlanStage stage;
  stage.options.keep_local = "0s";
  stage.options.keep_remote = "0s";
  stage.come_from_west({older, newer});
  for (const std::string key : {"scsi0", "scsi1"}) {
    ReplicaRecord record = origin_record(stage, key, stage.plan().disks[key == "scsi0" ? 0 : 1].points, false);
    const std::string name = point_name(noon - hours(1));
    const ReplicaRecord promoted = promoted_record(stage, key);
    const Snapshot here = stage.snapshot(*stage.source_image(key), name);
    record.points.push_back({name, here.id, stage.snapshot(*stage.origin_image(key), name).id});
    save_origin(stage, key, record);
    const ImageState& source = *stage.source_image(key);
    const SourceRecord jobs{{east_fsid, source.pool_id, source.id, 100},
                            {{"nightly", {"Nightly", west_fsid, 99100}}}};
    put_record(stage.source_image(key)->metadata, {promoted, jobs});
  }
  const GuestPlan plan = stage.plan();
  CAPTURE(PlanStage::text_of(plan));
  REQUIRE_FALSE(plan.problem);
  // Of the source goes what this job made there itself; over there what is older than the point both now have.
  for (const Removal& removal : plan.removals) {
    CAPTURE(removal.snapshot.name);
    if (removal.on_source) CHECK(removal.snapshot.name == point_name(noon - hours(1)));
  }
  CHECK(std::count_if(plan.removals.begin(), plan.removals.end(),
                      [](const Removal& removal) { return removal.on_source; }) == 2);
}
