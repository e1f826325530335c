// Moving a guest to another cluster, whatever state it is in and wherever the run goes wrong: the guest is never on
// both sides, and never on none for longer than until the next run.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "migrate_stage.hpp"
#include "plan/migration_record.hpp"
#include "plan/record.hpp"

using namespace crossover;
using namespace crossover::test;

TEST_CASE("a running guest is moved") {
  Stage stage;
  const GuestReport report = stage.migrate();
  CAPTURE(report.error);
  REQUIRE(report.outcome == Outcome::ok);
  const MigrationReport& migration = report.migration.value();
  CHECK(migration.outcome == MigrationOutcome::done);
  CHECK(migration.rounds == 1);
  CHECK(migration.was_running);
  CHECK(stage.target_power() == Power::running);
  CHECK(stage.clusters.asked == 1);
  stage.check_moved();
  CHECK(stage.record().value().point == report.recovery_point);

  SUBCASE("it is refused a second time, and so is an ordinary run") {
    const std::string dump = stage.clusters.dump();
    const GuestReport again = stage.migrate();
    CHECK(again.outcome == Outcome::conflict);
    CHECK_MESSAGE(contains(again.error, "'crossover cleanup-source 100'"), again.error);
    CHECK(stage.clusters.run().guests.at(0).conflict == Conflict::replica_promoted);
    CHECK(stage.clusters.dump() == dump);
  }
}

TEST_CASE("a guest that was never mirrored is moved") {
  Stage stage(false);
  const GuestReport report = stage.migrate();
  REQUIRE(report.outcome == Outcome::ok);
  CHECK(report.migration.value().rounds >= 1);
  CHECK(report.migration.value().precopy_bytes > 0);
  stage.check_moved();
}

TEST_CASE("rounds go on until one sends little") {
  Stage stage;
  stage.clusters.migration.precopy_threshold = "1K";
  stage.clusters.migration.precopy_rounds = "6";
  int begun = 0;
  stage.clusters.events.at = [&](const Event& event) {
    // It writes as long as it runs.
    if (event.kind != EventKind::guest_finished || stage.power() != Power::running || ++begun > 2) return;
    stage.clusters.source_images.write({"fast", "", "vm-100-disk-0"}, 0,
                                       std::vector<std::byte>(8192, static_cast<std::byte>(begun)));
    stage.clusters.clock.time += std::chrono::minutes(1);
  };
  const GuestReport report = stage.migrate();
  REQUIRE(report.outcome == Outcome::ok);
  CHECK(report.migration.value().rounds == 4);
}

TEST_CASE("a stopped guest is moved and started, or left off") {
  Stage stage;
  stage.source_guest().power = Power::stopped;
  SUBCASE("started") {
    const GuestReport report = stage.migrate();
    REQUIRE(report.outcome == Outcome::ok);
    CHECK(stage.target_power() == Power::running);
    CHECK_FALSE(report.migration.value().was_running);
    CHECK(report.migration->downtime().count() == 0);
  }
  SUBCASE("left off") {
    stage.clusters.migration.no_start = true;
    const GuestReport report = stage.migrate();
    REQUIRE(report.outcome == Outcome::ok);
    CHECK(report.migration.value().rounds == 0);
    CHECK(stage.target_power() == Power::stopped);
  }
  stage.check_moved();
}

TEST_CASE("who is not confirmed stays, mirrored") {
  Stage stage;
  stage.clusters.confirms = false;
  const GuestReport report = stage.migrate();
  CHECK(report.outcome == Outcome::failed);
  CHECK_MESSAGE(contains(report.error, "not confirmed"), report.error);
  CHECK(report.migration.value().outcome == MigrationOutcome::not_begun);
  CHECK(report.migration.value().rounds == 1);
  stage.check_here();
}

TEST_CASE("a dry run says what would be done and changes nothing") {
  Stage stage;
  stage.clusters.options.dry_run = true;
  stage.source_guest().ha_state = "started";
  const std::string dump = stage.clusters.dump();
  const GuestReport report = stage.clusters.migrate().guests.at(0);
  CHECK(report.outcome == Outcome::planned);
  CHECK(stage.clusters.asked == 0);
  CHECK(stage.clusters.dump() == dump);
  const auto has = [&](const std::string& part) {
    return std::any_of(report.steps.begin(), report.steps.end(),
                       [&](const std::string& step) { return contains(step, part); });
  };
  CHECK(has("out of high availability's hands"));
  CHECK(has("shut VM 100 down, within 60 s"));
  CHECK(has("fence VM 100 on e1"));
  CHECK(has("start it"));
}

TEST_CASE("everything that stands in its way is found at once, before anything is touched") {
  Stage stage(false);
  VmConfig config = parse_vm_config(stage.config());
  config.set("net0", "virtio=52:54:00:00:00:01,bridge=vmbr7");
  config.set("hostpci0", "0000:01:00.0");
  config.set("ide2", "local:iso/debian.iso,media=cdrom");
  config.set("scsi5", "local-lvm:vm-100-disk-9");
  config.set("cpu", "custom-fast,flags=+aes");
  stage.clusters.source.set_config(100, config.to_bytes());
  const std::string dump = stage.clusters.dump();
  const GuestReport report = stage.clusters.migrate().guests.at(0);
  CHECK(report.outcome == Outcome::failed);
  CHECK(report.error_code == ErrorCode::unsupported);
  const std::vector<std::string>& findings = report.migration.value().findings;
  for (const char* part :
       {"vmbr7", "hostpci0", "ide2 has the medium local:iso/debian.iso", "scsi5", "custom-fast"}) {
    CAPTURE(part);
    CHECK(std::count_if(findings.begin(), findings.end(),
                        [&](const std::string& finding) { return contains(finding, part); }) == 1);
  }
  CHECK(findings.size() == 5);
  CHECK(stage.clusters.asked == 0);
  CHECK(stage.clusters.dump() == dump);
}

TEST_CASE("a guest of high availability is taken out of its hands, and given to it there") {
  Stage stage;
  stage.source_guest().ha_state = "started";
  SUBCASE("asked for") {
    stage.clusters.migration.ha = true;
    REQUIRE(stage.migrate().outcome == Outcome::ok);
    CHECK(stage.clusters.destination.inventory.guests.at(99100).ha_state == "started");
    CHECK(stage.source_guest().ha_state == "ignored");
    stage.check_moved();
  }
  SUBCASE("not asked for") {
    REQUIRE(stage.migrate().outcome == Outcome::ok);
    CHECK(stage.clusters.destination.inventory.guests.at(99100).ha_state.empty());
    CHECK(stage.source_guest().ha_state == "ignored");
    stage.check_moved();
  }
  SUBCASE("it comes back to it") {
    stage.clusters.source.keep_running.insert(100);
    const GuestReport report = stage.migrate();
    CHECK(report.outcome == Outcome::failed);
    CHECK(stage.source_guest().ha_state == "started");
    stage.check_here();
  }
}

TEST_CASE("lesson 6: a guest that does not shut down stays where it is") {
  Stage stage;
  stage.clusters.source.keep_running.insert(100);
  SUBCASE("in time") {
    const GuestReport report = stage.migrate();
    CHECK(report.outcome == Outcome::failed);
    CHECK(report.error_code == ErrorCode::timeout);
    CHECK(report.migration.value().outcome == MigrationOutcome::undone);
    stage.check_here();
    // And can be mirrored and moved as if nothing had been.
    REQUIRE(stage.clusters.run().guests.at(0).outcome == Outcome::ok);
    stage.pass();
    stage.clusters.source.keep_running.clear();
    CHECK(stage.migrate().outcome == Outcome::ok);
    stage.check_moved();
  }
  SUBCASE("unless it is ended by force") {
    stage.clusters.migration.force_stop = true;
    CHECK(stage.migrate().outcome == Outcome::ok);
    stage.check_moved();
  }
}

TEST_CASE("a target that does not start brings the guest back") {
  Stage stage;
  stage.clusters.destination.refuse_start.insert(99100);
  const GuestReport report = stage.migrate();
  CHECK(report.outcome == Outcome::failed);
  CHECK(report.error_code == ErrorCode::command);
  CHECK(report.migration.value().outcome == MigrationOutcome::undone);
  stage.check_here();
  CHECK(parse_vm_config(stage.clusters.destination.config(99100).value()).get("onboot") == "0");
  REQUIRE(stage.clusters.run().guests.at(0).outcome == Outcome::ok);
  stage.pass();
  stage.clusters.destination.refuse_start.clear();
  CHECK(stage.migrate().outcome == Outcome::ok);
  stage.check_moved();
}

TEST_CASE("a target that came up and went down again is not taken back") {
  Stage stage;
  stage.clusters.faults.arm("destination start 99100 #1", Fault::answer_lost);
  stage.clusters.destination.on_start = [&](std::uint32_t) {
    stage.clusters.replica_images.write(stage.first, 0, std::vector<std::byte>(4096, std::byte{9}));
  };
  // It is off when it is looked at, and wrote before.
  stage.clusters.events.at = [&](const Event& event) {
    if (event.kind == EventKind::guest_finished && stage.target_power() == Power::running) {
      stage.clusters.destination.inventory.guests.at(99100).power = Power::stopped;
    }
  };
  const GuestReport report = stage.migrate();
  CHECK(report.outcome == Outcome::failed);
  CHECK(report.migration.value().outcome == MigrationOutcome::left);
  REQUIRE(report.migration.value().left_to_do.size() == 1);
  CHECK_MESSAGE(contains(report.migration.value().left_to_do.front(), "has written to its disks"),
                report.migration.value().left_to_do.front());
  CHECK(stage.power() == Power::stopped);
  CHECK(is_fenced(stage.config()));
  stage.clusters.events.at = {};
  stage.clusters.destination.on_start = {};
  stage.clusters.faults.arm();
  const GuestReport again = stage.migrate();
  CHECK(again.outcome == Outcome::ok);
  CHECK(stage.target_power() == Power::running);
}

TEST_CASE("a guest that somebody recovered on the target meanwhile is not brought back besides") {
  Stage stage;
  stage.clusters.faults.arm("source shut_down 100 #1", Fault::dies_after);
  (void)stage.try_migrate();
  stage.clusters.faults.arm();
  RecoverOptions how;
  how.start = true;
  REQUIRE(stage.clusters.recover(99100, how).outcome == Outcome::ok);
  REQUIRE(stage.target_power() == Power::running);
  stage.clusters.source.keep_running.clear();
  const GuestReport report = stage.migrate();
  CHECK(report.outcome == Outcome::conflict);
  CHECK(report.conflict == Conflict::replica_promoted);
  CHECK(report.migration.value().outcome == MigrationOutcome::left);
  CHECK(stage.power() == Power::stopped);
  CHECK(stage.target_power() == Power::running);
}

TEST_CASE("a run that is interrupted while the guest shuts down starts it again once it is down") {
  Stage stage;
  // It goes down though nobody waits for that any more.
  stage.clusters.faults.arm("source shut_down 100 #1", Fault::answer_lost);
  SUBCASE("it has gone down") {
    const GuestReport report = stage.migrate();
    CHECK(report.migration.value().outcome == MigrationOutcome::undone);
  }
  SUBCASE("it goes down later") {
    stage.clusters.faults.arm("source shut_down 100 #1", Fault::fails);
    int waited = 0;
    stage.clusters.clock.on_wait = [&] {
      if (++waited == 5) stage.source_guest().power = Power::stopped;
    };
    const GuestReport report = stage.migrate();
    CHECK(report.migration.value().outcome == MigrationOutcome::undone);
    CHECK(waited >= 5);
  }
  SUBCASE("it does not go down") {
    stage.clusters.faults.arm("source shut_down 100 #1", Fault::fails);
    const GuestReport report = stage.migrate();
    CHECK(report.migration.value().outcome == MigrationOutcome::undone);
    CHECK(std::any_of(report.warnings.begin(), report.warnings.end(),
                      [](const std::string& warning) { return contains(warning, "may do so yet"); }));
  }
  stage.check_here();
}

TEST_CASE("an ordinary run between two attempts is no obstacle") {
  std::string forgets;
  {
    Stage undone;
    undone.clusters.destination.refuse_start.insert(99100);
    undone.clusters.faults.arm();
    (void)undone.try_migrate();
    for (const std::string& call : undone.clusters.faults.calls()) {
      if (call.starts_with("source replace_metadata fast/vm-100-disk-0 ")) forgets = call;
    }
  }
  Stage stage;
  stage.clusters.destination.refuse_start.insert(99100);
  stage.clusters.faults.arm(forgets, Fault::dies);
  (void)stage.try_migrate();
  REQUIRE(stage.clusters.faults.happened());
  stage.clusters.faults.arm();
  REQUIRE(stage.record());
  REQUIRE(stage.power() == Power::running);
  REQUIRE(stage.clusters.run().guests.at(0).outcome == Outcome::ok);
  stage.pass();
  stage.clusters.destination.refuse_start.clear();
  CHECK(stage.migrate().outcome == Outcome::ok);
  stage.check_moved();
}

TEST_CASE("a fence that somebody took away before the target ran is put back") {
  Stage stage;
  stage.clusters.faults.arm("destination start 99100 #1", Fault::dies);
  (void)stage.try_migrate();
  stage.clusters.faults.arm();
  REQUIRE(stage.record().value().step == MigrationStep::starting);
  stage.clusters.source.set_config(100, stage.before);
  CHECK(stage.migrate().outcome == Outcome::ok);
  stage.check_moved();
}

TEST_CASE("somebody else's lock on the target is left to them") {
  Stage stage;
  stage.clusters.events.at = [&](const Event& event) {
    if (event.kind != EventKind::migration || !contains(event.text, "starting VM 99100")) return;
    const std::string config = stage.clusters.destination.config(99100).value();
    stage.clusters.destination.set_config(99100, config + "lock: backup\n");
  };
  const GuestReport report = stage.migrate();
  CHECK(report.migration.value().outcome == MigrationOutcome::left);
  CHECK(parse_vm_config(stage.clusters.destination.config(99100).value()).get("lock") == "backup");
  stage.clusters.events.at = {};
  stage.clusters.destination.set_config(99100,
                                        without_fence(stage.clusters.destination.config(99100).value(), "1"));
  CHECK(stage.migrate().outcome == Outcome::ok);
  stage.check_moved();
}

TEST_CASE("an ordinary run of a fenced guest says what it is") {
  Stage stage;
  stage.clusters.faults.arm("destination write_diff " + to_string(stage.first) + " finish #1", Fault::dies);
  stage.clusters.migration.precopy_rounds = "1";
  stage.source_guest().power = Power::stopped;
  (void)stage.try_migrate();
  REQUIRE(stage.clusters.faults.happened());
  stage.clusters.faults.arm();
  const GuestReport report = stage.clusters.run().guests.at(0);
  CHECK(report.outcome == Outcome::failed);
  CHECK_MESSAGE(contains(report.error, "--migrate"), report.error);
  CHECK_FALSE(contains(report.error, "qm unlock"));
}

TEST_CASE("a guest that was taken back by hand is moved anew") {
  Stage stage;
  REQUIRE(stage.migrate().outcome == Outcome::ok);
  stage.clusters.destination.inventory.guests.at(99100).power = Power::stopped;
  stage.clusters.source.set_config(100, stage.before);
  stage.source_guest().power = Power::running;
  const GuestReport report = stage.migrate();
  CHECK(report.conflict.has_value());
  CHECK_FALSE(contains(report.error, "cleanup-source"));
}

TEST_CASE("a migration is gone on with only as it was begun") {
  Stage stage;
  stage.clusters.faults.arm("source shut_down 100 #1", Fault::dies_after);
  (void)stage.try_migrate();
  REQUIRE(stage.clusters.faults.happened());
  stage.clusters.faults.arm();
  REQUIRE(stage.record().value().step == MigrationStep::switching);
  const std::string dump = stage.clusters.dump();
  stage.clusters.options.prefix_id = "98";
  const GuestReport report = stage.migrate();
  CHECK(report.outcome == Outcome::conflict);
  CHECK_MESSAGE(contains(report.error, "on its way to VM 99100"), report.error);
  CHECK(stage.clusters.dump() == dump);
}

TEST_CASE("a migration survives a fault at every call") {
  for (const bool running : {true, false}) {
    CAPTURE(running);
    const auto prepare = [&](Stage& stage) {
      stage.source_guest().ha_state = "started";
      stage.clusters.migration.ha = true;
      stage.clusters.migration.precopy_rounds = "1";
      if (!running) stage.source_guest().power = Power::stopped;
      stage.clusters.faults.arm();
    };
    std::vector<std::string> calls;
    {
      Stage stage;
      prepare(stage);
      REQUIRE(stage.migrate().outcome == Outcome::ok);
      calls = stage.clusters.faults.calls();
    }
    REQUIRE(calls.size() > 40);
    for (const std::string& call : calls) {
      for (const Fault fault : {Fault::fails, Fault::answer_lost, Fault::cancels, Fault::dies, Fault::dies_after,
                                Fault::foreign, Fault::foreign_after}) {
        CAPTURE(call);
        INFO(to_string(fault));
        Stage stage;
        prepare(stage);
        stage.clusters.faults.arm(call, fault);
        const auto report = stage.try_migrate();
        REQUIRE(stage.clusters.faults.happened());
        CHECK(stage.clusters.is_let_go());
        if (report) {
          INFO(report->error);
        }
        const bool died = fault == Fault::dies || fault == Fault::dies_after;
        const bool left = report && report->migration.value().outcome == MigrationOutcome::left;
        if (!died && !left) {
          const bool here =
              stage.power() == (running ? Power::running : Power::stopped) && !is_fenced(stage.config());
          const bool there = stage.target_power() == Power::running;
          CHECK(here != there);
          if (here) {
            CHECK(stage.config() == stage.before);
            CHECK(stage.source_guest().ha_state == "started");
            CHECK_FALSE(stage.record());
          }
        }
        stage.clusters.faults.arm();
        const std::string found = stage.clusters.dump();
        CAPTURE(found);
        const GuestReport last = stage.migrate();
        CAPTURE(stage.thrown);
        if (last.outcome == Outcome::conflict) {
          // It was through.
          CHECK_MESSAGE(contains(last.error, "migrated to VM 99100 already"), last.error);
        } else {
          CHECK_MESSAGE(last.outcome == Outcome::ok, last.error);
        }
        stage.check_moved();
        CHECK(stage.target_power() == Power::running);
        CHECK(stage.clusters.destination.inventory.guests.at(99100).ha_state == "started");
      }
    }
  }
}

TEST_CASE("what keeps its agent from being asked says nothing of a guest that runs, whatever was thrown") {
  for (const Fault fault : {Fault::fails, Fault::foreign}) {
    Stage stage;
    stage.clusters.faults.arm("destination agent_answers 99100 #1", fault);
    const GuestReport report = stage.migrate();
    CHECK(stage.clusters.faults.happened());
    CHECK_MESSAGE(report.outcome == Outcome::ok, report.error);
    stage.check_moved();
  }
}

TEST_CASE("what is undone survives a fault at every call, too") {
  const auto prepare = [](Stage& stage) {
    stage.source_guest().ha_state = "started";
    stage.clusters.migration.precopy_rounds = "1";
    stage.clusters.destination.refuse_start.insert(99100);
    stage.clusters.faults.arm();
  };
  const auto check = [&](const std::string& call, Fault fault, bool starts_then) {
    CAPTURE(call);
    INFO(to_string(fault));
    CAPTURE(starts_then);
    Stage stage;
    prepare(stage);
    stage.clusters.faults.arm(call, fault);
    (void)stage.try_migrate();
    REQUIRE(stage.clusters.faults.happened());
    CHECK(stage.target_power() == Power::stopped);
    stage.clusters.faults.arm();
    if (starts_then) stage.clusters.destination.refuse_start.clear();
    const GuestReport again = stage.migrate();
    const MigrationOutcome wanted = starts_then ? MigrationOutcome::done : MigrationOutcome::undone;
    CHECK_MESSAGE(again.migration.value().outcome == wanted, again.error);
    if (starts_then) return stage.check_moved();
    CHECK(stage.source_guest().ha_state == "started");
    stage.check_here();
    CHECK(stage.clusters.run().guests.at(0).outcome == Outcome::ok);
  };
  std::vector<std::string> calls;
  {
    Stage stage;
    prepare(stage);
    REQUIRE(stage.migrate().migration.value().outcome == MigrationOutcome::undone);
    calls = stage.clusters.faults.calls();
  }
  REQUIRE(calls.size() > 50);
  for (const std::string& call : calls) {
    for (const Fault fault : {Fault::fails, Fault::answer_lost, Fault::dies, Fault::dies_after, Fault::foreign,
                              Fault::foreign_after}) {
      for (const bool starts_then : {false, true}) check(call, fault, starts_then);
    }
  }
}
