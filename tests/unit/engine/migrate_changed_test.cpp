// A guest that is changed while it is being moved: what was planned of it while it ran is not what moves.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "migrate_stage.hpp"
#include "plan/replica_config.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

struct ChangedStage : Stage {
  ChangedStage() { clusters.migration.precopy_rounds = "1"; }

  void set(const std::string& key, const std::string& value) {
    VmConfig changed = parse_vm_config(config());
    changed.set(key, value);
    clusters.source.set_config(100, changed.to_bytes());
  }
  void remove(const std::string& key) {
    VmConfig changed = parse_vm_config(config());
    changed.remove(key);
    clusters.source.set_config(100, changed.to_bytes());
  }
  void wait_for_start(const std::string& lines) {
    clusters.source.set_config(100, config() + "\n[PENDING]\n" + lines);
    before = config();
  }
  /// Does something once, while the guest is being shut down.
  void while_shut_down(const std::function<void()>& change) {
    clusters.faults.at = [change, done = false](const std::string& call) mutable {
      if (done || call != "source shut_down 100") return;
      done = true;
      change();
    };
  }
  void add_disk(const std::string& more = {}) {
    clusters.add_disk(100, "scsi2", "hdd", "vm-100-disk-2", 8192);
    if (!more.empty()) set("scsi2", "hdd:vm-100-disk-2," + more);
  }
  [[nodiscard]] VmConfig there() const { return parse_vm_config(clusters.destination.config(99100).value()); }

  void check_undone(const GuestReport& report, const std::vector<std::string>& said) {
    CHECK(report.outcome != Outcome::ok);
    CHECK(report.migration.value().outcome == MigrationOutcome::undone);
    for (const std::string& part : said) CHECK_MESSAGE(contains(report.error, part), report.error);
    CHECK(power() == Power::running);
    CHECK(target_power() == Power::stopped);
    CHECK_FALSE(is_fenced(config()));
    for (const ImageSpec& disk : clusters.source_images.images()) {
      CHECK_FALSE(clusters.source_images.find(disk)->metadata.contains(std::string(migration_key)));
    }
  }
};

bool finds(const GuestReport& report, const std::string& part) {
  const auto& findings = report.migration.value().findings;
  return std::any_of(findings.begin(), findings.end(),
                     [&](const std::string& finding) { return contains(finding, part); });
}

}  // namespace

TEST_CASE_FIXTURE(ChangedStage, "changes that wait for the next start move with a guest that is shut down") {
  wait_for_start("memory: 1024\ndelete: agent\n");
  const GuestReport report = migrate();
  REQUIRE_MESSAGE(report.outcome == Outcome::ok, report.error);
  CHECK(there().get("memory") == "1024");
  CHECK_FALSE(there().get("agent"));
  CHECK(there().section(VmSectionKind::pending) == nullptr);
  CHECK(there().get("onboot") == "1");
  CHECK(target_content() == content());
  CHECK(is_fenced(config()));
}

TEST_CASE_FIXTURE(ChangedStage, "changes that were not applied because the guest was off by itself bring it back") {
  wait_for_start("memory: 1024\n");
  clusters.source.shut_themselves_down.insert(100);
  const GuestReport report = migrate();
  check_undone(report, {"memory", "next start"});
  CHECK(parse_vm_config(config()).get("memory") == "1024");
  SUBCASE("and the next run moves it with them") {
    CHECK(migrate().outcome == Outcome::ok);
    CHECK(there().get("memory") == "1024");
  }
}

TEST_CASE_FIXTURE(ChangedStage, "changes of a guest that is off stand in its way") {
  wait_for_start("memory: 1024\ndelete: agent\n");
  source_guest().power = Power::stopped;
  const std::string dump = clusters.dump();
  const GuestReport report = clusters.migrate().guests.at(0);
  CHECK(report.outcome == Outcome::failed);
  CHECK(finds(report, "changes of memory, agent wait"));
  CHECK(finds(report, "--revert memory,agent"));
  CHECK(clusters.dump() == dump);
}

TEST_CASE_FIXTURE(ChangedStage, "changes of its disks stand in a guest's way though it runs") {
  wait_for_start("delete: !scsi1\n");
  const GuestReport report = migrate();
  CHECK(report.outcome == Outcome::failed);
  CHECK(finds(report, "changes of scsi1 wait"));
  CHECK(clusters.asked == 0);
}

TEST_CASE_FIXTURE(ChangedStage, "a setting that was changed while it was shut down moves") {
  while_shut_down([&] {
    set("cores", "3");
    set("onboot", "0");
  });
  REQUIRE(migrate().outcome == Outcome::ok);
  CHECK(there().get("cores") == "3");
  CHECK(there().get("onboot") == "0");
}

TEST_CASE_FIXTURE(ChangedStage,
                  "a setting that was changed while it was shut down stays changed when it comes back") {
  clusters.destination.refuse_start.insert(99100);
  while_shut_down([&] { set("onboot", "0"); });
  const GuestReport report = migrate();
  check_undone(report, {});
  CHECK(parse_vm_config(config()).get("onboot") == "0");
}

TEST_CASE_FIXTURE(ChangedStage, "a disk that was added while it was shut down brings it back") {
  while_shut_down([&] { add_disk(); });
  check_undone(migrate(), {"scsi2 (slow/vm-100-disk-2) was added"});
  clusters.faults.at = {};
  before = config();
  CHECK(migrate().outcome == Outcome::ok);
}

TEST_CASE_FIXTURE(ChangedStage, "a disk that was taken away while it was shut down brings it back") {
  while_shut_down([&] { remove("scsi1"); });
  check_undone(migrate(), {"scsi1 (slow/vm-100-disk-1) was taken away"});
}

TEST_CASE_FIXTURE(ChangedStage, "a disk that was resized while it was shut down brings it back") {
  while_shut_down([&] { clusters.source_images.resize({"slow", "", "vm-100-disk-1"}, 65536); });
  check_undone(migrate(), {"scsi1 (slow/vm-100-disk-1)", "65536"});
  clusters.faults.at = {};
  CHECK(migrate().outcome == Outcome::ok);
  check_moved();
}

TEST_CASE_FIXTURE(ChangedStage, "what comes to stand in its way while it is shut down brings it back") {
  while_shut_down([&] { set("net0", "virtio=52:54:00:00:00:01,bridge=vmbr7"); });
  check_undone(migrate(), {"vmbr7"});
}

TEST_CASE_FIXTURE(ChangedStage,
                  "what comes to stand in its way while somebody thinks about the question is found") {
  clusters.before_answer = [&] { add_disk("backup=0"); };
  const GuestReport report = migrate();
  CHECK(report.outcome == Outcome::failed);
  CHECK(finds(report, "scsi2"));
  CHECK(report.migration.value().outcome == MigrationOutcome::not_begun);
  CHECK(power() == Power::running);
  CHECK_FALSE(record());
}

TEST_CASE_FIXTURE(ChangedStage, "a disk that is not attached is named, and stays") {
  set("unused0", "hdd:vm-100-disk-7");
  const GuestReport report = migrate();
  REQUIRE(report.outcome == Outcome::ok);
  CHECK(std::any_of(report.warnings.begin(), report.warnings.end(), [](const std::string& warning) {
    return contains(warning, "unused0 (hdd:vm-100-disk-7)") && contains(warning, "stays here");
  }));
}

TEST_CASE_FIXTURE(ChangedStage, "a new copy that was cut is not completed beside a migration that was cut after it") {
  clusters.options.keep_local = "1d";
  clusters.options.reseed = true;
  clusters.faults.arm("destination create_snapshot backup/vm-99100-disk-1-hdd-r2 #1", Fault::dies);
  (void)clusters.run();
  REQUIRE(clusters.faults.happened());
  pass();
  clusters.options.reseed = false;
  clusters.faults.arm("destination hold backup/vm-99100-disk-0-ssd #3", Fault::dies);
  (void)try_migrate();
  REQUIRE(clusters.faults.happened());
  clusters.faults.arm();
  REQUIRE(record().value().step == MigrationStep::starting);

  const std::string replica = clusters.destination.config(99100).value();
  clusters.options.reseed = true;
  const GuestReport completing = clusters.run().guests.at(0);
  clusters.options.reseed = false;
  CHECK(completing.outcome != Outcome::ok);
  CHECK_MESSAGE(contains(completing.error, "it is fenced"), completing.error);
  CHECK(clusters.destination.config(99100) == replica);
  const GuestReport moved = migrate();
  CHECK_MESSAGE(moved.outcome == Outcome::ok, moved.error);
  check_moved();
}
