// Moving a running guest without a reboot: its memory is saved, goes with its disks, and it goes on there or,
// whatever goes wrong, here. It is never on both sides, and what is in its memory is lost only with the node that
// had it.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "migrate_stage.hpp"
#include "plan/saved_state.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

using Suspends = MemoryHypervisor::Suspends;

struct SuspendStage : Stage {
  SuspendStage() {
    clusters.migration.mode = "suspend";
    clusters.migration.precopy_rounds = "1";
    memory = clusters.source.memory(100);
    REQUIRE(memory != 0);
  }

  [[nodiscard]] std::uint64_t here() const { return clusters.source.memory(100); }
  [[nodiscard]] std::uint64_t there() const { return clusters.destination.memory(99100); }
  [[nodiscard]] static bool is_state(const ImageSpec& image) {
    return image.name.find("-state-suspend-") != std::string::npos;
  }
  [[nodiscard]] std::vector<ImageSpec> states() const {
    std::vector<ImageSpec> found;
    for (const MemoryImageStore* store : {&clusters.source_images, &clusters.replica_images}) {
      for (const ImageSpec& image : store->images()) {
        if (is_state(image)) found.push_back(image);
      }
    }
    return found;
  }

  void check_nothing_left() {
    CHECK(states().empty());
    CHECK_FALSE(saved_state(config()));
    const auto target = clusters.destination.config(99100);
    if (target) CHECK_FALSE(saved_state(*target));
  }
  /// It is there, with what it had in its memory here.
  void check_went_on() {
    check_moved();
    CHECK(there() == memory);
    CHECK(here() == 0);
    check_nothing_left();
  }
  /// It goes on here, with what it had in its memory.
  void check_goes_on_here() {
    check_here();
    CHECK(here() == memory);
    CHECK(there() == 0);
    check_nothing_left();
  }

  std::uint64_t memory = 0;
};

bool warns(const GuestReport& report, const std::string& part) {
  return std::any_of(report.warnings.begin(), report.warnings.end(),
                     [&](const std::string& warning) { return contains(warning, part); });
}

}  // namespace

TEST_CASE_FIXTURE(SuspendStage, "a guest that is suspended goes on there") {
  std::uint64_t share = 256U << 20;
  SUBCASE("one thing after the other") {}
  SUBCASE("its disks and its memory side by side") {
    clusters.options.parallel = "4";
    share /= 3;
  }
  const GuestReport report = migrate();
  CAPTURE(report.error);
  REQUIRE(report.outcome == Outcome::ok);
  const MigrationReport& migration = report.migration.value();
  CHECK(migration.outcome == MigrationOutcome::done);
  CHECK(migration.suspended);
  CHECK(migration.state_bytes > 0);
  CHECK(clusters.far_transfer_memory == share);
  check_went_on();
}

TEST_CASE_FIXTURE(SuspendStage, "there and back again") {
  REQUIRE(migrate().outcome == Outcome::ok);
  check_went_on();
  clusters.back = true;
  clusters.options.vmid = "99100:100";
  clusters.options.prefix_id.clear();
  clusters.options.destination = "e1";
  clusters.options.pool = "ssd";
  const GuestReport back = clusters.migrate().guests.at(0);
  REQUIRE_MESSAGE(back.outcome == Outcome::ok, back.error);
  CHECK(here() == memory);
  CHECK(there() == 0);
  CHECK(states().empty());
  CHECK_FALSE(is_fenced(config()));
  CHECK_FALSE(parse_vm_config(config()).get("lock"));
  CHECK_FALSE(saved_state(config()));
  CHECK(is_fenced(clusters.destination.config(99100).value()));
}

TEST_CASE_FIXTURE(SuspendStage, "a guest that does not run is moved as it is, and it is said that it boots") {
  source_guest().power = Power::stopped;
  const GuestReport report = migrate();
  REQUIRE(report.outcome == Outcome::ok);
  CHECK_FALSE(report.migration.value().suspended);
  CHECK(warns(report, "nothing to suspend"));
  CHECK(target_power() == Power::running);
  check_moved();
}

TEST_CASE_FIXTURE(SuspendStage, "a dry run says what would be done") {
  clusters.options.dry_run = true;
  const std::string dump = clusters.dump();
  const GuestReport report = clusters.migrate().guests.at(0);
  CHECK(clusters.dump() == dump);
  const auto has = [&](const std::string& part) {
    return std::any_of(report.steps.begin(), report.steps.end(),
                       [&](const std::string& step) { return contains(step, part); });
  };
  CHECK(has("suspend VM 100 to disk, on ssd"));
  CHECK(has("send what is left, and its memory, to VM 99100"));
  CHECK(has("let it go on"));
  CHECK_FALSE(has("shut"));
}

TEST_CASE_FIXTURE(SuspendStage, "who cannot be suspended runs on") {
  SUBCASE("its memory cannot be saved, and PVE leaves its lock") {
    clusters.source.suspends[100] = Suspends::fails;
  }
  SUBCASE("it is paused") {
    clusters.source.paused_by_others.insert(100);
  }
  SUBCASE("a volume of that name is there") {
    ImageLayout layout;
    layout.size_bytes = 4096;
    clusters.source_images.create({"fast", "", "vm-100-state-suspend-2026-11-23"}, layout);
  }
  const GuestReport report = migrate();
  CHECK(report.outcome == Outcome::failed);
  CHECK(report.migration.value().outcome == MigrationOutcome::undone);
  check_here();
  CHECK(here() == memory);
  clusters.source.suspends.clear();
  clusters.source.paused_by_others.clear();
  for (const ImageSpec& image : states()) clusters.source_images.remove(image);
  REQUIRE(migrate().outcome == Outcome::ok);
  check_went_on();
}

TEST_CASE_FIXTURE(SuspendStage, "somebody else's lock is not taken for PVE's own") {
  clusters.faults.arm("source suspend 100 #1", Fault::dies);
  (void)try_migrate();
  clusters.faults.arm();
  // Without a record that says that it was to be suspended nobody takes that away.
  clusters.source_images.remove_metadata({"fast", "", "vm-100-disk-0"}, std::string(migration_key));
  clusters.source_images.remove_metadata({"slow", "", "vm-100-disk-1"}, std::string(migration_key));
  const std::string locked = before + "lock: suspending\n";
  clusters.source.set_config(100, locked);
  const GuestReport report = migrate();
  CHECK(report.outcome == Outcome::failed);
  CHECK(config() == locked);
}

TEST_CASE_FIXTURE(SuspendStage, "an image of somebody else's that has the name is left to them") {
  const ImageSpec theirs{"backup", "", "vm-99100-state-suspend-2026-11-23"};
  ImageLayout layout;
  layout.size_bytes = 8192;
  clusters.replica_images.create(theirs, layout);
  SUBCASE("moved") {
    REQUIRE(migrate().outcome == Outcome::ok);
  }
  SUBCASE("undone") {
    clusters.destination.refuse_resume.insert(99100);
    CHECK(migrate().migration.value().outcome == MigrationOutcome::undone);
  }
  CHECK(states() == std::vector{theirs});
}

TEST_CASE_FIXTURE(SuspendStage, "a target that cannot go on from its memory brings the guest back, where it was") {
  clusters.destination.refuse_resume.insert(99100);
  const GuestReport report = migrate();
  CHECK(report.outcome == Outcome::failed);
  CHECK(report.error_code == ErrorCode::command);
  CHECK_MESSAGE(contains(report.error, "loading the saved state failed"), report.error);
  CHECK(report.migration.value().outcome == MigrationOutcome::undone);
  check_goes_on_here();
  SUBCASE("it is tried again") {
    clusters.destination.refuse_resume.clear();
  }
  SUBCASE("it is shut down instead") {
    clusters.migration.mode = "shutdown";
  }
  REQUIRE(migrate().outcome == Outcome::ok);
  check_moved();
  CHECK((there() == memory) == (clusters.migration.mode == "suspend"));
  check_nothing_left();
}

TEST_CASE_FIXTURE(SuspendStage, "what was begun by suspending is ended by a run that would shut down") {
  clusters.faults.arm("source suspend 100 #1", Fault::dies_after);
  (void)try_migrate();
  clusters.faults.arm();
  clusters.migration.mode = "shutdown";
  REQUIRE(migrate().outcome == Outcome::ok);
  check_went_on();
}

TEST_CASE_FIXTURE(SuspendStage, "a guest whose node fails in the middle is moved, and boots") {
  clusters.source.suspends[100] = Suspends::dies;
  SUBCASE("the run sees it") {
    const GuestReport report = migrate();
    CHECK(report.migration.value().outcome == MigrationOutcome::undone);
    CHECK(warns(report, "which is lost"));
    check_here();
    check_nothing_left();
    CHECK(here() != memory);
  }
  SUBCASE("it is killed, too") {
    clusters.faults.arm("source suspend 100 #1", Fault::dies);
    (void)try_migrate();
    clusters.faults.arm();
    CHECK_THROWS_AS(clusters.source.suspend("e1", 100, "ssd", {}), Error);
    const GuestReport report = migrate();
    REQUIRE_MESSAGE(report.outcome == Outcome::ok, report.error);
    CHECK(warns(report, "which is lost"));
    check_moved();
    check_nothing_left();
  }
}

TEST_CASE_FIXTURE(SuspendStage, "suspending that goes on though the run that began it is gone is waited for") {
  clusters.source.suspends[100] = Suspends::hangs;
  int waited = 0;
  clusters.clock.on_wait = [&] {
    if (++waited == 5) clusters.source.finish_suspending(100);
  };
  const GuestReport report = migrate();
  CHECK(waited >= 5);
  CHECK(report.migration.value().outcome == MigrationOutcome::undone);
  check_goes_on_here();
}

TEST_CASE_FIXTURE(SuspendStage, "a node that boots after the run was killed keeps what was saved") {
  std::string call;
  SUBCASE("before the fence") {
    call = "source suspend 100 #1";
  }
  SUBCASE("behind the fence") {
    call = "source write_config 100 #1";
  }
  clusters.faults.arm(call, Fault::dies_after);
  (void)try_migrate();
  REQUIRE(clusters.faults.happened());
  clusters.faults.arm();
  clusters.source.reboot();
  const bool fenced = is_fenced(config());
  CHECK(fenced == contains(call, "write_config"));
  CHECK(power() == (fenced ? Power::stopped : Power::running));
  clusters.source.suspends.clear();
  const GuestReport report = migrate();
  REQUIRE_MESSAGE(report.outcome == Outcome::ok, report.error);
  check_went_on();
}

TEST_CASE_FIXTURE(SuspendStage, "a target that went on and ended is not given the same memory twice") {
  clusters.faults.arm("destination start 99100 #1", Fault::dies_after);
  (void)try_migrate();
  REQUIRE(clusters.faults.happened());
  clusters.faults.arm();
  REQUIRE(there() == memory);
  SUBCASE("it ended in order") {
    clusters.destination.inventory.guests.at(99100).power = Power::stopped;
    CHECK(migrate().outcome == Outcome::ok);
  }
  SUBCASE("its node failed before PVE had removed it") {
    clusters.destination.inventory.guests.at(99100).power = Power::stopped;
    clusters.replica_images.write(first, 0, std::vector<std::byte>(4096, std::byte{9}));
    ImageLayout layout;
    layout.size_bytes = 16384;
    const ImageSpec state{"backup", "", "vm-99100-state-suspend-2026-11-23"};
    clusters.replica_images.create(state, layout);
    clusters.destination.set_config(
        99100, with_saved_state(clusters.destination.config(99100).value(), {"copy:" + state.name, {}}));
    const GuestReport report = migrate();
    REQUIRE_MESSAGE(report.outcome == Outcome::ok, report.error);
    CHECK(warns(report, "it boots anew"));
  }
  CHECK(target_power() == Power::running);
  CHECK(there() != memory);
  CHECK(here() == 0);
  check_nothing_left();
}

TEST_CASE("a migration that suspends survives a fault at every call") {
  const auto prepare = [](SuspendStage& stage, bool refuses) {
    stage.source_guest().ha_state = "started";
    stage.clusters.migration.ha = true;
    if (refuses) stage.clusters.destination.refuse_resume.insert(99100);
    stage.clusters.faults.arm();
  };
  for (const bool refuses : {false, true}) {
    CAPTURE(refuses);
    std::vector<std::string> calls;
    {
      SuspendStage stage;
      prepare(stage, refuses);
      REQUIRE(stage.migrate().outcome == (refuses ? Outcome::failed : Outcome::ok));
      calls = stage.clusters.faults.calls();
    }
    REQUIRE(calls.size() > 50);
    for (const std::string& call : calls) {
      for (const Fault fault : {Fault::fails, Fault::answer_lost, Fault::cancels, Fault::dies, Fault::dies_after,
                                Fault::foreign, Fault::foreign_after}) {
        CAPTURE(call);
        INFO(to_string(fault));
        SuspendStage stage;
        prepare(stage, refuses);
        stage.clusters.faults.arm(call, fault);
        const auto report = stage.try_migrate();
        REQUIRE(stage.clusters.faults.happened());
        CHECK(stage.clusters.is_let_go());
        CHECK((stage.here() == 0 || stage.there() == 0));
        const bool died = fault == Fault::dies || fault == Fault::dies_after;
        const bool left = report && report->migration.value().outcome == MigrationOutcome::left;
        if (!died && !left) {
          CHECK(std::max(stage.here(), stage.there()) == stage.memory);
          if (stage.here() != 0) {
            CHECK(stage.config() == stage.before);
            CHECK(stage.source_guest().ha_state == "started");
            CHECK_FALSE(stage.record());
            stage.check_nothing_left();
          }
        }
        stage.clusters.faults.arm();
        const std::string found = stage.clusters.dump();
        CAPTURE(found);
        stage.clusters.destination.refuse_resume.clear();
        const GuestReport last = stage.migrate();
        if (last.outcome == Outcome::conflict) {
          // It was through.
          CHECK_MESSAGE(contains(last.error, "migrated to VM 99100 already"), last.error);
        } else {
          CHECK_MESSAGE(last.outcome == Outcome::ok, last.error);
        }
        stage.check_went_on();
        CHECK(stage.clusters.destination.inventory.guests.at(99100).ha_state == "started");
      }
    }
  }
}
