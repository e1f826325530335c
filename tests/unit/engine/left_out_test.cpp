// A run that leaves data of a guest out says so, and does not end well unless that is wanted.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct Stage {
  Stage() { clusters.add_guest(100); }

  void add_line(const std::string& line) {
    clusters.source.set_config(100, clusters.source.config(100).value() + line + "\n");
  }

  GuestReport run() {
    report = clusters.run();
    REQUIRE(report.guests.size() == 1);
    clusters.clock.time += std::chrono::minutes(10);
    return report.guests.front();
  }

  TwoClusters clusters;
  MirrorReport report;
};

}  // namespace

TEST_CASE("a guest with a disk that cannot be replicated gets its point, and is incomplete") {
  for (const char* line : {"scsi5: local-lvm:vm-100-disk-5,size=8G", "virtio3: /dev/sdb", "nvme0: gone:vm-100-disk-5",
                           "scsi5: ssd:no-name-of-a-guest", "scsi5: size=8G"}) {
    CAPTURE(line);
    Stage stage;
    stage.add_line(line);
    const GuestReport guest = stage.run();
    CHECK(guest.outcome == Outcome::incomplete);
    CHECK(guest.error_code == ErrorCode::unsupported);
    CHECK_FALSE(guest.retryable);
    const std::string key = std::string(line).substr(0, std::string(line).find(':'));
    CHECK(contains(guest.error, "VM 100: incomplete: its recovery point lacks " + key));
    CHECK(contains(guest.error, "--allow-left-out"));
    CHECK_FALSE(guest.recovery_point.empty());
    CHECK(guest.disks.size() == 2);
    CHECK(guest.disks.front().committed);
    CHECK(stage.report.totals.guests_ok == 0);
    CHECK(stage.report.totals.guests_incomplete == 1);
    CHECK(stage.report.totals.guests_failed == 0);
    CHECK(stage.clusters.events.events.at(stage.clusters.events.events.size() - 2).text == guest.error);
    const auto json = nlohmann::json::parse(to_json(stage.report));
    CHECK(json.at("guests").at(0).at("outcome") == "incomplete");
    CHECK(json.at("guests").at(0).at("left_out").at(0).at("excluded") == false);
    CHECK(json.at("totals").at("guests_incomplete") == 1);

    // A dry run tells the same; who knows of it is served.
    stage.clusters.options.dry_run = true;
    CHECK(stage.run().outcome == Outcome::incomplete);
    stage.clusters.options.allow_left_out = true;
    CHECK(stage.run().outcome == Outcome::planned);
    stage.clusters.options.dry_run = false;
    const GuestReport allowed = stage.run();
    CHECK(allowed.outcome == Outcome::ok);
    CHECK(allowed.error.empty());
    REQUIRE(allowed.left_out.size() == 1);
    CHECK(allowed.left_out.front().is_disk);
    CHECK(stage.report.totals.guests_ok == 1);
  }
}

TEST_CASE("what is excluded, and what is no data, makes no guest incomplete") {
  for (const char* line : {"scsi5: local-lvm:vm-100-disk-5,backup=0", "scsi5: ssd:vm-100-disk-5,backup=no",
                           "unused0: ssd:vm-100-disk-5", "ide2: local:iso/x.iso,media=cdrom",
                           "ide2: cdrom,media=cdrom", "ide2: ssd:vm-100-cloudinit,media=cdrom", "ide2: none,media=cdrom",
                           "hostpci0: 0000:01:00.0", "scsi5: none", "hookscript: local:snippets/x.pl"}) {
    CAPTURE(line);
    Stage stage;
    stage.add_line(line);
    const GuestReport guest = stage.run();
    CHECK_MESSAGE(guest.outcome == Outcome::ok, guest.error);
    CHECK(stage.report.totals.guests_incomplete == 0);
  }
}

TEST_CASE("a guest with local disks only is incomplete") {
  Stage stage;
  stage.clusters.source.set_config(100, "memory: 64\nname: web100\nscsi0: local-lvm:vm-100-disk-0,size=8G\n"
                                        "vmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3c4d\n");
  const GuestReport guest = stage.run();
  CHECK_MESSAGE(guest.outcome == Outcome::incomplete, guest.error);
  CHECK(contains(guest.error, "scsi0 (local-lvm:vm-100-disk-0)"));
}

TEST_CASE("a guest that failed has failed, whatever it lacks") {
  Stage stage;
  stage.add_line("scsi5: local-lvm:vm-100-disk-5");
  stage.clusters.faults.arm("source read_diff fast/vm-100-disk-0 #1", Fault::fails);
  const GuestReport guest = stage.run();
  CHECK(guest.outcome == Outcome::failed);
  CHECK_FALSE(contains(guest.error, "incomplete"));
  CHECK(stage.report.totals.guests_failed == 1);
}

TEST_CASE("containers are named, and are no failure") {
  Stage stage;
  stage.clusters.source.inventory.containers = {{300, "e2"}, {301, "e1"}};
  stage.run();
  CHECK(stage.report.containers.empty());  // nobody asked for them
  stage.clusters.options.vmid = "all";
  stage.clusters.options.exclude_vmids = "301";
  CHECK(stage.run().outcome == Outcome::ok);
  REQUIRE(stage.report.containers.size() == 1);
  CHECK(stage.report.containers.front() == LeftOutContainer{300, "e2", "only VMs are mirrored so far"});
  const auto& events = stage.clusters.events.events;
  CHECK(std::any_of(events.begin(), events.end(), [](const Event& event) {
    return event.kind == EventKind::left_out && event.vmid == 300 && contains(event.subject, "container on e2");
  }));
  const auto json = nlohmann::json::parse(to_json(stage.report));
  CHECK(json.at("containers").at(0).at("vmid") == 300);
  stage.clusters.options.tag = "prod";
  stage.clusters.source.set_config(100, stage.clusters.source.config(100).value() + "tags: prod\n");
  stage.run();
  CHECK(contains(stage.report.containers.front().reason, "tag"));
}
