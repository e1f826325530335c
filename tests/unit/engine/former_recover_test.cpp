// A guest that was migrated after a disk had left it was recovered: it is not rolled back again, and its fence stays.
#include <doctest/doctest.h>

#include "migrate_stage.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

struct FormerStage : Stage {
  FormerStage() {
    VmConfig config = parse_vm_config(clusters.source.config(100).value());
    config.remove("scsi1");
    clusters.source.set_config(100, config.to_bytes());
    REQUIRE(clusters.run().guests.at(0).outcome == Outcome::ok);
    pass();
    REQUIRE(migrate().outcome == Outcome::ok);
  }
};

}  // namespace

TEST_CASE_FIXTURE(FormerStage, "what it wrote since is not rolled back") {
  clusters.replica_images.write(first, 0, std::vector<std::byte>(4096, std::byte{77}));
  const auto written = clusters.replica_images.content(first);
  clusters.destination.inventory.guests.at(99100).power = Power::stopped;
  const RecoverReport report = clusters.recover(99100);
  CHECK_MESSAGE(report.outcome == Outcome::ok, report.error);
  CHECK(report.was_recovered);
  CHECK(clusters.replica_images.content(first) == written);
}

TEST_CASE_FIXTURE(FormerStage, "once it was migrated back it stays fenced") {
  clusters.back = true;
  clusters.options.job_name = "home";
  clusters.options.prefix_id.clear();
  clusters.options.vmid = "99100:100";
  clusters.options.destination = "e1";
  clusters.options.pool = "ssd";
  for (auto& [name, node] : clusters.source.inventory.nodes) node.bridges = {"vmbr0"};
  clusters.clock.time += std::chrono::minutes(10);
  const GuestReport home = clusters.migrate().guests.at(0);
  REQUIRE_MESSAGE(home.outcome == Outcome::ok, home.error);
  clusters.back = false;
  const std::string fenced = clusters.destination.config(99100).value();
  REQUIRE(is_fenced(fenced));
  const RecoverReport report = clusters.recover(99100);
  CHECK(report.outcome == Outcome::conflict);
  CHECK_MESSAGE(contains(report.error, "was migrated to VM 100"), report.error);
  CHECK(clusters.destination.config(99100) == fenced);
}
