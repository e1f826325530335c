// A guest that was promoted goes back to where it came from, and there again: what is sent, what is proven before,
// and what is refused.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <regex>
#include <set>

#include "plan/points.hpp"
#include "plan/record.hpp"
#include "plan/replica_config.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;
using std::chrono::minutes;

namespace {

constexpr std::uint32_t east_vmid = 100;
constexpr std::uint32_t west_vmid = 99100;

ImageSpec image_named(const std::string& text) {
  const std::size_t slash = text.find('/');
  return {text.substr(0, slash), "", text.substr(slash + 1)};
}

const ImageSpec east_first = image_named("fast/vm-100-disk-0");
const ImageSpec east_second = image_named("slow/vm-100-disk-1");
const ImageSpec west_first = image_named("backup/vm-99100-disk-0-ssd");
const ImageSpec west_second = image_named("backup/vm-99100-disk-1-hdd");

/// VM 100 in the east, mirrored to the west as VM 99100; it can move.
struct Stage {
  explicit Stage(std::size_t disks = 2) {
    clusters.marks.bytes = 1;
    clusters.add_guest(east_vmid, disks);
    clusters.options.job_name = "there";
  }

  MemoryImageStore& near_images() { return clusters.back ? clusters.replica_images : clusters.source_images; }
  MemoryImageStore& far_images() { return clusters.back ? clusters.source_images : clusters.replica_images; }
  MemoryHypervisor& near_cluster() { return clusters.back ? clusters.destination : clusters.source; }
  MemoryHypervisor& far_cluster() { return clusters.back ? clusters.source : clusters.destination; }
  [[nodiscard]] std::uint32_t near_vmid() const { return clusters.back ? west_vmid : east_vmid; }
  [[nodiscard]] std::uint32_t far_vmid() const { return clusters.back ? east_vmid : west_vmid; }

  void turn(bool back) {
    clusters.back = back;
    clusters.options.vmid = back ? "99100:100" : "100";
    clusters.options.prefix_id = back ? "" : "99";
    clusters.options.destination = back ? "e1" : "w1";
    clusters.options.pool = back ? "ssd" : "copy";
  }

  GuestReport run() {
    const MirrorReport report = clusters.run();
    clusters.clock.time += minutes(10);
    REQUIRE(report.guests.size() == 1);
    return report.guests.front();
  }

  /// A run that goes well, after which both sides hold the same.
  GuestReport run_well() {
    const GuestReport guest = run();
    CAPTURE(guest.error);
    REQUIRE(guest.outcome == Outcome::ok);
    for (const DiskReport& disk : guest.disks) {
      CAPTURE(disk.replica_image);
      const ImageSpec replica = image_named(disk.replica_image);
      const auto content = near_images().content(image_named(disk.source_image));
      CHECK(far_images().content(replica) == content);
      CHECK(far_images().content(replica, guest.recovery_point) == content);
      CHECK(near_images().content(image_named(disk.source_image), guest.recovery_point) == content);
    }
    const VmConfig config = parse_vm_config(far_cluster().config(guest.target_vmid).value());
    CHECK(config.get("onboot") == "0");
    CHECK_FALSE(config.get("lock"));
    return guest;
  }

  void fence() {
    VmConfig config = parse_vm_config(near_cluster().config(near_vmid()).value());
    config.set("lock", "migrate");
    config.set("onboot", "0");
    near_cluster().put_guest(near_vmid(), clusters.back ? "w1" : "e1", config.to_bytes(), Power::stopped);
  }

  /// The replica becomes the guest, and runs.
  void promote() {
    const RecoverReport report = clusters.recover(far_vmid());
    CAPTURE(report.error);
    REQUIRE(report.outcome == Outcome::ok);
    clusters.clock.time += minutes(10);
    start_far();
  }

  void start_far() {
    const std::string config = far_cluster().config(far_vmid()).value();
    far_cluster().put_guest(far_vmid(), clusters.back ? "e1" : "w1", config, Power::running);
  }

  /// What a migration leaves: the guest is on the other side, where runs come from next.
  void move() {
    run_well();
    fence();
    promote();
    turn(!clusters.back);
  }

  [[nodiscard]] std::string dump() const {
    return std::regex_replace(clusters.dump(), std::regex("written at [0-9]+"), "");
  }

  void check_refused(Conflict conflict, const std::vector<std::string>& words) {
    const std::string before = dump();
    const GuestReport guest = run();
    CAPTURE(guest.error);
    CHECK(guest.outcome == Outcome::conflict);
    CHECK(guest.conflict == conflict);
    for (const std::string& word : words) {
      CAPTURE(word);
      CHECK(guest.error.find(word) != std::string::npos);
    }
    const bool is_unchanged = dump() == before;
    CHECK(is_unchanged);
  }

  ReplicaRecord record(MemoryImageStore& store, const ImageSpec& image) {
    return image_record(*store.find(image)).replica.value();
  }

  TwoClusters clusters;
};

void write(MemoryImageStore& store, const ImageSpec& image, std::byte byte, std::uint64_t offset = 4096) {
  store.write(image, offset, std::vector<std::byte>(10, byte));
}

bool has_warning(const GuestReport& guest, const std::vector<std::string>& words) {
  return std::any_of(guest.warnings.begin(), guest.warnings.end(), [&](const std::string& warning) {
    return std::all_of(words.begin(), words.end(),
                       [&](const std::string& word) { return warning.find(word) != std::string::npos; });
  });
}

const ImageSpec west_added = image_named("backup/vm-99100-disk-7");

void add_in_the_west(Stage& stage) {
  VmConfig config = parse_vm_config(stage.clusters.destination.config(west_vmid).value());
  config.set("scsi7", "copy:vm-99100-disk-7");
  stage.clusters.destination.set_config(west_vmid, config.to_bytes());
  ImageLayout layout;
  layout.size_bytes = 20480;
  stage.clusters.replica_images.create(west_added, layout);
  write(stage.clusters.replica_images, west_added, std::byte{7});
}

std::set<std::string> snapshot_names(MemoryImageStore& store, const ImageSpec& image) {
  std::set<std::string> names;
  const ImageState state = store.find(image).value();
  for (const Snapshot& snapshot : state.snapshots) names.insert(snapshot.name);
  return names;
}

}  // namespace

TEST_CASE("a guest goes back to the images it came from, and only what changed is sent") {
  Stage stage;
  stage.move();
  const ReplicaRecord promoted = stage.record(stage.clusters.replica_images, west_first);
  REQUIRE(promoted.promoted);
  const std::string base = promoted.points.back().name;
  SUBCASE("by a job of its own") {
    stage.clusters.options.job_name = "home";
  }
  SUBCASE("by the job that brought it here") {}
  write(stage.clusters.replica_images, west_second, std::byte{5});
  const GuestReport guest = stage.run_well();
  REQUIRE(guest.disks.size() == 2);
  CHECK(guest.disks[0].replica_image == to_string(east_first));
  CHECK(guest.disks[1].replica_image == to_string(east_second));
  for (const DiskReport& disk : guest.disks) {
    CHECK_FALSE(disk.full);
    CHECK(disk.base == base);
  }
  // Nothing of the first disk, one block of the second.
  CHECK(guest.disks[0].stream_bytes == 22);
  CHECK(guest.disks[1].stream_bytes == 22 + 17 + 4096);
  CHECK(guest.warnings.empty());

  const ReplicaRecord record = stage.record(stage.clusters.source_images, east_second);
  CHECK_FALSE(record.promoted);
  CHECK(record.source.fsid == stage.clusters.replica_images.fsid());
  CHECK(record.source.guest == west_vmid);
  CHECK(record.target_vmid == east_vmid);
  CHECK(record.job == stage.clusters.options.job_name);
  REQUIRE(record.points.size() == 2);
  CHECK(record.points[0].name == base);
  CHECK(record.points[0].adopted);
  CHECK(record.points[0].source_id ==
        stage.record(stage.clusters.replica_images, west_second).points.back().replica_id);
  CHECK_FALSE(record.points[1].adopted);
  // What the images are as sources stays.
  CHECK(image_record(*stage.clusters.source_images.find(east_second)).source->jobs.contains("there"));
  CHECK(stage.record(stage.clusters.replica_images, west_first) == promoted);
  // Disks and configuration are where they were.
  const VmConfig config = parse_vm_config(stage.clusters.source.config(east_vmid).value());
  CHECK(config.get("scsi0")->starts_with("ssd:vm-100-disk-0,"));
  CHECK(config.get("scsi1")->starts_with("hdd:vm-100-disk-1,"));

  // The base is not a point to recover at, and nothing else that was there before is.
  const ReplicaReport points = stage.clusters.points(east_vmid);
  REQUIRE(points.points.size() == 1);
  CHECK(points.points[0].name == guest.recovery_point);
  CHECK(points.points[0].complete);
  const VerifyReport verified = stage.clusters.verify();
  CHECK(verified.guests.at(0).outcome == VerifyOutcome::equal);

  // From now on it is a replica like any other.
  stage.clusters.write_at_random();
  const GuestReport next = stage.run_well();
  CHECK(next.disks[0].base == guest.recovery_point);
  CHECK(next.warnings.empty());
  // The points it was promoted with are nobody's to remove.
  CHECK(snapshot_names(stage.clusters.replica_images, west_first).contains(base));
}

TEST_CASE("there, back, there again and so on: each time only what changed") {
  Stage stage;
  for (const bool one_name : {true, false}) {
    CAPTURE(one_name);
    for (int way = 0; way < 8; ++way) {
      CAPTURE(way);
      if (!one_name) stage.clusters.options.job_name = stage.clusters.back ? "home" : "there";
      // Points before the last one, as the rounds of a migration make them.
      stage.run_well();
      stage.clusters.write_at_random();
      stage.run_well();
      stage.clusters.write_at_random();
      stage.move();
      if (!one_name) stage.clusters.options.job_name = stage.clusters.back ? "home" : "there";
      const ImageSpec& changed = stage.clusters.back ? west_first : east_first;
      write(stage.near_images(), changed, static_cast<std::byte>(way + 1));
      const GuestReport guest = stage.run_well();
      CHECK_FALSE(guest.disks[0].full);
      CHECK_FALSE(guest.disks[1].full);
      CHECK(guest.disks[0].stream_bytes <= 22 + 17 + 4096);
      CHECK(guest.disks[1].stream_bytes == 22);
    }
  }
  // What was a base once does not pile up: one of each job's own, and of each promotion.
  for (const ImageSpec& image : {east_first, east_second}) {
    CHECK(snapshot_names(stage.clusters.source_images, image).size() <= 4);
  }
  for (const ImageSpec& image : {west_first, west_second}) {
    CHECK(snapshot_names(stage.clusters.replica_images, image).size() <= 4);
  }
  CHECK(stage.clusters.source_images.images().size() == 2);
  CHECK(stage.clusters.replica_images.images().size() == 2);
}

TEST_CASE("the side a guest has left does not take it for a replica's source any more") {
  Stage stage;
  stage.move();
  SUBCASE("right after") {
    stage.turn(false);
    stage.check_refused(Conflict::replica_promoted, {"VM 99100"});
    stage.clusters.options.discard_changes = true;
    stage.clusters.options.overwrite = true;
    stage.check_refused(Conflict::replica_promoted, {"VM 99100"});
  }
  SUBCASE("after it came back") {
    stage.move();
    // Each side has a record of its promotion that names the other. The guest is in the east.
    stage.turn(true);
    stage.clusters.destination.put_guest(west_vmid, "w1", stage.clusters.destination.config(west_vmid).value(),
                                         Power::stopped);
    stage.check_refused(Conflict::replica_promoted, {"VM 100 "});
    stage.clusters.options.job_name = "other";
    stage.clusters.options.discard_changes = true;
    stage.check_refused(Conflict::replica_promoted, {"VM 100 "});
  }
}

TEST_CASE("a source that comes back after its replica was recovered is refused") {
  Stage stage;
  stage.run_well();
  write(stage.clusters.source_images, east_first, std::byte{3});
  stage.promote();
  stage.check_refused(Conflict::replica_promoted, {"VM 99100"});
  SUBCASE("and the other way it is its head that tells") {
    stage.turn(true);
    stage.check_refused(Conflict::replica_running, {"VM 99100", "e1"});
    stage.turn(false);
    stage.fence();
    stage.turn(true);
    const std::string base = stage.record(stage.clusters.replica_images, west_first).points.back().name;
    stage.check_refused(Conflict::replica_diverged, {to_string(east_first), base, "--discard-changes"});
    stage.clusters.options.discard_changes = true;
    const GuestReport guest = stage.run_well();
    CHECK_FALSE(guest.disks[0].full);
    CHECK(has_warning(guest, {to_string(east_first), base, "--discard-changes"}));
  }
}

TEST_CASE("a recovery at an older point goes back as well") {
  Stage stage;
  stage.clusters.options.keep_local = "1d";
  stage.clusters.options.keep_remote = "1d";
  const std::string older = stage.run_well().recovery_point;
  write(stage.clusters.source_images, east_first, std::byte{3});
  const std::string newer = stage.run_well().recovery_point;
  REQUIRE(stage.clusters.recover(west_vmid, {.point = older}).outcome == Outcome::ok);
  stage.fence();
  stage.start_far();
  stage.turn(true);
  const GuestReport guest = stage.run_well();
  CHECK(guest.disks[0].base == newer);
  CHECK_FALSE(guest.disks[0].full);
}

TEST_CASE("what the origin is has to be as the guest left it") {
  Stage stage;
  stage.move();
  SUBCASE("written to") {
    write(stage.clusters.source_images, east_second, std::byte{3});
    stage.check_refused(Conflict::replica_diverged, {to_string(east_second), "--discard-changes"});
  }
  SUBCASE("resized") {
    stage.clusters.source_images.resize(east_second, 1 << 20);
    stage.check_refused(Conflict::replica_diverged, {to_string(east_second), "--discard-changes"});
  }
  SUBCASE("running") {
    stage.clusters.source.put_guest(east_vmid, "e1", stage.clusters.source.config(east_vmid).value(),
                                    Power::running);
    stage.check_refused(Conflict::replica_running, {"VM 99100", "e1"});
  }
  SUBCASE("open") {
    stage.clusters.source_images.set_watchers(east_first, {"192.0.2.9:0/1"});
    stage.check_refused(Conflict::image_in_use, {to_string(east_first), "192.0.2.9:0/1"});
  }
  SUBCASE("without a snapshot in common") {
    const ImageState state = stage.clusters.source_images.find(east_first).value();
    for (const Snapshot& snapshot : state.snapshots) {
      stage.clusters.source_images.remove_snapshot(east_first, snapshot);
      // The name is nothing.
      stage.clusters.source_images.create_snapshot(east_first, snapshot.name);
    }
    stage.check_refused(Conflict::no_common_base, {to_string(east_first), to_string(west_first), "--reseed"});
    stage.clusters.options.reseed = true;
    const GuestReport guest = stage.run_well();
    CHECK(guest.disks[0].full);
    CHECK(stage.clusters.source_images.trashed().contains(east_first));
    CHECK(stage.clusters.source_images.trashed().contains(east_second));
    stage.clusters.options.reseed = false;
    CHECK_FALSE(stage.run_well().disks[0].full);
  }
  SUBCASE("another guest") {
    VmConfig config = parse_vm_config(stage.clusters.source.config(east_vmid).value());
    config.set("vmgenid", "11111111-3f65-4d0a-9f6b-0a6d1a2b3c4d");
    stage.clusters.source.set_config(east_vmid, config.to_bytes());
    stage.check_refused(Conflict::target_vmid_taken, {"VM 100 "});
  }
}

TEST_CASE("an origin that somebody else has locked is left alone") {
  Stage stage;
  stage.move();
  stage.clusters.source.set_config(east_vmid, with_lock(stage.clusters.source.config(east_vmid).value(), "backup"));
  const std::string before = stage.dump();
  const GuestReport guest = stage.run();
  CHECK(guest.outcome != Outcome::ok);
  CHECK(guest.error_code == ErrorCode::locked);
  CHECK(stage.dump() == before);
}

TEST_CASE("what was dropped once it is told to is not asked about again") {
  Stage stage;
  stage.move();
  write(stage.clusters.source_images, east_second, std::byte{3});
  stage.clusters.options.discard_changes = true;
  const GuestReport guest = stage.run_well();
  CHECK(has_warning(guest, {to_string(east_second), "rolled back"}));
  stage.clusters.options.discard_changes = false;
  stage.clusters.write_at_random();
  CHECK(stage.run_well().warnings.empty());
}

TEST_CASE("disks that came and went on the other side") {
  Stage stage(3);
  stage.move();
  SUBCASE("a new one gets a first copy") {
    add_in_the_west(stage);
    const GuestReport guest = stage.run_well();
    REQUIRE(guest.disks.size() == 4);
    CHECK_FALSE(guest.disks[2].full);
    CHECK(guest.disks[3].full);
    CHECK(guest.disks[3].replica_image == "fast/vm-100-disk-7-copy");

    // And it goes there again with the others.
    stage.clusters.write_at_random();
    stage.move();
    write(stage.clusters.source_images, image_named("fast/vm-100-disk-7-copy"), std::byte{8});
    const GuestReport again = stage.run_well();
    REQUIRE(again.disks.size() == 4);
    for (const DiskReport& disk : again.disks) CHECK_FALSE(disk.full);
    CHECK(again.disks[3].replica_image == to_string(west_added));
  }
  SUBCASE("one that is gone is named, and its image stays") {
    VmConfig config = parse_vm_config(stage.clusters.destination.config(west_vmid).value());
    config.remove("scsi1");
    stage.clusters.destination.set_config(west_vmid, config.to_bytes());
    const GuestReport guest = stage.run_well();
    CHECK(guest.disks.size() == 2);
    CHECK(has_warning(guest, {"hdd:vm-100-disk-1", "scsi1", "VM 100"}));
    CHECK(stage.clusters.source_images.find(east_second));
    // There again without it, while the west still has it, promoted as it was.
    stage.move();
    const GuestReport again = stage.run_well();
    CHECK(again.disks.size() == 2);
    for (const DiskReport& disk : again.disks) CHECK_FALSE(disk.full);
    REQUIRE(stage.record(stage.clusters.replica_images, west_second).promoted);
    CHECK_FALSE(stage.clusters.points(west_vmid).promoted);
    const RecoverReport recovered = stage.clusters.recover(west_vmid);
    CAPTURE(recovered.error);
    CHECK(recovered.outcome == Outcome::ok);
    CHECK(recovered.point == again.recovery_point);
  }
  SUBCASE("one whose origin is gone is a conflict") {
    VmConfig config = parse_vm_config(stage.clusters.source.config(east_vmid).value());
    config.remove("scsi1");
    stage.clusters.source.set_config(east_vmid, config.to_bytes());
    stage.check_refused(Conflict::no_common_base, {to_string(west_second), to_string(east_second), "--reseed"});
  }
}

TEST_CASE("recovery points from before a guest went there and back are recovery points again") {
  Stage stage;
  stage.clusters.options.keep_local = "1d";
  stage.clusters.options.keep_remote = "1d";
  std::map<std::string, std::vector<std::byte>> held;
  const auto add_point = [&] {
    stage.clusters.write_at_random();
    const std::string point = stage.run_well().recovery_point;
    held[point] = stage.far_images().content(stage.clusters.back ? east_first : west_first);
    return point;
  };
  const std::string oldest = add_point();
  add_point();
  stage.move();
  add_point();
  stage.move();
  const std::string base = stage.record(stage.clusters.source_images, east_first).points.back().name;
  SUBCASE("by the job of the same name") {
    add_point();
  }
  SUBCASE("by another") {
    stage.clusters.options.job_name = "other";
    add_point();
  }
  const std::string newest = add_point();
  const ReplicaReport report = stage.clusters.points(west_vmid);
  CHECK_FALSE(report.promoted);
  std::set<std::string> complete;
  for (const RecoveryPoint& point : report.points) {
    CAPTURE(point.name);
    CAPTURE(point.incomplete);
    CHECK(point.complete);
    complete.insert(point.name);
  }
  // All that the west ever held as a replica, and not what was made on the way back.
  CHECK(complete.size() == 5);
  CHECK(complete.contains(oldest));
  CHECK(complete.contains(newest));
  CHECK_FALSE(complete.contains(base));
  CHECK(stage.clusters.verify().guests.at(0).outcome == VerifyOutcome::equal);
  REQUIRE(stage.clusters.recover(west_vmid, {.point = oldest}).outcome == Outcome::ok);
  CHECK(stage.clusters.replica_images.content(west_first) == held.at(oldest));
  // Whoever is recovered goes back as well.
  stage.fence();
  stage.start_far();
  stage.turn(true);
  CHECK_FALSE(stage.run_well().disks[0].full);
}

TEST_CASE("a guest that was promoted is one of all") {
  Stage stage;
  stage.move();
  stage.clusters.options.vmid = "all";
  stage.clusters.options.prefix_id = "";
  // Its origin has another VMID: it is copied like any guest, by a job of its own.
  stage.clusters.options.job_name = "all";
  const GuestReport guest = stage.run_well();
  CHECK(guest.vmid == west_vmid);
  CHECK(guest.target_vmid == west_vmid);
  CHECK(guest.disks[0].full);
}

TEST_CASE("an image is not taken over through a restricted agent") {
  Stage stage;
  stage.move();
  stage.clusters.restriction = parse_restriction("ssd", "100");
  const std::string before = stage.dump();
  const GuestReport guest = stage.run();
  CAPTURE(guest.error);
  CHECK(guest.outcome != Outcome::ok);
  CHECK(guest.error_code == ErrorCode::permission);
  CHECK(guest.error.find("VM 100 over there") != std::string::npos);
  CHECK(guest.error.find("key that is not restricted") != std::string::npos);
  CHECK(stage.dump() == before);

  // Once it is taken over such an agent is enough.
  stage.clusters.restriction.reset();
  stage.run_well();
  stage.clusters.write_at_random();
  stage.clusters.restriction = parse_restriction("ssd,hdd", "100");
  CHECK_FALSE(stage.run_well().disks[0].full);
  stage.clusters.restriction = parse_restriction("ssd", "100");
  const GuestReport narrow = stage.run();
  CHECK(narrow.error_code == ErrorCode::permission);
  CHECK(narrow.error.find("slow/vm-100-disk-1") != std::string::npos);
  CHECK(narrow.error.find("restricted to") != std::string::npos);
}

namespace {

/// Goes through every call of the run that comes after `prepare`, each of them going wrong in every way.
void check_through(const std::function<void(Stage&)>& prepare) {
  std::vector<std::string> calls;
  {
    Stage stage;
    prepare(stage);
    stage.clusters.faults.arm();
    stage.run_well();
    calls = stage.clusters.faults.calls();
  }
  REQUIRE(calls.size() > 20);
  for (const std::string& call : calls) {
    for (const Fault fault : {Fault::fails, Fault::answer_lost, Fault::cancels, Fault::dies, Fault::dies_after}) {
      CAPTURE(call);
      INFO(to_string(fault));
      Stage stage;
      prepare(stage);
      TwoClusters& clusters = stage.clusters;
      const std::string config = stage.near_cluster().config(stage.near_vmid()).value();
      std::map<ImageSpec, std::vector<std::byte>> held;
      for (const ImageSpec& image : stage.near_images().images()) held[image] = stage.near_images().content(image);

      clusters.faults.arm(call, fault);
      try {
        (void)stage.run();
      } catch (const Error&) {
      } catch (const Cancelled&) {
      }
      REQUIRE(clusters.faults.happened());
      // The guest is not touched, nor left frozen or locked.
      CHECK_FALSE(stage.near_cluster().held(stage.near_vmid()));
      CHECK(stage.near_cluster().config(stage.near_vmid()) == config);
      for (const auto& [image, content] : held) CHECK(stage.near_images().content(image) == content);
      // The fence stays until there is a whole point.
      const std::string now = stage.far_cluster().config(stage.far_vmid()).value();
      if (without_lock(now) == now) {
        const ImageSpec& first = clusters.back ? east_first : west_first;
        const ImageSpec& second = clusters.back ? east_second : west_second;
        CHECK(stage.far_images().content(first) == held.at(clusters.back ? west_first : east_first));
        CHECK(stage.far_images().content(second) == held.at(clusters.back ? west_second : east_second));
      } else {
        CHECK(parse_vm_config(now).get("lock") == "migrate");
      }

      for (int run = 0; run < 2; ++run) {
        clusters.faults.arm();
        const GuestReport guest = stage.run_well();
        for (std::size_t i = 0; i < 2; ++i) CHECK_FALSE(guest.disks[i].full);
        CHECK(stage.near_cluster().config(stage.near_vmid()) == config);
        clusters.write_at_random();
      }
      // Once more the other way.
      clusters.faults.arm();
      stage.move();
      for (const DiskReport& disk : stage.run_well().disks) CHECK_FALSE(disk.full);
    }
  }
}

}  // namespace

TEST_CASE("going back survives a fault at every call") {
  check_through([](Stage& stage) {
    stage.move();
    stage.clusters.write_at_random();
    write(stage.clusters.replica_images, west_second, std::byte{5});
  });
}

TEST_CASE("going there again survives a fault at every call") {
  check_through([](Stage& stage) {
    stage.move();
    stage.clusters.write_at_random();
    stage.move();
    stage.clusters.write_at_random();
    write(stage.clusters.source_images, east_second, std::byte{6});
  });
}

TEST_CASE("going back with a new disk survives a fault at every call") {
  check_through([](Stage& stage) {
    stage.move();
    stage.clusters.write_at_random();
    add_in_the_west(stage);
  });
}

TEST_CASE("going back to what was written to since survives a fault at every call") {
  check_through([](Stage& stage) {
    stage.move();
    stage.clusters.write_at_random();
    write(stage.clusters.source_images, east_second, std::byte{6});
    stage.clusters.options.discard_changes = true;
  });
}
