// What retention removes, and what it never does.
#include "plan/removals.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "plan_stage.hpp"

using namespace crossover;
using namespace crossover::test;
using std::chrono::hours;
using std::chrono::minutes;

namespace {

/// "S0@12:00": side, disk and time of day of each removal, in order.
std::string removed(PlanStage& stage, std::chrono::sys_seconds now = noon) {
  const GuestPlan plan = stage.plan(now);
  CAPTURE(PlanStage::text_of(plan));
  REQUIRE_FALSE(plan.problem);
  std::string text;
  for (const Removal& removal : plan.removals) {
    const bool first = removal.image.spec.name.find("disk-0") != std::string::npos;
    // From every disk, whichever had it when it was looked at.
    CHECK(removal.point_config == !removal.on_source);
    CHECK(removal.snapshot.name != plan.snapshot);
    const std::string& name = removal.snapshot.name;
    text += fmt::format("{}{}{}@{}", text.empty() ? "" : " ", removal.on_source ? "S" : "D", first ? 0 : 1,
                        name.substr(name.size() - 7, 4));
  }
  return text;
}

}  // namespace

TEST_CASE("each side has its window, and the newest that is older than it goes as well") {
  PlanStage stage;
  for (int hour = 5; hour > 0; --hour) stage.add_point(noon - hours(hour));
  stage.options.keep_local = "2h";
  stage.options.keep_remote = "4h";
  // A point as old as the window is kept.
  CHECK(removed(stage) == "D0@0700 D1@0700 S0@0700 S0@0800 S0@0900 S1@0700 S1@0800 S1@0900");
  stage.options.keep_local = "0s";
  stage.options.keep_remote = "100w";
  CHECK(removed(stage) == "S0@0700 S0@0800 S0@0900 S0@1000 S0@1100 S1@0700 S1@0800 S1@0900 S1@1000 S1@1100");
  stage.options.keep_local = "1w";
  CHECK(removed(stage).empty());
}

TEST_CASE("rules count points that are whole and good, whatever else lies about") {
  PlanStage stage;
  stage.options.keep_local = "100w";
  stage.options.keep_remote = "daily=2";
  using std::chrono::days;
  stage.add_point(noon - days(1) - hours(3));
  stage.add_point(noon - days(1) - hours(2));
  CHECK(removed(stage) == "D0@0900 D1@0900");
  // A later one of that day that was never committed, and one that was found to differ: neither takes its place.
  stage.add_point(noon - days(1) - hours(1));
  ReplicaRecord record = stage.record("scsi1");
  record.points.back().bad = true;
  stage.save("scsi1", record);
  stage.snapshot(*stage.replica_image("scsi0"), point_name(noon - days(1)));
  const GuestPlan plan = stage.plan(noon);
  std::vector<std::string> names;
  for (const Removal& removal : plan.removals) {
    CHECK_FALSE(removal.on_source);
    names.push_back(removal.snapshot.name);
  }
  CHECK(std::count(names.begin(), names.end(), point_name(noon - days(1) - hours(2))) == 0);
  CHECK(std::count(names.begin(), names.end(), point_name(noon - days(1) - hours(3))) == 2);
  CHECK(std::count(names.begin(), names.end(), point_name(noon - days(1))) == 1);
}

TEST_CASE("a moment of the source that a run did not finish takes no whole one's place") {
  PlanStage stage;
  stage.options.keep_local = "daily=2";
  stage.options.keep_remote = "100w";
  using std::chrono::days;
  stage.add_point(noon - days(1) - hours(2));
  stage.snapshot(*stage.source_image("scsi0"), point_name(noon - days(1) - hours(1)));
  const GuestPlan plan = stage.plan(noon);
  REQUIRE(plan.removals.size() == 0);
  stage.options.keep_local = "1h";
  CHECK(removed(stage) == "S0@1000 S0@1100 S1@1000");
}

TEST_CASE("a point goes from all disks of a guest, or from none") {
  PlanStage stage;
  stage.options.keep_local = "hourly=3";
  stage.options.keep_remote = "hourly=3";
  for (int hour = 5; hour > 0; --hour) stage.add_point(noon - hours(hour));
  // Somebody removed one point from one disk by hand.
  PlanStage::remove_snapshot(*stage.replica_image("scsi1"), point_name(noon - hours(1)));
  CHECK(removed(stage) ==
        "D0@0700 D0@0800 D0@0900 D1@0700 D1@0800 D1@0900 S0@0700 S0@0800 S0@0900 S1@0700 S1@0800 "
        "S1@0900");
}

TEST_CASE("nothing goes before the new point is committed") {
  PlanStage stage;
  stage.add_point(noon - hours(1));
  const GuestPlan plan = stage.plan();
  REQUIRE_FALSE(plan.removals.empty());
  CHECK(plan.steps.back().kind == StepKind::remove);
  CHECK(std::count_if(plan.steps.begin(), plan.steps.end(),
                      [](const Step& step) { return step.kind == StepKind::remove; }) == 1);
  CHECK(std::any_of(plan.steps.begin(), plan.steps.end(),
                    [](const Step& step) { return step.kind == StepKind::commit; }));
}

TEST_CASE("the destination's removals come first, and what makes a point one before its snapshots") {
  PlanStage stage;
  stage.add_point(noon - hours(2));
  stage.add_point(noon - hours(1));
  // The configuration of the older point stands on the second disk.
  auto& first = stage.replica_image("scsi0")->metadata;
  auto& second = stage.replica_image("scsi1")->metadata;
  const std::string key = std::string(point_key_prefix) + point_name(noon - hours(2));
  second[key] = first.at(key);
  first.erase(key);
  const GuestPlan plan = stage.plan();
  bool seen_source = false;
  bool seen_plain = false;
  for (const Removal& removal : plan.removals) {
    CHECK_FALSE((seen_source && !removal.on_source));
    CHECK_FALSE((seen_plain && removal.point_config));
    seen_source = seen_source || removal.on_source;
    seen_plain = seen_plain || !removal.point_config;
  }
}

TEST_CASE("only this job's names go, on images whose record is this guest's") {
  PlanStage stage;
  stage.add_point(noon - hours(1));
  const std::vector<std::string> others = {
      "before-upgrade",
      "mirror-before-upgrade",
      "mirror-20200101000000",
      "crossover-hourly-20200101T000000Z",
      "crossover-nightly-20200230T000000Z",
      "crossover-nightly-20200101T000000Z2",
      "crossover-Nightly-20200101T000000Z",
      "xcrossover-nightly-20200101T000000Z",
      "crossover-nightly-2020010T000000Z",
      "crossover-nightly2-20200101T000000Z",
      "crossover-night-20200101T000000Z",
  };
  for (const std::string& name : others) {
    stage.snapshot(*stage.source_image("scsi0"), name);
    stage.snapshot(*stage.replica_image("scsi0"), name);
  }
  CHECK(removed(stage) == "D0@1100 D1@1100 S0@1100 S1@1100");
  // Without the job on the source's record its names are nobody's we know.
  stage.source_image("scsi0")->metadata.clear();
  CHECK(removed(stage) == "D0@1100 D1@1100 S1@1100");
}

TEST_CASE("leftovers on the destination that are no points go whatever the window") {
  PlanStage stage;
  stage.options.keep_remote = "7d";
  stage.options.keep_local = "7d";
  stage.add_point(noon - hours(3));
  const std::string cut = stage.add_cut_transfer(noon - hours(2), ReplicaState::applied);
  stage.snapshot(*stage.replica_image("scsi1"), cut);
  const GuestPlan plan = stage.plan();
  REQUIRE(plan.removals.size() == 1);
  CHECK_FALSE(plan.removals.front().on_source);
  CHECK(plan.removals.front().snapshot.name == cut);
}

TEST_CASE("a first copy removes nothing on the destination, and old leftovers on the source") {
  PlanStage stage;
  stage.begin_replica();
  stage.snapshot(*stage.source_image("scsi0"), point_name(noon - hours(1)));
  stage.snapshot(*stage.replica_image("scsi0"), point_name(noon - hours(1)));
  CHECK(removed(stage) == "S0@1100");
}

TEST_CASE("points from a future, after the clock was set back, stay") {
  PlanStage stage;
  stage.add_point(noon - hours(1));
  stage.add_point(noon + hours(1));
  CHECK(removed(stage) == "D0@1100 D1@1100 S0@1100 S1@1100");
}
