// Two runs that move the same guest at once: whatever one of them believes, the guest never runs on both sides, and
// only the run that has the migration undoes it.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "migrate_stage.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

const std::vector<ImageSpec> source_disks{{"fast", "", "vm-100-disk-0"}, {"slow", "", "vm-100-disk-1"}};

struct TwoRuns : Stage {
  TwoRuns() { clusters.migration.precopy_rounds = "1"; }

  /// Another run, from its beginning to its end, while the first one stands still.
  GuestReport other(const std::string& vmid = "100") {
    const MirrorOptions options = clusters.options;
    clusters.options.vmid = vmid;
    if (vmid != "100") {
      clusters.options.prefix_id.clear();
      clusters.options.job_name = "elsewhere";
    }
    clusters.clock.time += std::chrono::minutes(10);
    const MirrorReport report = clusters.migrate();
    clusters.options = options;
    clusters.clock.time += std::chrono::minutes(10);
    REQUIRE(report.guests.size() == 1);
    return report.guests.front();
  }

  /// A run that was killed when the guest was down and fenced, and its disks were not there yet.
  void killed_when_fenced() {
    clusters.faults.arm("source create_snapshot fast/vm-100-disk-0 #2", Fault::dies);
    (void)try_migrate();
    REQUIRE(clusters.faults.happened());
    clusters.faults.arm();
    REQUIRE(record().value().step == MigrationStep::fenced);
  }

  /// As if the process that has it were stopped: it is not told.
  void leases_run_out() {
    for (const ImageSpec& disk : source_disks) clusters.leases.give_back(clusters.source_images.find(disk)->id);
    clusters.replica_images.break_holds();
  }

  [[nodiscard]] bool runs_there(std::uint32_t vmid) const {
    const auto guest = clusters.destination.inventory.guests.find(vmid);
    return guest != clusters.destination.inventory.guests.end() && guest->second.power == Power::running;
  }

  /// It is there, and only there.
  void check_there(std::uint32_t vmid = 99100) const {
    CHECK(runs_there(vmid));
    CHECK(power() == Power::stopped);
    CHECK(is_fenced(config()));
  }
};

/// The number of the call that comes next, of those of one name.
std::string next(const std::vector<std::string>& calls, const std::string& name) {
  const auto made = std::count_if(calls.begin(), calls.end(),
                                  [&](const std::string& call) { return call.starts_with(name + " #"); });
  return name + " #" + std::to_string(made + 1);
}

}  // namespace

TEST_CASE_FIXTURE(TwoRuns,
                  "a run waits at its question while another moves the guest elsewhere; yes changes nothing") {
  std::string moved;
  clusters.before_answer = [&] {
    const GuestReport report = other("100:9250");
    REQUIRE_MESSAGE(report.outcome == Outcome::ok, report.error);
    moved = clusters.dump();
  };
  const GuestReport report = migrate();
  CHECK(clusters.asked == 2);
  CHECK(report.outcome == Outcome::conflict);
  CHECK_MESSAGE(contains(report.error, "migrated to VM 9250 already"), report.error);
  CHECK(report.migration.value().outcome == MigrationOutcome::not_begun);
  check_there(9250);
  CHECK(clusters.dump() == moved);
}

TEST_CASE_FIXTURE(TwoRuns, "a run waits at its question while the same one is through, and leaves the guest off") {
  clusters.migration.no_start = true;
  std::string moved;
  clusters.before_answer = [&] {
    REQUIRE(other().outcome == Outcome::ok);
    moved = clusters.dump();
  };
  const GuestReport report = migrate();
  CHECK(report.outcome == Outcome::conflict);
  CHECK_MESSAGE(contains(report.error, "migrated to VM 99100 already"), report.error);
  CHECK(clusters.dump() == moved);
  check_moved();
  CHECK_FALSE(runs_there(99100));

  SUBCASE("and again after that") {
    CHECK(migrate().outcome == Outcome::conflict);
    CHECK(clusters.dump() == moved);
  }
}

TEST_CASE("a run waits for the lease of one that is through then, and its next look goes wrong") {
  for (const bool no_start : {false, true}) {
    for (const char* call : {"source survey", "destination survey", "destination fsid"}) {
      for (const Fault fault : {Fault::fails, Fault::answer_lost, Fault::cancels}) {
        CAPTURE(no_start);
        CAPTURE(call);
        INFO(to_string(fault));
        std::string wrong;
        // The first time only the calls are counted.
        for (const bool counts : {true, false}) {
          TwoRuns stage;
          stage.killed_when_fenced();
          stage.clusters.migration.no_start = no_start;
          stage.clusters.faults.arm(counts ? "" : wrong, fault);
          std::string moved;
          stage.clusters.leases.before_next = [&] {
            REQUIRE(stage.other().outcome == Outcome::ok);
            moved = stage.clusters.dump();
            wrong = next(stage.clusters.faults.calls(), call);
          };
          (void)stage.try_migrate();
          CHECK(stage.clusters.faults.happened() != counts);
          CHECK(stage.clusters.dump() == moved);
          stage.check_moved();
          CHECK(stage.runs_there(99100) != no_start);
        }
      }
    }
  }
}

TEST_CASE_FIXTURE(TwoRuns, "what is gone on with and was ended meanwhile is not begun anew") {
  clusters.destination.refuse_start.insert(99100);
  killed_when_fenced();
  clusters.leases.before_next = [&] { REQUIRE(other().migration.value().outcome == MigrationOutcome::undone); };
  const GuestReport report = migrate();
  CHECK(report.outcome == Outcome::failed);
  CHECK_MESSAGE(contains(report.error, "brought it back"), report.error);
  CHECK(report.migration.value().outcome == MigrationOutcome::not_begun);
  CHECK(power() == Power::running);
  CHECK_FALSE(record());
  CHECK(config() == before);
}

TEST_CASE(
    "a run that stood still while another one went on with its migration neither undoes it nor starts anything") {
  struct Moment {
    const char* after;  // an event of the first run
    const char* call;   // the next one of this name is where it stands still
    bool refuses;       // its target does not start
  };
  for (const Moment& moment : std::vector<Moment>{
           {"bringing it back on", "source read_config 100", true},
           {"bringing it back on", "source write_config 100", true},
           {"bringing it back on", "source start 100", true},
           {"it is down and fenced", "source create_snapshot fast/vm-100-disk-0", false},
           {"starting VM 99100", "destination start 99100", false},
       }) {
    CAPTURE(moment.after);
    CAPTURE(moment.call);
    TwoRuns stage;
    if (moment.refuses) stage.clusters.destination.refuse_start.insert(99100);
    bool came = false;
    bool stood = false;
    stage.clusters.events.at = [&](const Event& event) { came = came || contains(event.text, moment.after); };
    std::optional<GuestReport> second;
    stage.clusters.faults.at = [&](const std::string& call) {
      if (!came || stood || call != moment.call) return;
      stood = true;
      stage.clusters.destination.refuse_start.clear();
      stage.leases_run_out();
      second = stage.other();
    };
    const auto first = stage.try_migrate();
    REQUIRE(stood);
    REQUIRE(second);
    CHECK_MESSAGE(second->outcome == Outcome::ok, second->error);
    REQUIRE(first);
    CHECK(first->outcome != Outcome::ok);
    CHECK(first->migration.value().outcome == MigrationOutcome::left);
    REQUIRE(first->migration.value().left_to_do.size() == 1);
    CHECK(stage.record().value().step == MigrationStep::done);
    stage.check_there();
  }
}

TEST_CASE("a migration does not start a guest whose recovery was cut, and goes on once that is through") {
  const auto promotion = [](TwoRuns& stage, const ImageSpec& image) {
    return image_record(stage.clusters.replica_images.find(image).value()).replica.value().promoted;
  };
  // Cut when all was there, and nobody's guest yet.
  const auto cut = [&](TwoRuns& stage) {
    bool is_dead = false;
    stage.clusters.faults.at = [&](const std::string& call) {
      const auto record = is_dead ? std::nullopt : stage.record();
      is_dead = is_dead || (record && record->step == MigrationStep::starting &&
                            call == "destination hold backup/vm-99100-disk-0-ssd");
      if (is_dead) throw Error(ErrorCode::unreachable, "call", call, "the process was killed");
    };
    (void)stage.try_migrate();
    stage.clusters.faults.at = nullptr;
    REQUIRE(is_dead);
  };
  std::size_t cut_recoveries = 0;
  std::vector<std::string> calls;
  {
    TwoRuns stage;
    cut(stage);
    stage.clusters.faults.arm();
    REQUIRE(stage.clusters.recover(99100).outcome == Outcome::ok);
    calls = stage.clusters.faults.calls();
  }
  for (const std::string& call : calls) {
    CAPTURE(call);
    TwoRuns stage;
    cut(stage);
    stage.clusters.faults.arm(call, Fault::dies);
    try {
      (void)stage.clusters.recover(99100);
    } catch (const Error&) {
    }
    stage.clusters.faults.arm();
    const auto one = promotion(stage, stage.first);
    const auto other = promotion(stage, stage.second);
    const bool is_begun = (one && !one->done) || (other && !other->done);
    GuestReport report = stage.migrate();
    if (is_begun) {
      ++cut_recoveries;
      CHECK(report.outcome != Outcome::ok);
      CHECK(stage.target_power() == Power::stopped);
      REQUIRE(stage.clusters.recover(99100).outcome == Outcome::ok);
      report = stage.migrate();
    }
    if (report.outcome != Outcome::ok) continue;
    for (const ImageSpec& image : {stage.first, stage.second}) CHECK(promotion(stage, image).value().done);
  }
  CHECK(cut_recoveries > 0);
}

TEST_CASE_FIXTURE(TwoRuns, "the old job leaves alone what a migration back has not let go of") {
  REQUIRE(migrate().outcome == Outcome::ok);
  const MirrorOptions forward = clusters.options;
  clusters.back = true;
  clusters.options.job_name = "home";
  clusters.options.prefix_id.clear();
  clusters.options.vmid = "99100:100";
  clusters.options.destination = "e1";
  clusters.options.pool = "ssd";
  for (auto& [name, node] : clusters.source.inventory.nodes) node.bridges = {"vmbr0"};
  clusters.clock.time += std::chrono::hours(1);
  Faults calls_of_mirror;
  GuestReport mirrored;
  bool happened = false;
  clusters.faults.at = [&](const std::string& call) {
    if (!call.ends_with(" start 100") || std::exchange(happened, true)) return;
    const MirrorOptions options = std::exchange(clusters.options, forward);
    Faults* const calls = std::exchange(clusters.calls, &calls_of_mirror);
    clusters.back = false;
    mirrored = clusters.run().guests.at(0);
    clusters.back = true;
    clusters.calls = calls;
    clusters.options = options;
  };
  const GuestReport back = clusters.migrate().guests.at(0);
  clusters.faults.at = nullptr;
  REQUIRE(happened);
  CHECK(mirrored.outcome == Outcome::conflict);
  CHECK_MESSAGE(contains(mirrored.error, "in the middle of its migration to VM 100"), mirrored.error);
  CHECK_MESSAGE(back.outcome == Outcome::ok, back.error);
  CHECK(power() == Power::running);
  CHECK_FALSE(runs_there(99100));
}

TEST_CASE("a migration goes on whichever disk lost its record") {
  for (const char* call :
       {"source shut_down 100 #1", "source create_snapshot fast/vm-100-disk-0 #2", "destination start 99100 #1"}) {
    for (const ImageSpec& lost : source_disks) {
      CAPTURE(call);
      CAPTURE(lost.name);
      TwoRuns stage;
      stage.clusters.faults.arm(call, Fault::dies_after);
      (void)stage.try_migrate();
      REQUIRE(stage.clusters.faults.happened());
      stage.clusters.faults.arm();
      stage.clusters.source_images.remove_metadata(lost, std::string(migration_key));
      const GuestReport report = stage.migrate();
      CHECK_MESSAGE(report.outcome == Outcome::ok, report.error);
      stage.check_moved();
    }
  }
}

TEST_CASE("a record that stands on one disk more than on the other is gone on with as on that disk") {
  // One that was killed between the writes of a step, at each of them.
  std::vector<std::string> writes;
  {
    TwoRuns stage;
    stage.clusters.faults.arm();
    REQUIRE(stage.migrate().outcome == Outcome::ok);
    for (const std::string& call : stage.clusters.faults.calls()) {
      if (call.starts_with("source replace_metadata slow/vm-100-disk-1 ")) writes.push_back(call);
    }
  }
  REQUIRE(writes.size() >= 4);
  for (const std::string& call : writes) {
    CAPTURE(call);
    TwoRuns stage;
    stage.clusters.faults.arm(call, Fault::dies);
    (void)stage.try_migrate();
    REQUIRE(stage.clusters.faults.happened());
    stage.clusters.faults.arm();
    const GuestReport report = stage.migrate();
    if (report.outcome != Outcome::ok) CHECK_MESSAGE(contains(report.error, "already"), report.error);
    stage.check_moved();
    CHECK(stage.record().value().id == migration_record(*stage.clusters.source_images.find(source_disks[1]))->id);
  }
}

TEST_CASE_FIXTURE(TwoRuns, "disks that tell of two migrations are a conflict, and nothing is touched") {
  killed_when_fenced();
  TwoRuns another;
  another.killed_when_fenced();
  const std::string key(migration_key);
  MigrationRecord theirs = migration_record(*another.clusters.source_images.find(source_disks[1])).value();
  const ImageState mine = *clusters.source_images.find(source_disks[1]);
  theirs.image_id = mine.id;
  theirs.pool_id = mine.pool_id;
  theirs.target_vmid = 9250;
  clusters.source_images.set_metadata(source_disks[1], key, render_migration(theirs));
  const std::string dump = clusters.dump();
  const GuestReport report = migrate();
  CHECK(report.outcome == Outcome::conflict);
  for (const char* part :
       {"fast/vm-100-disk-0", "slow/vm-100-disk-1", "VM 99100", "VM 9250", "image-meta remove"}) {
    CHECK_MESSAGE(contains(report.error, part), report.error);
  }
  CHECK(clusters.dump() == dump);
}

TEST_CASE_FIXTURE(TwoRuns, "a record that an earlier build wrote is refused by the name of its disk") {
  killed_when_fenced();
  const std::string old =
      R"({"version":2,"image_id":"x","pool_id":1,"job":"","destination_fsid":"f","target_vmid":9,)"
      R"("step":"fenced","was_running":true,"ha_state":"","point":""})";
  for (const ImageSpec& disk : source_disks) {
    clusters.source_images.set_metadata(disk, std::string(migration_key), old);
  }
  const std::string dump = clusters.dump();
  const GuestReport report = migrate();
  CHECK(report.outcome == Outcome::failed);
  CHECK(report.error_code == ErrorCode::unsupported);
  CHECK_MESSAGE(contains(report.error, "fast/vm-100-disk-0"), report.error);
  CHECK_MESSAGE(contains(report.error, "earlier build"), report.error);
  CHECK(clusters.dump() == dump);
}

TEST_CASE_FIXTURE(TwoRuns, "a run whose records cannot be read any more undoes nothing, and says what to do") {
  bool down = false;
  bool unreadable = false;
  clusters.events.at = [&](const Event& event) { down = down || contains(event.text, "it is down and fenced"); };
  clusters.faults.at = [&](const std::string& call) {
    if (down && call.starts_with("source create_snapshot")) {
      unreadable = true;
      throw Error(ErrorCode::io, "call", call, "a fault");
    }
    if (unreadable && call.starts_with("source find")) throw Error(ErrorCode::io, "call", call, "a fault");
  };
  const auto report = try_migrate();
  REQUIRE(unreadable);
  clusters.faults.at = {};
  REQUIRE(report);
  CHECK(report->migration.value().outcome == MigrationOutcome::left);
  REQUIRE(report->migration.value().left_to_do.size() == 1);
  CHECK_MESSAGE(contains(report->migration.value().left_to_do.front(), "--migrate --vmid=100:99100"),
                report->migration.value().left_to_do.front());
  CHECK(power() == Power::stopped);
  CHECK(is_fenced(config()));
  clusters.events.at = {};
  CHECK(migrate().outcome == Outcome::ok);
  check_moved();
}
