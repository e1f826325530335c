#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "crossover/report.hpp"
#include "crossover/sources.hpp"
#include "support/golden.hpp"

using namespace crossover;
using namespace std::chrono_literals;
using crossover::test::check_golden;

TEST_CASE("a migration as JSON") {
  GuestReport guest;
  guest.vmid = 100;
  guest.target_vmid = 9100;
  guest.outcome = Outcome::ok;
  guest.migration = MigrationReport{.outcome = MigrationOutcome::done,
                                    .findings = {"VM 100 has a medium in ide2"},
                                    .rounds = 3,
                                    .precopy_bytes = 5'000'000'000,
                                    .switch_bytes = 4096,
                                    .suspended = true,
                                    .state_bytes = 300'000'000,
                                    .was_running = true,
                                    .shutdown = 1500ms,
                                    .transfer = 700ms,
                                    .start = 2s,
                                    .left_to_do = {"run it again"}};
  CHECK(guest.migration->downtime() == 4200ms);
  MigrationReport off = *guest.migration;
  off.was_running = false;
  CHECK(off.downtime() == 0ms);  // there was nothing to be away
  MirrorReport report;
  report.job = "move";
  report.destination = "pve04";
  report.started = std::chrono::sys_seconds(1'700'000'000s);
  report.duration = 61'001ms;
  report.guests = {guest};
  check_golden("report/migration.json", to_json(report) + "\n");
}

TEST_CASE("only a run that migrates says anything of a migration") {
  MirrorReport report;
  report.guests = {GuestReport{}};
  CHECK_FALSE(nlohmann::json::parse(to_json(report)).at("guests").at(0).contains("migration"));
}

TEST_CASE("how a migration ended as JSON") {
  CHECK(to_string(MigrationOutcome::not_begun) == "not begun");
  CHECK(to_string(MigrationOutcome::done) == "done");
  CHECK(to_string(MigrationOutcome::undone) == "undone");
  CHECK(to_string(MigrationOutcome::left) == "left");
}

TEST_CASE("a cleanup as JSON") {
  CleanupReport report;
  report.vmid = 100;
  report.node = "pve01";
  report.name = "caf\xe9";
  report.target_vmid = 9100;
  report.point = "crossover-default-20240101T000000Z";
  report.images = {"ssd/vm-100-disk-0", "ssd/vm-100-disk-1"};
  report.kept = {"ssd/vm-100-disk-7"};
  report.outcome = Outcome::conflict;
  report.error_code = ErrorCode::conflict;
  report.error = "it runs";
  report.duration = 1500ms;
  check_golden("report/cleanup.json", to_json(report) + "\n");
  report.error_code.reset();
  CHECK(nlohmann::json::parse(to_json(report)).at("error_code").is_null());
}
