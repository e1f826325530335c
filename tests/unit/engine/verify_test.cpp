// Comparisons of recovery points between two clusters in memory, and repairs.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "plan/record.hpp"
#include "support/records.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;
using std::chrono::hours;

namespace {

constexpr std::uint64_t mib = 1U << 20;

std::vector<std::byte> bytes(std::size_t count, std::uint8_t value) {
  return std::vector<std::byte>(count, std::byte{value});
}

const VerifiedGuest& only(const VerifyReport& report) {
  REQUIRE(report.guests.size() == 1);
  return report.guests.front();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// VM 100 with a sparse disk of 64 MiB beside its two small ones, mirrored once.
struct Mirrored {
  Mirrored() {
    clusters.options.keep_local = "7d";
    clusters.options.keep_remote = "7d";
    clusters.add_guest(100);
    clusters.add_disk(100, "virtio0", "ssd", "vm-100-disk-7", 64 * mib);
    big = clusters.image_of(100, "virtio0");
    replica = clusters.replica_of(big, 99100);
    clusters.source_images.write(big, 5 * mib, bytes(3 * mib, 1));
    clusters.source_images.write(big, 40 * mib, bytes(4096, 2));
    point = mirror();
  }

  /// The new point's name.
  std::string mirror() {
    const MirrorReport report = clusters.run();
    REQUIRE(report.guests.front().error == "");
    clusters.clock.time += hours(1);
    return report.guests.front().recovery_point;
  }

  VerifiedGuest verify(const VerifyOptions& what = {}) {
    VerifiedGuest guest = only(clusters.verify(what));
    clusters.clock.time += hours(1);
    return guest;
  }

  const VerifiedDisk& big_of(const VerifiedGuest& guest) const {
    const auto found = std::find_if(guest.disks.begin(), guest.disks.end(),
                                    [](const VerifiedDisk& disk) { return disk.key == "virtio0"; });
    REQUIRE(found != guest.disks.end());
    return *found;
  }

  void damage(std::uint64_t offset, std::size_t count, std::uint8_t value = 9) {
    clusters.replica_images.damage(replica, offset, bytes(count, value));
  }

  bool is_same(const std::string& name) const {
    return clusters.source_images.content(big, name) == clusters.replica_images.content(replica, name);
  }

  TwoClusters clusters;
  ImageSpec big;
  ImageSpec replica;
  std::string point;
};

}  // namespace

TEST_CASE("what was mirrored is equal, and comparing changes nothing") {
  Mirrored stage;
  stage.clusters.write_at_random();  // after the point
  const std::string before = stage.clusters.dump();
  const VerifiedGuest guest = stage.verify();
  CHECK(stage.clusters.dump() == before);
  CHECK(guest.outcome == VerifyOutcome::equal);
  CHECK(guest.error == "");
  CHECK(guest.vmid == 100);
  CHECK(guest.target_vmid == 99100);
  CHECK(guest.point == stage.point);
  REQUIRE(guest.disks.size() == 3);
  for (const VerifiedDisk& disk : guest.disks) CHECK(disk.is_equal());
  const VerifiedDisk& big = stage.big_of(guest);
  CHECK(big.source_image == "fast/vm-100-disk-7");
  CHECK(big.replica_image == "backup/vm-99100-disk-7-ssd");
  CHECK(big.source_size_bytes == 64 * mib);
  CHECK(big.replica_size_bytes == 64 * mib);
  CHECK_MESSAGE(big.compared_bytes == 12 * mib, "three blocks of 4 MiB hold something");
  CHECK(stage.clusters.events.kinds() == std::vector<std::string>{"verify_started", "verify_finished",
                                                                  "verify_started", "verify_finished",
                                                                  "verify_started", "verify_finished"});
  CHECK(stage.clusters.events.events.back().text == "equal");
}

TEST_CASE("a replica that runs, and a guest that runs without --online, can be compared") {
  Mirrored stage;
  stage.clusters.options.online = false;
  CHECK(stage.verify().outcome == VerifyOutcome::equal);
}

TEST_CASE("what differs is named to 4 KiB, neighbours together, wherever it is missing") {
  Mirrored stage;
  stage.damage(5 * mib + 100, 10);
  stage.damage(7 * mib - 2000, 8000);
  stage.damage(40 * mib, 4096, 0);  // data is lost
  stage.damage(64 * mib - 10, 10);  // where the source has nothing
  const VerifiedGuest guest = stage.verify();
  CHECK(guest.outcome == VerifyOutcome::differs);
  CHECK_FALSE(guest.repair);
  const VerifiedDisk& disk = stage.big_of(guest);
  CHECK_FALSE(disk.is_equal());
  CHECK(disk.differing == std::vector<ByteRange>{
                              {5 * mib, 4096}, {7 * mib - 4096, 12288}, {40 * mib, 4096}, {64 * mib - 4096, 4096}});
  CHECK(std::count_if(guest.disks.begin(), guest.disks.end(),
                      [](const VerifiedDisk& one) { return one.is_equal(); }) == 2);
  CHECK(stage.clusters.events.events.back().text != "");
  const auto json = nlohmann::json::parse(to_json(stage.clusters.verify()));
  CHECK(json.at("guests").at(0).at("outcome") == "differs");
  const auto& disks = json.at("guests").at(0).at("disks");
  const auto big =
      std::find_if(disks.begin(), disks.end(), [](const auto& one) { return one.at("key") == "virtio0"; });
  CHECK(big->at("differing").size() == 4);
  CHECK(big->at("differing").at(0).at("offset") == 5 * mib);
  CHECK(big->at("differing").at(0).at("length_bytes") == 4096);
}

TEST_CASE("a difference at the end is named up to the end and not further") {
  Mirrored stage;
  const ImageSpec odd = stage.clusters.image_of(100, "scsi1");
  const ImageSpec replica = stage.clusters.replica_of(odd, 99100);
  const std::uint64_t size = stage.clusters.source_images.content(odd).size();
  REQUIRE(size % 4096 != 0);
  stage.clusters.replica_images.damage(replica, size - 1, bytes(1, 77));
  const VerifiedGuest guest = stage.verify();
  const std::uint64_t last = size / 4096 * 4096;
  CHECK(guest.disks[1].differing == std::vector<ByteRange>{{last, size - last}});
}

TEST_CASE("another size differs, whatever is in it") {
  Mirrored stage;
  const std::string name = "crossover-default-20261123T180000Z";
  stage.clusters.replica_images.resize(stage.replica, 65 * mib);
  for (const char* key : {"scsi0", "scsi1", "virtio0"}) {
    const ImageSpec source = stage.clusters.image_of(100, key);
    const ImageSpec replica = stage.clusters.replica_of(source, 99100);
    ImageRecord record = image_record(*stage.clusters.replica_images.find(replica));
    record.replica->points.push_back({name, stage.clusters.source_images.create_snapshot(source, name).id,
                                      stage.clusters.replica_images.create_snapshot(replica, name).id});
    put_record(stage.clusters.replica_images, replica, record);
  }
  const VerifiedGuest guest = stage.verify();
  CHECK(guest.point == name);
  CHECK(guest.outcome == VerifyOutcome::differs);
  const VerifiedDisk& disk = stage.big_of(guest);
  CHECK(disk.differing.empty());
  CHECK(disk.source_size_bytes == 64 * mib);
  CHECK(disk.replica_size_bytes == 65 * mib);
  CHECK_FALSE(disk.is_equal());
  CHECK(stage.verify({"", "", true}).outcome == VerifyOutcome::repaired);
  CHECK(stage.verify().outcome == VerifyOutcome::equal);
}

TEST_CASE("a sample finds what its seed chooses, and compares no more than its share") {
  Mirrored stage;
  stage.clusters.source_images.write(stage.big, 0, bytes(64 * mib, 3));
  stage.mirror();
  std::size_t found = 0;
  std::uint64_t compared = 0;
  stage.damage(20 * mib, mib);  // four blocks of a sample
  for (int seed = 0; seed < 20; ++seed) {
    const VerifyOptions what{"", "25%:" + std::to_string(seed), false};
    const VerifyReport report = stage.clusters.verify(what);
    CHECK(report.sample == "25%");
    CHECK(report.seed == static_cast<std::uint64_t>(seed));
    const VerifiedGuest& guest = only(report);
    const VerifiedDisk& disk = stage.big_of(guest);
    compared += disk.compared_bytes;
    CHECK(disk.compared_bytes < 32 * mib);
    CHECK((guest.outcome == VerifyOutcome::differs) == !disk.differing.empty());
    for (const ByteRange& range : disk.differing) {
      CHECK(range.offset >= 20 * mib);
      CHECK(range.offset + range.length_bytes <= 21 * mib);
    }
    if (!disk.differing.empty()) ++found;
    CHECK(stage.big_of(only(stage.clusters.verify(what))).differing == disk.differing);
  }
  // One seed misses all four blocks with 0.75^4 = 0.32.
  CHECK(found > 5);
  CHECK(found < 20);
  CHECK(compared > 20 * 12 * mib);
  CHECK(compared < 20 * 20 * mib);
  CHECK(stage.clusters.verify({"", "1%", false}).seed != 0);
}

TEST_CASE("a repair mends the head, and the point that was bad is nothing's base again") {
  Mirrored stage;
  stage.clusters.source_images.write(stage.big, 6 * mib, bytes(4096, 4));
  const std::string bad = stage.mirror();
  stage.damage(5 * mib + 100, 10);
  stage.damage(40 * mib, 4096, 0);
  stage.clusters.source_images.write(stage.big, 5 * mib + 50, bytes(60, 5));  // the guest goes on
  const VerifiedGuest repaired = stage.verify({"", "", true});
  CHECK(repaired.error == "");
  CHECK(repaired.outcome == VerifyOutcome::repaired);
  CHECK(repaired.point == bad);
  REQUIRE(repaired.repair);
  CHECK(repaired.repair->outcome == Outcome::ok);
  const std::string good = repaired.repair->recovery_point;
  CHECK(good > bad);
  CHECK(stage.is_same(good));
  CHECK_FALSE(stage.is_same(bad));
  for (const DiskReport& disk : repaired.repair->disks) {
    if (disk.key != "virtio0") continue;
    CHECK_MESSAGE(disk.stream_bytes >= 2 * 4096, "what differs was sent");
    CHECK_MESSAGE(disk.stream_bytes < mib, "and little more");
  }
  const auto big_step =
      std::find_if(repaired.repair->steps.begin(), repaired.repair->steps.end(),
                   [](const std::string& step) { return contains(step, "send fast/vm-100-disk-7 "); });
  REQUIRE(big_step != repaired.repair->steps.end());
  CHECK(contains(*big_step, "and 8192 bytes that differ at " + bad));

  CHECK(stage.verify().outcome == VerifyOutcome::equal);
  for (const VerifiedDisk& disk : repaired.disks) {
    const ImageSpec image{"backup", "", disk.replica_image.substr(7)};
    const ImageRecord record = image_record(*stage.clusters.replica_images.find(image));
    for (const PointIds& known : record.replica->points) {
      CHECK(known.bad == (known.name == bad));
    }
  }
}

TEST_CASE("a point that is known to be bad is never a base") {
  Mirrored stage;
  const std::string bad = stage.mirror();
  const auto mark = [&](const std::string& name) {
    auto record = image_record(*stage.clusters.replica_images.find(stage.replica));
    for (PointIds& known : record.replica->points) known.bad = known.bad || known.name == name;
    put_record(stage.clusters.replica_images, stage.replica, record);
  };
  stage.damage(5 * mib, 10);
  mark(bad);

  SUBCASE("an older good one is, and the head goes back to it") {
    const MirrorReport report = stage.clusters.run();
    const GuestReport& guest = report.guests.front();
    CHECK(guest.outcome == Outcome::ok);
    REQUIRE(guest.disks.size() == 3);
    for (const DiskReport& disk : guest.disks) CHECK(disk.base == stage.point);
    REQUIRE(guest.warnings.size() >= 1);
    CHECK(
        contains(guest.warnings.back(), "is rolled back to " + stage.point + ": " + bad + " was found to differ"));
  }
  SUBCASE("without one it is a conflict that says what to do, and does") {
    mark(stage.point);
    const std::string before = stage.clusters.dump();
    const MirrorReport report = stage.clusters.run();
    const GuestReport& guest = report.guests.front();
    CHECK(guest.outcome == Outcome::conflict);
    CHECK(contains(guest.error, "no common base"));
    CHECK(contains(guest.error, bad));
    CHECK(contains(guest.error, "crossover verify --repair"));
    CHECK(stage.clusters.dump() == before);

    const VerifiedGuest repaired = stage.verify({"", "", true});
    CHECK(repaired.error == "");
    CHECK(repaired.outcome == VerifyOutcome::repaired);
    CHECK(repaired.point == bad);
    CHECK(stage.is_same(repaired.repair->recovery_point));
    CHECK(stage.verify().outcome == VerifyOutcome::equal);
    CHECK(stage.is_same(stage.mirror()));
  }
  SUBCASE("retention removes it like any other") {
    stage.clusters.options.keep_remote = "0s";
    stage.mirror();
    const std::vector<Snapshot> left = stage.clusters.replica_images.find(stage.replica)->snapshots;
    CHECK(std::none_of(left.begin(), left.end(), [&](const Snapshot& one) { return one.name == bad; }));
  }
}

TEST_CASE("a repair that is cut leaves nothing that starts from the bad point") {
  Mirrored stage;
  stage.damage(5 * mib, 10);
  stage.clusters.faults.arm("source read_ranges fast/vm-100-disk-7 #1", Fault::dies);
  const VerifiedGuest cut = stage.verify({"", "", true});
  CHECK(stage.clusters.faults.happened());
  CHECK(cut.outcome == VerifyOutcome::differs);
  REQUIRE(cut.repair);
  CHECK(cut.repair->outcome == Outcome::failed);
  CHECK(cut.error != "");
  stage.clusters.faults.arm();

  const MirrorReport refused = stage.clusters.run();
  CHECK(refused.guests.front().outcome == Outcome::conflict);
  CHECK(contains(refused.guests.front().error, "crossover verify --repair"));
  stage.clusters.clock.time += hours(1);
  const VerifiedGuest repaired = stage.verify({"", "", true});
  CHECK(repaired.outcome == VerifyOutcome::repaired);
  CHECK(repaired.point == stage.point);
  CHECK(stage.is_same(repaired.repair->recovery_point));
  CHECK(stage.verify().outcome == VerifyOutcome::equal);
}

TEST_CASE("a point that a cut run began is not completed from a point that differs") {
  Mirrored stage;
  stage.clusters.source_images.write(stage.big, 0, bytes(4096, 4));
  stage.clusters.faults.arm("source read_diff fast/vm-100-disk-7 #1", Fault::dies);
  CHECK(stage.clusters.run().guests.front().outcome == Outcome::failed);
  CHECK(stage.clusters.faults.happened());
  stage.clusters.faults.arm();
  stage.clusters.clock.time += hours(1);
  stage.damage(5 * mib, 10);
  const VerifiedGuest repaired = stage.verify({"", "", true});
  CHECK(repaired.error == "");
  CHECK(repaired.outcome == VerifyOutcome::repaired);
  CHECK(repaired.point == stage.point);
  REQUIRE(repaired.repair);
  CHECK_FALSE(repaired.repair->resumed);
  CHECK(contains(repaired.repair->warnings.front(), "cannot be completed, for " + stage.point + " differs"));
  CHECK(stage.is_same(repaired.repair->recovery_point));
  CHECK(stage.verify().outcome == VerifyOutcome::equal);
}

TEST_CASE("a repair of what is equal runs nothing, and a dry run only says what it would do") {
  Mirrored stage;
  const std::string before = stage.clusters.dump();
  const VerifiedGuest equal = stage.verify({"", "", true});
  CHECK(equal.outcome == VerifyOutcome::equal);
  CHECK_FALSE(equal.repair);
  CHECK(stage.clusters.dump() == before);
  stage.damage(5 * mib, 10);
  const std::string damaged = stage.clusters.dump();
  stage.clusters.options.dry_run = true;
  const VerifiedGuest planned = stage.verify({"", "", true});
  CHECK(planned.outcome == VerifyOutcome::differs);
  REQUIRE(planned.repair);
  CHECK(planned.repair->outcome == Outcome::planned);
  CHECK(stage.clusters.dump() == damaged);
}

TEST_CASE("the point can be chosen, and has to be one") {
  Mirrored stage;
  stage.clusters.source_images.write(stage.big, 0, bytes(4096, 4));
  const std::string second = stage.mirror();
  stage.damage(0, 10);  // only the second point shares this block with the head
  CHECK(stage.verify().outcome == VerifyOutcome::differs);
  const VerifiedGuest first = stage.verify({stage.point, "", false});
  CHECK(first.outcome == VerifyOutcome::equal);
  CHECK(first.point == stage.point);

  const VerifiedGuest none = stage.verify({"crossover-default-20200101T000000Z", "", false});
  CHECK(none.outcome == VerifyOutcome::failed);
  CHECK(none.error_code == ErrorCode::not_found);
  CHECK(contains(none.error, "crossover-default-20200101T000000Z"));

  stage.clusters.source_images.remove_snapshot(stage.big,
                                               stage.clusters.source_images.find(stage.big)->snapshots.back());
  CHECK_MESSAGE(stage.verify().point == stage.point, "one side has lost the newer one");
  stage.clusters.source_images.remove_snapshot(stage.big,
                                               stage.clusters.source_images.find(stage.big)->snapshots.back());
  const VerifiedGuest lost = stage.verify();
  CHECK(lost.outcome == VerifyOutcome::conflict);
  CHECK(lost.disks.empty());
}

TEST_CASE("a disk that came later is said not to be part of the point") {
  Mirrored stage;
  stage.clusters.add_disk(100, "scsi5", "ssd", "vm-100-disk-9", mib);
  const VerifiedGuest guest = stage.verify();
  CHECK(guest.outcome == VerifyOutcome::equal);
  CHECK(guest.disks.size() == 3);
  CHECK(guest.warnings == std::vector<std::string>{"scsi5 is not part of " + stage.point});
}

TEST_CASE("a guest that was never mirrored, and one whose image cannot be read, fail by themselves") {
  Mirrored stage;
  stage.clusters.add_guest(200);
  stage.clusters.options.vmid = "all";
  stage.clusters.faults.arm("destination hash_blocks backup/vm-99100-disk-7-ssd #1", Fault::fails);
  const VerifyReport report = stage.clusters.verify();
  REQUIRE(report.guests.size() == 2);
  CHECK(report.guests[0].outcome == VerifyOutcome::failed);
  CHECK(report.guests[0].error_code == ErrorCode::io);
  CHECK(report.guests[1].outcome == VerifyOutcome::failed);
  CHECK(report.guests[1].error_code == ErrorCode::not_found);
}

TEST_CASE("a stop ends a comparison") {
  Mirrored stage;
  for (const char* call :
       {"source hash_blocks fast/vm-100-disk-7 #1", "destination hash_blocks backup/vm-99100-disk-7-ssd #1"}) {
    stage.clusters.faults.arm(call, Fault::cancels);
    CHECK_THROWS_AS(stage.clusters.verify(), Cancelled);
    CHECK(stage.clusters.faults.happened());
  }
}

TEST_CASE("whatever is thrown at any call of a repair, and wherever it is interrupted, the next one ends well") {
  const auto prepare = [](Mirrored& stage) {
    stage.damage(5 * mib, 10);
    stage.clusters.faults.arm();
  };
  std::vector<std::string> calls;
  std::size_t surveyed = 0;
  {
    Mirrored stage;
    prepare(stage);
    stage.clusters.events.at = [&](const Event& event) {
      if (event.kind == EventKind::verify_started && surveyed == 0) surveyed = stage.clusters.faults.calls().size();
    };
    REQUIRE(stage.verify({"", "", true}).outcome == VerifyOutcome::repaired);
    calls = stage.clusters.faults.calls();
  }
  REQUIRE(surveyed > 2);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    for (const Fault fault : {Fault::cancels, Fault::foreign, Fault::foreign_after}) {
      CAPTURE(calls[i]);
      INFO(to_string(fault));
      Mirrored stage;
      prepare(stage);
      stage.clusters.faults.arm(calls[i], fault);
      try {
        const VerifiedGuest guest = stage.verify({"", "", true});
        CHECK(guest.outcome != VerifyOutcome::equal);
        if (guest.outcome != VerifyOutcome::repaired) CHECK_FALSE(guest.error.empty());
      } catch (const Cancelled&) {
        CHECK(fault == Fault::cancels);
      } catch (...) {
        CHECK(i < surveyed);
      }
      REQUIRE(stage.clusters.faults.happened());
      CHECK(stage.clusters.is_let_go());
      CHECK_FALSE(parse_vm_config(stage.clusters.source.config(100).value()).get("lock"));
      stage.clusters.faults.arm();
      stage.clusters.clock.time += hours(1);
      (void)stage.verify({"", "", true});
      (void)stage.mirror();
      CHECK(stage.verify().outcome == VerifyOutcome::equal);
    }
  }
}

TEST_CASE("options that make no sense are refused before anything is asked") {
  Mirrored stage;
  for (const auto& [what, option] : {std::pair{VerifyOptions{"x", "", false}, "--point"},
                                     {VerifyOptions{"crossover-other-20261123T120000Z", "", false}, "--point"},
                                     {VerifyOptions{"", "5", false}, "--sample"},
                                     {VerifyOptions{"", "0%", false}, "--sample"},
                                     {VerifyOptions{"", "101%", false}, "--sample"},
                                     {VerifyOptions{"", "-5%", false}, "--sample"},
                                     {VerifyOptions{"", "nan%", false}, "--sample"},
                                     {VerifyOptions{"", "5%:", false}, "--sample"},
                                     {VerifyOptions{"", "5%:x", false}, "--sample"},
                                     {VerifyOptions{"", "5%17", false}, "--sample"},
                                     {VerifyOptions{"", "5%", true}, "--repair"}}) {
    CAPTURE(what.point + what.sample);
    stage.clusters.faults.arm();
    try {
      stage.clusters.verify(what);
      FAIL("it was accepted");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::usage);
      CHECK(contains(error.what(), option));
    }
    CHECK(stage.clusters.faults.calls().empty());
  }
}
