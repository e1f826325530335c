// What a run does to a guest, step by step, in every state the two sides can be in.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "model/image_access.hpp"
#include "plan_stage.hpp"
#include "support/golden.hpp"
#include "support/records.hpp"

using namespace crossover;
using namespace crossover::test;
using std::chrono::hours;
using std::chrono::minutes;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// The plan is stopped, with this code and these words in its text.
void check_problem(const GuestPlan& plan, ErrorCode code, const std::vector<std::string>& words) {
  CAPTURE(PlanStage::text_of(plan));
  REQUIRE(plan.problem);
  CHECK(plan.problem->code == code);
  for (const std::string& word : words) {
    CAPTURE(word);
    CHECK(contains(plan.problem->text, word));
  }
}

}  // namespace

TEST_CASE("a first copy") {
  PlanStage stage;
  const GuestPlan plan = stage.plan();
  check_golden("plan/first-copy.txt", PlanStage::text_of(plan));
  CHECK(plan.replica_config == stage.replica_config);
  CHECK_FALSE(plan.replica_config_before);
  CHECK(plan.onboot == "1");
  CHECK(plan.consistency == "frozen");
  CHECK(plan.source_node == "e1");
  CHECK(plan.target_node == "w1");
  CHECK(plan.removals.empty());
}

TEST_CASE("an incremental run") {
  PlanStage stage;
  stage.add_point(noon - hours(2));
  stage.add_point(noon - hours(1));
  stage.options.keep_remote = "90m";
  check_golden("plan/incremental.txt", stage.text());
}

TEST_CASE("a first copy that was cut short is replaced") {
  PlanStage stage;
  stage.begin_replica();
  check_golden("plan/cut-first-copy.txt", stage.text());
}

TEST_CASE("a first copy with a snapshot that is not ours is left alone") {
  PlanStage stage;
  stage.begin_replica();
  stage.snapshot(*stage.replica_image("scsi1"), "mirror-before-upgrade");
  check_problem(stage.plan(), ErrorCode::conflict, {"vm-99100-disk-1-hdd", "mirror-before-upgrade"});
}

TEST_CASE("an image that Ceph lets nobody write to, or whose changes it does not tell, is refused on either side") {
  struct Row {
    std::uint64_t feature;
    const char* way_out;
  };
  for (const Row& row : {Row{image_feature::non_primary, "rbd mirror image promote "},
                         Row{image_feature::migrating, "rbd migration commit "}}) {
    for (const bool is_source : {true, false}) {
      CAPTURE(row.way_out);
      CAPTURE(is_source);
      PlanStage stage;
      stage.add_point(noon - hours(2));
      (is_source ? stage.source_image("scsi1") : stage.replica_image("scsi1"))->layout.features |= row.feature;
      const std::string image = is_source ? "slow/vm-100-disk-1" : "backup/vm-99100-disk-1-hdd";
      check_problem(stage.plan(), ErrorCode::conflict, {image, row.way_out + image});
    }
  }
}

TEST_CASE("a torn replica is rolled back without asking") {
  for (const ReplicaState state : {ReplicaState::applying, ReplicaState::applied}) {
    PlanStage stage;
    stage.add_point(noon - hours(2));
    stage.add_cut_transfer(noon - hours(1), state);
    check_golden("plan/torn.txt", stage.text());
  }
}

TEST_CASE("end snapshots of a commit that was cut are no base, and go") {
  PlanStage stage;
  stage.add_point(noon - hours(2));
  const std::string name = stage.add_cut_transfer(noon - hours(1), ReplicaState::applied);
  stage.snapshot(*stage.replica_image("scsi0"), name);
  check_golden("plan/applied-not-committed.txt", stage.text());
}

TEST_CASE("a commit that was cut between the point and the last record is taken up where it ended") {
  PlanStage stage;
  stage.add_point(noon - hours(2));
  stage.add_point(noon - hours(1));
  ReplicaRecord record = stage.record("scsi1");
  record.state = ReplicaState::applied;
  record.points.pop_back();
  stage.save("scsi1", record);
  stage.put_target(stage.replica_config + "lock: migrate\n");
  check_golden("plan/committed-not-recorded.txt", stage.text());
}

TEST_CASE("the base is the newest point both sides have, by id") {
  SUBCASE("gone on the source: back to the one before, after a look at the head") {
    PlanStage stage;
    stage.add_point(noon - hours(2));
    const std::string newest = stage.add_point(noon - hours(1));
    for (const char* key : {"scsi0", "scsi1"}) PlanStage::remove_snapshot(*stage.source_image(key), newest);
    check_golden("plan/older-base.txt", stage.text());
  }
  SUBCASE("the same name with another id is another snapshot") {
    PlanStage stage;
    stage.add_point(noon - hours(2));
    const std::string newest = stage.add_point(noon - hours(1));
    PlanStage::remove_snapshot(*stage.source_image("scsi0"), newest);
    stage.snapshot(*stage.source_image("scsi0"), newest);
    const GuestPlan plan = stage.plan();
    REQUIRE_FALSE(plan.problem);
    CHECK(plan.disks[0].source_base->name == point_name(noon - hours(2)));
    CHECK(plan.disks[1].source_base->name == newest);
  }
  SUBCASE("none on the source") {
    PlanStage stage;
    const std::string only = stage.add_point(noon - hours(1));
    PlanStage::remove_snapshot(*stage.source_image("scsi1"), only);
    check_problem(stage.plan(), ErrorCode::conflict, {"slow/vm-100-disk-1", "vm-99100-disk-1-hdd", only});
  }
  SUBCASE("none on the destination") {
    PlanStage stage;
    const std::string only = stage.add_point(noon - hours(1));
    PlanStage::remove_snapshot(*stage.replica_image("scsi1"), only);
    check_problem(stage.plan(), ErrorCode::conflict, {"slow/vm-100-disk-1", "vm-99100-disk-1-hdd", only});
  }
  SUBCASE("the newest gone on the destination: the head may be what somebody wrote") {
    PlanStage stage;
    const std::string old = stage.add_point(noon - hours(2));
    const std::string newest = stage.add_point(noon - hours(1));
    for (const char* key : {"scsi0", "scsi1"}) PlanStage::remove_snapshot(*stage.replica_image(key), newest);
    const GuestPlan plan = stage.plan();
    REQUIRE_FALSE(plan.problem);
    for (const DiskPlan& disk : plan.disks) {
      REQUIRE(disk.replica_newest);
      CHECK(disk.replica_newest->name == old);
    }
  }
}

TEST_CASE("points stay points when the disk that carried their configuration is detached") {
  PlanStage stage;
  stage.add_point(noon - hours(2));
  const std::string newest = stage.add_point(noon - hours(1));
  stage.options.keep_remote = "7d";
  VmConfig config = parse_vm_config(stage.config);
  config.remove("scsi0");
  stage.put_source(config.to_bytes());
  const GuestPlan plan = stage.plan();
  REQUIRE_FALSE(plan.problem);
  REQUIRE(plan.disks.size() == 1);
  CHECK_FALSE(plan.disks.front().full);
  CHECK(plan.disks.front().replica_base->name == newest);
  for (const Removal& removal : plan.removals) CHECK(removal.on_source);
}

TEST_CASE("an image that is not this disk's replica is not touched") {
  PlanStage stage;
  stage.add_point(noon - hours(1));
  SUBCASE("another cluster") {
    ReplicaRecord record = stage.record("scsi0");
    record.source.fsid = west_fsid;
    stage.save("scsi0", record);
    check_problem(stage.plan(), ErrorCode::conflict, {"another source", west_fsid, "vm-99100-disk-0-ssd"});
  }
  SUBCASE("another image of the same name") {
    stage.source_image("scsi0")->id = "s0-again";
    check_problem(stage.plan(), ErrorCode::conflict, {"another source", "image id s0", "s0-again"});
  }
  SUBCASE("another guest") {
    ReplicaRecord record = stage.record("scsi1");
    record.source.guest = 101;
    stage.save("scsi1", record);
    check_problem(stage.plan(), ErrorCode::conflict, {"another source", "VM 101"});
  }
  SUBCASE("another job") {
    ReplicaRecord record = stage.record("scsi1");
    record.job = "Hourly";
    stage.save("scsi1", record);
    check_problem(stage.plan(), ErrorCode::conflict, {"'Hourly'", "'Nightly'"});
  }
  SUBCASE("no record, and something in it") {
    stage.replica_image("scsi1")->metadata.clear();
    stage.snapshot(*stage.replica_image("scsi1"), "mine");
    check_problem(stage.plan(), ErrorCode::conflict, {"vm-99100-disk-1-hdd", "no record"});
  }
  SUBCASE("a record that was copied from another image") {
    stage.replica_image("scsi1")->id = "copy";
    check_problem(stage.plan(), ErrorCode::conflict, {"vm-99100-disk-1-hdd", "no record"});
  }
  SUBCASE("a record that cannot be read") {
    stage.replica_image("scsi1")->metadata[std::string(replica_key)] = "{";
    check_problem(stage.plan(), ErrorCode::format, {std::string(replica_key)});
  }
  SUBCASE("a record of a newer version") {
    stage.source_image("scsi1")->metadata[source_key("other")] = "{\"version\":3}";
    check_problem(stage.plan(), ErrorCode::unsupported, {"newer version"});
  }
  SUBCASE("a promoted replica, whatever else is to be said") {
    ReplicaRecord record = stage.record("scsi1");
    record.promoted = Promotion{"crossover-nightly-20261123T110000Z", noon};
    stage.save("scsi1", record);
    stage.replica_image("scsi0")->watchers = {"192.0.2.9:0/1"};
    SUBCASE("stopped") {}
    SUBCASE("running") {
      stage.put_target(stage.replica_config, Power::running, "w2");
    }
    check_problem(stage.plan(), ErrorCode::conflict,
                  {"VM 100: replica promoted: VM 99100", "crossover-nightly-20261123T110000Z, on 2026-11-23T12:00:00Z",
                   "qm destroy 99100"});
  }
  SUBCASE("open elsewhere") {
    stage.replica_image("scsi0")->watchers = {"192.0.2.9:0/1", "192.0.2.10:0/1"};
    check_problem(stage.plan(), ErrorCode::in_use, {"192.0.2.9:0/1, 192.0.2.10:0/1"});
  }
}

TEST_CASE("an image without a record is replaced only if the source's record says that it was being created") {
  PlanStage stage;
  stage.begin_replica();
  stage.replica_image("scsi1")->metadata.clear();
  SUBCASE("it was") {
    stage.source_record("scsi1", {{"nightly", {"Nightly", west_fsid, 99100, "backup/vm-99100-disk-1-hdd"}}});
    stage.snapshot(*stage.replica_image("scsi1"), point_name(noon - hours(1)));
    check_golden("plan/unrecorded-image.txt", stage.text());
  }
  SUBCASE("another one was") {
    stage.source_record("scsi1", {{"nightly", {"Nightly", west_fsid, 99100, "backup/vm-99100-disk-1-other"}}});
    check_problem(stage.plan(), ErrorCode::conflict, {"backup/vm-99100-disk-1-hdd", "no record"});
  }
  SUBCASE("none was") {
    check_problem(stage.plan(), ErrorCode::conflict, {"backup/vm-99100-disk-1-hdd", "no record"});
  }
  SUBCASE("it was, but somebody marked it since") {
    stage.source_record("scsi1", {{"nightly", {"Nightly", west_fsid, 99100, "backup/vm-99100-disk-1-hdd"}}});
    stage.replica_image("scsi1")->metadata["crossover.other"] = "x";
    check_problem(stage.plan(), ErrorCode::conflict, {"backup/vm-99100-disk-1-hdd", "no record"});
  }
}

TEST_CASE("a job's label belongs to one job, one destination and one direction") {
  PlanStage stage;
  SUBCASE("another job of the same label") {
    stage.source_record("scsi1", {{"nightly", {"NIGHTLY!", west_fsid, 99100}}});
    check_problem(stage.plan(), ErrorCode::conflict, {"'NIGHTLY!'", "'Nightly'"});
  }
  SUBCASE("another destination cluster") {
    stage.source_record("scsi0", {{"nightly", {"Nightly", "cccc", 99100}}});
    check_problem(stage.plan(), ErrorCode::conflict, {"cccc", "--jobname"});
  }
  SUBCASE("another target") {
    stage.source_record("scsi0", {{"nightly", {"Nightly", west_fsid, 88100}}});
    check_problem(stage.plan(), ErrorCode::conflict, {"88100", "--jobname"});
  }
  SUBCASE("other labels do not matter") {
    stage.source_record("scsi0", {{"hourly", {"Hourly", "cccc", 88100}}});
    CHECK_FALSE(stage.plan().problem);
  }
  SUBCASE("the source is a replica of the same label: each would prune the other's points") {
    put_record(stage.source_image("scsi0")->metadata, {ReplicaRecord{.source = {"cccc", 3, "x", 7},
                                     .source_image = "pool/vm-7-disk-0",
                                     .job = "nightly",
                                     .target_vmid = 100,
                                     .image_id = "s0",
                                     .pool_id = 1,
                                     .state = ReplicaState::complete},
                       std::nullopt});
    check_problem(stage.plan(), ErrorCode::conflict, {"fast/vm-100-disk-0", "'nightly'", "--jobname"});
  }
  SUBCASE("the replica is a source of the same label") {
    stage.add_point(noon - hours(1));
    ImageRecord record{stage.record("scsi0"), SourceRecord{{west_fsid, 5, "r0", 99100}, {}}};
    record.source->jobs["nightly"] = {"Nightly", "cccc", 5};
    put_record(stage.replica_image("scsi0")->metadata, record);
    check_problem(stage.plan(), ErrorCode::conflict, {"vm-99100-disk-0-ssd", "'Nightly'", "--jobname"});
  }
}

TEST_CASE("a replica can be a source of another job") {
  PlanStage stage;
  ReplicaRecord record{.source = {"cccc", 3, "x", 7},
                       .source_image = "pool/vm-7-disk-0",
                       .job = "first leg",
                       .target_vmid = 100,
                       .image_id = "s0",
                       .pool_id = 1,
                       .state = ReplicaState::complete};
  auto& metadata = stage.source_image("scsi0")->metadata;
  put_record(metadata, {record, std::nullopt});
  CHECK_FALSE(stage.plan().problem);
  for (const ReplicaState state : {ReplicaState::applying, ReplicaState::applied}) {
    record.state = state;
    put_record(metadata, {record, std::nullopt});
    check_problem(stage.plan(), ErrorCode::conflict, {"fast/vm-100-disk-0", "not finished"});
  }
}

TEST_CASE("what stands at the target's VMID") {
  PlanStage stage;
  const std::string foreign = "name: other\nscsi0: copy:vm-99100-disk-0\n";
  const std::string same = "vmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3c4d\n";
  SUBCASE("a container") {
    stage.inventory.destination.containers[99100] = "w2";
    check_problem(stage.plan(), ErrorCode::conflict, {"container", "w2", "--prefixid"});
  }
  SUBCASE("another guest, whatever is asked for") {
    stage.put_target(foreign);
    for (const bool overwrite : {false, true}) {
      stage.options.overwrite = overwrite;
      check_problem(stage.plan(), ErrorCode::conflict, {"99100", "(other)", "w1", "vmgenid differs"});
    }
  }
  SUBCASE("neither has a vmgenid") {
    std::string config = stage.config;
    config.erase(config.find("vmgenid"));
    for (const std::string generation : {"", "vmgenid: 0\n", "vmgenid: 1\n"}) {
      stage.put_source(config + generation);
      stage.put_target(foreign + generation);
      stage.options.overwrite = true;
      check_problem(stage.plan(), ErrorCode::conflict, {"another guest"});
    }
  }
  SUBCASE("this guest by its vmgenid") {
    stage.put_target(foreign + same);
    check_problem(stage.plan(), ErrorCode::conflict, {"--overwrite may replace it"});
    stage.options.overwrite = true;
    const GuestPlan plan = stage.plan();
    CHECK_FALSE(plan.problem);
    CHECK(plan.replica_config_before == foreign + same);
  }
  SUBCASE("another guest, beside images of a replica whose configuration is gone") {
    stage.add_point(noon - hours(1));
    stage.put_target(foreign);
    check_problem(stage.plan(), ErrorCode::conflict, {"another guest"});
  }
  SUBCASE("the replica on another node keeps its node") {
    stage.add_point(noon - hours(1));
    stage.put_target(stage.replica_config, Power::stopped, "w2");
    const GuestPlan plan = stage.plan();
    CHECK_FALSE(plan.problem);
    CHECK(plan.target_node == "w2");
  }
  SUBCASE("the replica on a node that cannot be asked") {
    stage.add_point(noon - hours(1));
    stage.put_target(stage.replica_config, Power::stopped, "w2");
    stage.inventory.destination.nodes["w2"].unreachable = "it is off";
    check_problem(stage.plan(), ErrorCode::unreachable, {"w2", "it is off"});
  }
  SUBCASE("the replica on a node that is not of the cluster any more") {
    stage.add_point(noon - hours(1));
    stage.put_target(stage.replica_config, Power::stopped, "w9");
    check_problem(stage.plan(), ErrorCode::unreachable, {"w9"});
  }
  SUBCASE("the replica runs") {
    stage.add_point(noon - hours(1));
    stage.put_target(stage.replica_config, Power::running);
    check_problem(stage.plan(), ErrorCode::conflict, {"replica 99100 is running on w1"});
  }
  SUBCASE("nobody knows whether the replica runs") {
    stage.add_point(noon - hours(1));
    stage.put_target(stage.replica_config, Power::unknown);
    check_problem(stage.plan(), ErrorCode::command, {"replica 99100"});
  }
  SUBCASE("the replica is locked by somebody else") {
    stage.add_point(noon - hours(1));
    stage.put_target(stage.replica_config + "lock: backup\n");
    check_problem(stage.plan(), ErrorCode::locked, {"(backup)", "qm unlock 99100"});
  }
  SUBCASE("our lock stands from a run that was cut") {
    stage.add_point(noon - hours(1));
    stage.put_target(stage.replica_config + "lock: migrate\n");
    CHECK_FALSE(stage.plan().problem);
  }
  SUBCASE("somebody's migration has the lock of ours, and the guest is not ours") {
    stage.options.overwrite = true;
    stage.put_target(foreign + same + "lock: migrate\n");
    check_problem(stage.plan(), ErrorCode::locked, {"(migrate)"});
  }
  SUBCASE("what a run left that was cut while it replaced the only image") {
    stage.put_target(stage.replica_config + "lock: migrate\n");
    CHECK_FALSE(stage.plan().problem);
    // Without our lock, or with any other disk, it is somebody's.
    stage.put_target(stage.replica_config);
    CHECK(stage.plan().problem);
    stage.put_target(stage.replica_config + "scsi2: other:vm-99100-disk-7\nlock: migrate\n");
    CHECK(stage.plan().problem);
  }
}

TEST_CASE("what stands in the way on the source") {
  PlanStage stage;
  SUBCASE("running, and --online is not given") {
    stage.options.online = false;
    check_problem(stage.plan(), ErrorCode::usage, {"VM 100", "--online"});
  }
  SUBCASE("its node is off") {
    stage.inventory.source.nodes["e1"].unreachable = "no route to host";
    check_problem(stage.plan(), ErrorCode::unreachable, {"e1", "no route to host"});
  }
  SUBCASE("its node is gone") {
    stage.inventory.source.nodes.erase("e1");
    check_problem(stage.plan(), ErrorCode::unreachable, {"e1"});
  }
  SUBCASE("nobody knows whether it runs") {
    stage.put_source(stage.config, Power::unknown);
    check_problem(stage.plan(), ErrorCode::command, {"qm list"});
  }
  SUBCASE("no quorum, unless no lock is wanted") {
    stage.inventory.source.writable = false;
    check_problem(stage.plan(), ErrorCode::unsupported, {"quorum"});
    stage.options.no_lock = true;
    CHECK_FALSE(stage.plan().problem);
  }
  SUBCASE("no quorum on the destination") {
    stage.inventory.destination.writable = false;
    stage.options.no_lock = true;
    check_problem(stage.plan(), ErrorCode::unsupported, {"destination", "quorum"});
  }
  SUBCASE("an image is missing") {
    stage.source_image("scsi1").reset();
    check_problem(stage.plan(), ErrorCode::not_found, {"scsi1", "slow/vm-100-disk-1"});
  }
}

TEST_CASE("a guest is not mirrored onto itself") {
  PlanStage stage;
  stage.options.prefix_id.clear();
  SUBCASE("the same Ceph, and the same VMID there") {
    stage.inventory.destination = stage.inventory.source;
    stage.inventory.destination.storages = parse_storage_config("rbd: copy\n\tpool backup\n");
    stage.options.overwrite = true;
    stage.inventory.source.guests.at(100).power = Power::stopped;
    stage.inventory.destination.guests.at(100).power = Power::stopped;
    const MirrorRequest request = parse_options(stage.options);
    const auto scopes = scope_both(request, stage.inventory.source, stage.inventory.destination);
    stage.inventory.source_fsids[scopes[0].disks.replicated[0].image.access] = east_fsid;
    stage.inventory.replica_fsids[scopes[0].replicas[0].access] = east_fsid;
    check_problem(plan_guest(request, stage.inventory, scopes.front(), noon), ErrorCode::usage,
                  {"VM 100", "onto itself"});
  }
  SUBCASE("without a disk, by the node it is on") {
    stage.put_source("name: empty\nvmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3c4d\n", Power::stopped);
    stage.inventory.destination.nodes = stage.inventory.source.nodes;
    stage.inventory.destination.guests = stage.inventory.source.guests;
    check_problem(stage.plan(), ErrorCode::usage, {"VM 100", "onto itself"});
  }
}

TEST_CASE("freezing, and what becomes of a guest that is known not to be one that can be frozen") {
  PlanStage stage;
  const auto with_agent = [&](const std::string& value) {
    VmConfig config = parse_vm_config(stage.config);
    config.remove("agent");
    if (!value.empty()) config.set("agent", value);
    stage.put_source(config.to_bytes());
    return stage.plan();
  };
  const auto kinds = [](const GuestPlan& plan) {
    std::string text;
    for (const Step& step : plan.steps) {
      if (step.kind == StepKind::freeze) text += "freeze ";
      if (step.kind == StepKind::pause) text += "pause ";
      if (step.kind == StepKind::snapshot) text += "snapshot ";
      if (step.kind == StepKind::let_go) text += "let go ";
    }
    return text;
  };
  for (const char* value : {"1", "enabled=1", "1,type=virtio", "type=isa,enabled=yes", "1,freeze-fs=1", "on"}) {
    CAPTURE(value);
    for (const auto& [policy, otherwise] :
         {std::pair{"pause", "pause it"}, std::pair{"crash", "go on without"}, std::pair{"fail", "fail"}}) {
      stage.options.no_agent = policy;
      const GuestPlan plan = with_agent(value);
      CHECK(kinds(plan) == "freeze snapshot let go ");
      CHECK(plan.consistency == "frozen");
      CHECK(contains(PlanStage::text_of(plan), std::string("if that cannot be done, ") + otherwise));
      CHECK(contains(PlanStage::text_of(plan), "thaw VM 100"));
    }
  }
  for (const auto& [value, why] : {std::pair{"", "no guest agent"},
                                   {"0", "no guest agent"},
                                   {"enabled=0", "no guest agent"},
                                   {"0,freeze-fs=1", "no guest agent"},
                                   {"type=virtio", "no guest agent"},
                                   {"1,freeze-fs=0", "freeze-fs is off"},
                                   {"freeze-fs-on-backup=no,enabled=1", "freeze-fs is off"},
                                   {"enabled=1,guest-fsfreeze=0", "freeze-fs is off"},
                                   {"1,fstrim_cloned_disks=1,guest-fsfreeze=0,type=virtio", "freeze-fs is off"}}) {
    CAPTURE(value);
    stage.options = PlanStage().options;
    const GuestPlan paused = with_agent(value);
    CHECK(kinds(paused) == "pause snapshot let go ");
    CHECK(paused.consistency.starts_with("paused: "));
    CHECK(contains(paused.consistency, why));
    CHECK(contains(PlanStage::text_of(paused), "resume VM 100"));
    CHECK(paused.warnings.empty());

    stage.options.no_agent = "crash";
    const GuestPlan crash = with_agent(value);
    CHECK(kinds(crash) == "snapshot ");
    CHECK(crash.consistency.starts_with("not frozen: "));
    CHECK(contains(crash.consistency, why));
    REQUIRE(crash.warnings.size() == 1);
    CHECK(contains(crash.warnings.front(), "its disks may differ by milliseconds"));

    stage.options.no_agent = "fail";
    check_problem(with_agent(value), ErrorCode::unsupported,
                  {"VM 100", "cannot be frozen", why, "--no-agent=pause"});
    stage.options.no_agent = "pause";
    stage.options.require_freeze = true;
    check_problem(with_agent(value), ErrorCode::unsupported, {"VM 100", "cannot be frozen", why});
  }
  // A guest that is stopped needs none of it.
  stage.put_source(stage.config, Power::stopped);
  CHECK(kinds(stage.plan()) == "snapshot ");
  CHECK(stage.plan().consistency == "stopped");
}

TEST_CASE("locks as they are asked for") {
  PlanStage stage;
  stage.options.no_lock = true;
  check_golden("plan/nolock.txt", stage.text());
  stage.options.no_lock = false;
  stage.options.keep_source_lock = true;
  check_golden("plan/keep-slock.txt", stage.text());
}

TEST_CASE("names sort by time though the clock was set back") {
  PlanStage stage;
  const std::string newest = stage.add_point(noon);
  const GuestPlan plan = stage.plan(noon - hours(5));
  CHECK(plan.snapshot == point_name(noon + std::chrono::seconds(1)));
  CHECK(plan.removals.empty());
  // A name a run left on one side only counts as well, other jobs' do not.
  PlanStage other;
  other.snapshot(*other.source_image("scsi1"), point_name(noon + minutes(1)));
  other.snapshot(*other.source_image("scsi1"), point_name(noon + minutes(5), "hourly"));
  CHECK(other.plan().snapshot == point_name(noon + minutes(1) + std::chrono::seconds(1)));
}

TEST_CASE("a guest without disks is its configuration") {
  PlanStage stage;
  stage.put_source("memory: 512\nname: empty\nvmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3c4d\n", Power::stopped);
  const GuestPlan plan = stage.plan();
  check_golden("plan/no-disks.txt", PlanStage::text_of(plan));
  CHECK(plan.warnings.size() == 1);
  CHECK(plan.snapshot.empty());
}

TEST_CASE("firewall rules are written where they differ") {
  PlanStage stage;
  CHECK_FALSE(stage.plan().write_firewall);
  stage.inventory.source.guests.at(100).firewall = "[OPTIONS]\nenable: 1\n";
  CHECK(stage.plan().write_firewall);
  stage.add_point(noon - hours(1));
  CHECK(stage.plan().write_firewall);
  stage.inventory.destination.guests.at(99100).firewall = "[OPTIONS]\nenable: 1\n";
  CHECK_FALSE(stage.plan().write_firewall);
  stage.inventory.source.guests.at(100).firewall.reset();
  CHECK(stage.plan().write_firewall);
}

TEST_CASE("the replica's image is laid out as the source's, without what belongs to the source's cluster") {
  using namespace image_feature;
  PlanStage stage;
  ImageLayout& layout = stage.source_image("scsi0")->layout;
  layout = {
      .size_bytes = 999, .order = 24, .stripe_unit = 4096, .stripe_count = 4, .features = 0x9ff, .data_pool = "ec"};
  const GuestPlan plan = stage.plan();
  CHECK(plan.disks[0].layout.size_bytes == 999);
  CHECK(plan.disks[0].layout.order == 24);
  CHECK(plan.disks[0].layout.stripe_count == 4);
  CHECK(plan.disks[0].layout.data_pool.empty());
  CHECK(plan.disks[0].layout.features ==
        (layering | striping | exclusive_lock | object_map | fast_diff | deep_flatten));
  CHECK(plan.disks[1].layout.features == exclusive_lock);
}

TEST_CASE("a configuration with several lines of one key") {
  PlanStage stage;
  // PVE takes the last line it accepts; the others must not go on naming the source's volumes.
  SUBCASE("both good") {
    stage.put_source("scsi0: hdd:vm-100-disk-1\n" + stage.config);
    const GuestPlan plan = stage.plan();
    REQUIRE_FALSE(plan.problem);
    CHECK_FALSE(contains(plan.replica_config, "hdd:"));
    CHECK(parse_vm_config(plan.replica_config).get("scsi0") == "copy:vm-99100-disk-0-ssd,size=32M");
  }
  SUBCASE("the second one of a newer PVE") {
    std::string newer = "scsi0: ssd:vm-100-disk-7\n" + stage.config;
    newer.replace(newer.find("size=32M"), 8, "nonsense=1");
    stage.put_source(newer);
    const GuestPlan plan = stage.plan();
    REQUIRE_FALSE(plan.problem);
    CHECK(parse_vm_config(plan.replica_config).get("scsi0") == "copy:vm-99100-disk-0-ssd,nonsense=1");
    CHECK_FALSE(contains(plan.replica_config, "disk-7"));
    // An older one has the first.
    REQUIRE(plan.left_out.size() == 1);
    CHECK(plan.left_out.front().is_disk);
  }
  SUBCASE("the second one bad") {
    stage.put_source(stage.config + "scsi0: hdd:vm-100-disk-1,hdd:vm-100-disk-2\n");
    const GuestPlan plan = stage.plan();
    REQUIRE_FALSE(plan.problem);
    CHECK(plan.disks.size() == 2);
    CHECK_FALSE(contains(plan.replica_config, "hdd:"));
    CHECK(parse_vm_config(plan.replica_config).get("scsi0") == "copy:vm-99100-disk-0-ssd,size=32M");
  }
}

TEST_CASE("a point that was begun is completed before anything else") {
  PlanStage stage;
  stage.add_point(noon - hours(2));
  const std::string begun = stage.begin_point(noon - hours(1), ReplicaState::applied, ReplicaState::applying);
  stage.set_progress("scsi1", {stage.record("scsi1").transfer, 4 << 20});
  const GuestPlan plan = stage.plan();
  CHECK(plan.resumes);
  CHECK(plan.snapshot == begun);
  CHECK(plan.disks[0].applied);
  CHECK(plan.disks[1].offset == 4 << 20);
  // What it was then, not what the guest is now.
  CHECK(plan.replica_config == "memory: 256\nname: web\nonboot: 0\n");
  CHECK(plan.firewall == "[RULES]\n");
  CHECK(plan.write_firewall);
  check_golden("plan/resumed.txt", PlanStage::text_of(plan));
}

TEST_CASE("a first copy that was begun is completed, its images as they are") {
  PlanStage stage;
  stage.begin_replica();
  stage.begin_point(noon - hours(1), ReplicaState::applying, ReplicaState::applying);
  stage.set_progress("scsi0", {stage.record("scsi0").transfer, 8 << 20});
  stage.set_progress("scsi1", {"another", 4 << 20});
  const GuestPlan plan = stage.plan();
  CHECK(plan.resumes);
  CHECK(plan.disks[0].full);
  CHECK_FALSE(plan.disks[0].replace);
  CHECK(plan.disks[0].offset == 8 << 20);
  CHECK(plan.disks[1].offset == 0);
}

TEST_CASE("a point that was begun is given up when something it rests on has changed") {
  const auto reason = [](const std::function<void(PlanStage&, const std::string&)>& change) {
    PlanStage stage;
    stage.add_point(noon - hours(2));
    const std::string begun = stage.begin_point(noon - hours(1), ReplicaState::applying, ReplicaState::applying);
    change(stage, begun);
    const GuestPlan plan = stage.plan();
    CHECK_FALSE(plan.resumes);
    CHECK_FALSE(plan.problem);
    CHECK(std::count(plan.steps.begin(), plan.steps.end(), Step{StepKind::roll_back, 0}) == 1);
    return plan.not_resumed;
  };
  CHECK(reason([](PlanStage& stage, const std::string& begun) {
          PlanStage::remove_snapshot(*stage.source_image("scsi1"), begun);
        }) == "its snapshot of slow/vm-100-disk-1 is gone");
  CHECK(reason([](PlanStage& stage, const std::string& begun) {
          PlanStage::remove_snapshot(*stage.source_image("scsi1"), begun);
          stage.snapshot(*stage.source_image("scsi1"), begun);
        }) == "its snapshot of slow/vm-100-disk-1 is gone");
  CHECK(reason([](PlanStage& stage, const std::string& begun) {
          stage.snapshot(*stage.replica_image("scsi1"), begun);
        }) == "backup/vm-99100-disk-1-hdd has a snapshot of that name that it cannot have yet");
  CHECK(reason([](PlanStage& stage, const std::string&) {
          ReplicaRecord record = stage.record("scsi0");
          record.point.reset();
          stage.save("scsi0", record);
        }) == "nothing says what its configuration was");
  CHECK(reason([](PlanStage& stage, const std::string&) {
          ReplicaRecord record = stage.record("scsi0");
          record.point->images.emplace_back("backup/vm-99100-disk-9-hdd");
          stage.save("scsi0", record);
        }) == "the guest has other disks now");
  CHECK(reason([](PlanStage& stage, const std::string&) {
          ReplicaRecord record = stage.record("scsi1");
          record.state = ReplicaState::complete;
          record.transfer.clear();
          record.end_snapshot = record.points.back().name;
          stage.save("scsi1", record);
        }) == "backup/vm-99100-disk-1-hdd has no part in it");
}
