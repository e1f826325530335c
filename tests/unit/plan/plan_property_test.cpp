// Whatever state the two sides are in, some things are in no plan.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "plan_stage.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

class Chaos {
 public:
  explicit Chaos(std::uint32_t seed) : random_(seed) {}

  bool one_in(std::uint32_t count) { return random_() % count == 0; }

  /// A state that came about by runs, cuts, people and other jobs.
  void mix(PlanStage& stage) {
    if (one_in(3)) stage.options.keep_local = "3h";
    if (one_in(3)) stage.options.keep_remote = "5h";
    stage.options.overwrite = one_in(2);
    stage.options.no_lock = one_in(4);
    auto time = noon - std::chrono::hours(12);
    for (std::uint32_t points = random_() % 6; points > 0; --points) {
      stage.add_point(time);
      time += std::chrono::minutes(30 + random_() % 120);
    }
    if (!stage.replica_image("scsi0") && one_in(2)) stage.begin_replica();
    if (stage.replica_image("scsi0") && one_in(3)) {
      const auto state = [&] { return one_in(2) ? ReplicaState::applied : ReplicaState::applying; };
      const std::string cut =
          one_in(3) ? stage.add_cut_transfer(time, state()) : stage.begin_point(time, state(), state());
      if (one_in(3)) stage.set_progress("scsi0", {one_in(2) ? stage.record("scsi0").transfer : "another", 4096});
      if (one_in(2)) stage.snapshot(*stage.replica_image(one_in(2) ? "scsi0" : "scsi1"), cut);
      if (one_in(3)) stage.replica_image("scsi0")->metadata[std::string(point_key_prefix) + cut] = "{}";
    }
    for (const std::string key : {"scsi0", "scsi1"}) {
      meddle(*stage.source_image(key));
      if (stage.replica_image(key)) {
        meddle(*stage.replica_image(key));
        meddle_with_record(stage, key);
        if (one_in(20)) stage.replica_image(key)->watchers = {"192.0.2.1:0/1"};
        if (one_in(20)) stage.replica_image(key)->id = "another";
      }
      if (one_in(20)) stage.replica_image(key).reset();
    }
    if (one_in(8)) stage.put_target("name: other\n");
    if (one_in(8)) stage.put_target(stage.replica_config, Power::running);
    if (one_in(8)) stage.inventory.destination.guests.clear();
  }

 private:
  void meddle(ImageState& image) {
    for (const char* name : {"before-upgrade", "mirror-before-upgrade", "crossover-hourly-20200101T000000Z",
                             "mirror-20200101000000", "crossover-nightly-20200101T000000Z"}) {
      if (one_in(6)) image.snapshots.push_back({1000 + random_() % 1000, name, image.layout.size_bytes});
    }
    if (!image.snapshots.empty() && one_in(5)) {
      image.snapshots.erase(image.snapshots.begin() +
                            static_cast<std::ptrdiff_t>(random_() % image.snapshots.size()));
    }
    if (!image.snapshots.empty() && one_in(8)) image.snapshots[random_() % image.snapshots.size()].id += 5000;
    if (one_in(12)) image.metadata.clear();
  }

  void meddle_with_record(PlanStage& stage, const std::string& key) {
    if (!image_record(*stage.replica_image(key)).replica) return;
    ReplicaRecord record = stage.record(key);
    if (one_in(10)) record.job = "Nightly 2";
    if (one_in(10)) record.source.image_id = "another";
    if (one_in(10)) record.source.fsid = west_fsid;
    if (one_in(10)) record.target_vmid = 7;
    if (one_in(10)) record.points.clear();
    if (one_in(20)) record.transfer = "another";
    if (one_in(20)) ++record.end_source_id;
    if (one_in(20) && record.point) record.point->images.pop_back();
    if (one_in(6)) record.state = static_cast<ReplicaState>(random_() % 3);
    stage.save(key, record);
  }

  std::mt19937 random_;
};

/// A plan that completes a point: nothing but that very diff goes to a head that holds a part of it.
void check_resumption(PlanStage& stage, const GuestPlan& plan) {
  for (const Step& step : plan.steps) {
    CAPTURE(describe(plan, step));
    CHECK((step.kind == StepKind::lock_replica || step.kind == StepKind::check_cut ||
           step.kind == StepKind::transfer || step.kind == StepKind::commit ||
           step.kind == StepKind::write_config));
  }
  CHECK(plan.removals.empty());
  REQUIRE(plan.disks.size() == 2);
  CHECK_FALSE(stage.replica_image("scsi0")->metadata.contains(std::string(point_key_prefix) + plan.snapshot));
  for (std::size_t i = 0; i < plan.disks.size(); ++i) {
    const DiskPlan& disk = plan.disks[i];
    const ImageState& source = *stage.source_image(disk.disk.key);
    const ImageState& replica = stage.replica_image(disk.disk.key).value();
    const ReplicaRecord record = image_record(replica).replica.value();
    CHECK(replica.watchers.empty());
    CHECK(record.source == SourceIdentity{east_fsid, source.pool_id, source.id, 100});
    CHECK(record.end_snapshot == plan.snapshot);
    REQUIRE(disk.source_end);
    CHECK(disk.source_end->id == record.end_source_id);
    CHECK(std::count(source.snapshots.begin(), source.snapshots.end(), *disk.source_end) == 1);
    CHECK(record.transfer == transfer_id(record, disk.source_base, disk.source_end->id));
    CHECK(disk.full == !disk.source_base);
    if (disk.source_base) {
      CHECK(std::count(source.snapshots.begin(), source.snapshots.end(), *disk.source_base) == 1);
      CHECK(std::count(replica.snapshots.begin(), replica.snapshots.end(), disk.replica_base.value()) == 1);
    }
    CHECK(disk.applied == (record.state == ReplicaState::applied));
    CHECK(disk.applied ==
          (std::find(plan.steps.begin(), plan.steps.end(), Step{StepKind::transfer, i}) == plan.steps.end()));
    if (disk.offset != 0) {
      const auto progress = parse_progress(replica.metadata.at(std::string(progress_key)));
      CHECK(progress == TransferProgress{record.transfer, disk.offset});
    }
  }
}

void check_plan(PlanStage& stage, const GuestPlan& plan) {
  if (plan.problem) {
    CHECK(plan.steps.empty());
    CHECK_FALSE(plan.problem->text.empty());
    return;
  }
  if (plan.resumes) return check_resumption(stage, plan);
  const auto position = [&](StepKind kind, std::size_t disk = 0) {
    return std::find(plan.steps.begin(), plan.steps.end(), Step{kind, disk}) - plan.steps.begin();
  };
  const auto end = static_cast<std::ptrdiff_t>(plan.steps.size());
  REQUIRE(plan.disks.size() == 2);
  for (std::size_t i = 0; i < plan.disks.size(); ++i) {
    const DiskPlan& disk = plan.disks[i];
    const auto& replica = stage.replica_image(disk.disk.key);
    const ImageState& source = *stage.source_image(disk.disk.key);
    const SourceIdentity identity{east_fsid, source.pool_id, source.id, 100};
    CHECK(disk.identity == identity);
    CHECK(position(StepKind::transfer, i) != end);
    CHECK(position(StepKind::transfer, i) < position(StepKind::commit));
    CHECK(position(StepKind::record_source) < position(StepKind::snapshot));
    if (disk.full) {
      // Into an image this run makes.
      CHECK_FALSE(disk.replica_base);
      CHECK(position(StepKind::create_image, i) < position(StepKind::transfer, i));
      CHECK(disk.replace == replica.has_value());
      if (!replica) continue;
      // What it replaces held no point of ours, and nothing of anybody else's.
      const auto record = image_record(*replica).replica;
      if (record) {
        CHECK(record->points.empty());
        CHECK(record->source == identity);
      } else {
        CHECK(replica->metadata.empty());
      }
      for (const Snapshot& snapshot : replica->snapshots) {
        const auto name = parse_snapshot_name(snapshot.name);
        REQUIRE(name);
        CHECK(name->job == "nightly");
        const auto& first = stage.replica_image("scsi0");
        CHECK_FALSE((first && first->metadata.contains(std::string(point_key_prefix) + snapshot.name)));
      }
      continue;
    }
    // Into an image whose record is this disk's, from a base that both sides have by id.
    REQUIRE(replica);
    const auto record = image_record(*replica).replica;
    REQUIRE(record);
    CHECK(record->source == identity);
    CHECK(record->job == "Nightly");
    CHECK(record->target_vmid == 99100);
    CHECK(replica->watchers.empty());
    REQUIRE(disk.source_base);
    REQUIRE(disk.replica_base);
    CHECK(std::count(source.snapshots.begin(), source.snapshots.end(), *disk.source_base) == 1);
    CHECK(std::count(replica->snapshots.begin(), replica->snapshots.end(), *disk.replica_base) == 1);
    // The head is the base: it was looked at, or it is rolled back.
    const bool checked = position(StepKind::check_head, i) < position(StepKind::transfer, i);
    const bool rolled_back = position(StepKind::roll_back, i) < position(StepKind::transfer, i);
    CHECK((checked || rolled_back));
    CHECK((rolled_back || disk.replica_newest == disk.replica_base));
    CHECK((checked || record->state != ReplicaState::complete));
  }
  for (const Removal& removal : plan.removals) {
    const auto name = parse_snapshot_name(removal.snapshot.name);
    REQUIRE(name);
    CHECK(name->job == "nightly");
    CHECK(removal.snapshot.name < plan.snapshot);
    // The base is needed until the new point is committed, and not after.
    CHECK(position(StepKind::commit) < position(StepKind::remove));
    CHECK(position(StepKind::remove) == end - 1);
    const std::string key = removal.image.spec.name.find("disk-0") != std::string::npos ? "scsi0" : "scsi1";
    const auto& image = removal.on_source ? stage.source_image(key) : stage.replica_image(key);
    const ImageRecord record = image_record(*image);
    if (removal.on_source) {
      REQUIRE(record.source);
      CHECK(record.source->jobs.contains("nightly"));
    } else {
      REQUIRE(record.replica);
      CHECK(record.replica->job == "Nightly");
    }
  }
  if (plan.replica_config_before) {
    const GuestState& target = stage.inventory.destination.guests.at(99100);
    CHECK(target.power == Power::stopped);
    CHECK(target.config != "name: other\n");
  }
}

}  // namespace

TEST_CASE("no plan loses a base, writes into a foreign image or removes what is not the job's") {
  int planned = 0;
  int resumed = 0;
  for (std::uint32_t seed = 1; seed <= 5000; ++seed) {
    CAPTURE(seed);
    PlanStage stage;
    Chaos(seed).mix(stage);
    const GuestPlan plan = stage.plan();
    if (!plan.problem) ++planned;
    if (!plan.problem && plan.resumes) ++resumed;
    check_plan(stage, plan);
  }
  // Most states are not so bad that nothing can be done.
  CHECK(planned > 1000);
  CHECK(resumed > 30);
}
