// A replica that people changed, or that Proxmox VE made a snapshot of, between runs.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>

#include "serialised_sink.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

struct Stage {
  Stage() {
    clusters.add_guest(100);
    run();
  }

  void run() {
    const MirrorReport report = clusters.run();
    REQUIRE(report.guests.size() == 1);
    guest = report.guests.front();
    REQUIRE_MESSAGE(guest.outcome == Outcome::ok, guest.error);
    clusters.clock.time += std::chrono::minutes(10);
    clusters.write_at_random();
  }

  [[nodiscard]] std::string replica() const { return clusters.destination.config(99100).value(); }
  void edit(const std::string& what, const std::string& by) {
    std::string bytes = replica();
    const std::size_t at = bytes.find(what);
    REQUIRE(at != std::string::npos);
    clusters.destination.set_config(99100, bytes.replace(at, what.size(), by));
  }

  /// As `qm snapshot` leaves it.
  void snapshot_replica(const std::string& name) {
    std::string section = "\n[" + name + "]\n";
    const VmConfig config = parse_vm_config(replica());
    for (const char* key : {"scsi0", "scsi1"}) {
      section += fmt::format("{}: {}\n", key, config.get(key).value());
      images.push_back(clusters.replica_of(clusters.image_of(100, key), 99100));
      (void)clusters.replica_images.create_snapshot(images.back(), name);
    }
    sections = section + "snaptime: 1796000000\n";
    clusters.destination.set_config(99100, "parent: " + name + "\n" + replica() + sections);
  }

  [[nodiscard]] std::size_t told(const std::string& part) const {
    return static_cast<std::size_t>(
        std::count_if(guest.warnings.begin(), guest.warnings.end(),
                      [&part](const std::string& warning) { return warning.find(part) != std::string::npos; }));
  }

  TwoClusters clusters;
  GuestReport guest;
  std::vector<ImageSpec> images;
  std::string sections;
};

}  // namespace

TEST_CASE("a snapshot that Proxmox VE made of a replica stays through runs, until its images have it no more") {
  Stage stage;
  stage.snapshot_replica("drill");
  for (int number = 0; number < 3; ++number) {
    stage.run();
    CHECK(stage.guest.warnings.empty());
    const VmConfig config = parse_vm_config(stage.replica());
    CHECK(config.get("parent") == "drill");
    CHECK(stage.replica().ends_with(stage.sections));
    CHECK(config.snapshot_names() == std::vector<std::string>{"drill"});
  }
  // It is no part of a recovery point, and recovering one leaves it where it is.
  const RecoverReport recovered = stage.clusters.recover(99100);
  REQUIRE_MESSAGE(recovered.outcome == Outcome::ok, recovered.error);
  CHECK(parse_vm_config(stage.replica()).get("parent") == "drill");
  CHECK(stage.replica().ends_with(stage.sections));
}

TEST_CASE("a snapshot of a replica whose images have it no more is dropped by name") {
  Stage stage;
  stage.snapshot_replica("drill");
  const auto image = stage.clusters.replica_images.find(stage.images.back());
  for (const Snapshot& snapshot : image->snapshots) {
    if (snapshot.name == "drill") stage.clusters.replica_images.remove_snapshot(stage.images.back(), snapshot);
  }
  stage.run();
  CHECK(stage.told("[drill]") == 1);
  CHECK(parse_vm_config(stage.replica()).snapshot_names().empty());
  CHECK_FALSE(parse_vm_config(stage.replica()).get("parent"));
  stage.run();
  CHECK(stage.guest.warnings.empty());
}

TEST_CASE("what people changed in a replica's configuration is named when a run takes it back, and only then") {
  Stage stage;
  stage.edit("onboot: 0", "onboot: 1\nserial1: socket");
  stage.run();
  CHECK(stage.told("changed by hand") == 1);
  CHECK(stage.told("onboot: 1 (becomes 0)") == 1);
  CHECK(stage.told("serial1: socket (is removed)") == 1);
  CHECK_FALSE(parse_vm_config(stage.replica()).get("serial1"));
  stage.run();
  CHECK(stage.guest.warnings.empty());

  // The guest itself changed: that is nobody's hand at the replica.
  stage.clusters.source.set_config(100, stage.clusters.source.config(100).value() + "tags: a\n");
  stage.run();
  CHECK(stage.guest.warnings.empty());
  CHECK(parse_vm_config(stage.replica()).get("tags") == "a");
}

TEST_CASE("a listener hears a warning of a guest once, in one line") {
  RecordingSink heard;
  SerialisedSink sink(heard);
  for (int times = 0; times < 3; ++times) {
    sink.on_event({.kind = EventKind::warning, .vmid = 100, .text = "format error\nnew: unknown\n"});
    sink.on_event({.kind = EventKind::warning, .vmid = 101, .text = "format error\nnew: unknown\n"});
    sink.on_event({.kind = EventKind::step, .vmid = 100, .text = "again"});
  }
  REQUIRE(heard.events.size() == 5);
  CHECK(heard.events.front().text == "format error; new: unknown");
}
