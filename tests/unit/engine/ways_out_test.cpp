// Ways out of conflicts: what they do, what they leave alone, and what is said.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <regex>

#include "plan/record.hpp"
#include "plan/replica_config.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;
using std::chrono::minutes;

namespace {

const ImageSpec first_replica{"backup", "", "vm-99100-disk-0-ssd"};
const ImageSpec second_replica{"backup", "", "vm-99100-disk-1-hdd"};
const ImageSpec first_copy{"backup", "", "vm-99100-disk-0-ssd-r2"};
constexpr const char* shell_snapshot = "mirror-20261122030000";

GuestReport run(TwoClusters& clusters) {
  const MirrorReport report = clusters.run();
  clusters.clock.time += minutes(10);
  REQUIRE(report.guests.size() == 1);
  return report.guests.front();
}

/// Everything on both sides but when configurations were written: a lock is taken and taken back.
std::string dump(const TwoClusters& clusters) {
  return std::regex_replace(clusters.dump(), std::regex("written at [0-9]+"), "");
}

/// Stopped by this conflict, with these words in one line; nothing on either side is other than before.
void check_refused(TwoClusters& clusters, Conflict conflict, const std::vector<std::string>& words) {
  const std::string before = dump(clusters);
  const GuestReport guest = run(clusters);
  CAPTURE(guest.error);
  CHECK(guest.outcome == Outcome::conflict);
  CHECK(guest.conflict == conflict);
  CHECK(guest.error.find(to_string(conflict)) != std::string::npos);
  CHECK(guest.error.find('\n') == std::string::npos);
  for (const std::string& word : words) {
    CAPTURE(word);
    CHECK(guest.error.find(word) != std::string::npos);
  }
  const bool is_unchanged = dump(clusters) == before;
  CHECK(is_unchanged);
}

void check_ok(const GuestReport& guest) {
  CAPTURE(guest.error);
  CHECK(guest.outcome == Outcome::ok);
  CHECK_FALSE(guest.conflict);
}

bool has_warning(const GuestReport& guest, const std::vector<std::string>& words) {
  return std::any_of(guest.warnings.begin(), guest.warnings.end(), [&](const std::string& warning) {
    return std::all_of(words.begin(), words.end(),
                       [&](const std::string& word) { return warning.find(word) != std::string::npos; });
  });
}

void check_equal(TwoClusters& clusters, const GuestReport& guest) {
  for (const DiskReport& disk : guest.disks) {
    CAPTURE(disk.key);
    const ImageSpec replica{"backup", "", disk.replica_image.substr(disk.replica_image.find('/') + 1)};
    const auto source = clusters.source_images.content(clusters.image_of(100, disk.key), guest.recovery_point);
    const bool is_equal = clusters.replica_images.content(replica, guest.recovery_point) == source;
    CHECK(is_equal);
  }
}

/// A replica as the shell tool leaves it.
void put_shell_tool_replica(TwoClusters& clusters) {
  VmConfig config = parse_vm_config(clusters.source.config(100).value());
  for (const char* key : {"scsi0", "scsi1"}) {
    const ImageSpec source = clusters.image_of(100, key);
    const ImageSpec replica = clusters.replica_of(source, 99100);
    clusters.replica_images.create(replica, clusters.source_images.find(source)->layout);
    clusters.replica_images.write(replica, 0, clusters.source_images.content(source));
    clusters.source_images.create_snapshot(source, shell_snapshot);
    clusters.replica_images.create_snapshot(replica, shell_snapshot);
    config.set(key, "copy:" + replica.name);
  }
  clusters.destination.put_guest(99100, "w1", config.to_bytes(), Power::stopped);
}

void lose_base(TwoClusters& clusters) {
  for (const char* key : {"scsi0", "scsi1"}) {
    const ImageSpec image = clusters.image_of(100, key);
    const ImageState state = clusters.source_images.find(image).value();
    for (const Snapshot& snapshot : state.snapshots) clusters.source_images.remove_snapshot(image, snapshot);
  }
}

/// The replica's images say what an earlier build wrote on them, and `more` of it.
void make_earlier(TwoClusters& clusters, const std::string& more) {
  for (const ImageSpec& image : {first_replica, second_replica}) {
    const ImageState state = clusters.replica_images.find(image).value();
    for (const auto& [key, value] : state.metadata) clusters.replica_images.remove_metadata(image, key);
    clusters.replica_images.set_metadata(
        image, std::string(earlier_record_key),
        fmt::format(R"({{"version":2,"replica":{{{}"image_id":"{}","pool_id":{}}}}})", more, state.id, state.pool_id));
  }
}

}  // namespace

TEST_CASE("a replica that was written to is refused, and rolled back when told to") {
  TwoClusters clusters;
  clusters.add_guest(100);
  const GuestReport first = run(clusters);
  check_ok(first);
  const std::vector<std::byte> bytes(100, std::byte{9});
  SUBCASE("written") {
    clusters.replica_images.write(second_replica, 5000, bytes);
  }
  SUBCASE("resized") {
    clusters.replica_images.resize(second_replica, 1 << 20);
  }
  check_refused(clusters, Conflict::replica_diverged,
                {"backup/vm-99100-disk-1-hdd", first.recovery_point, "--discard-changes"});
  clusters.options.discard_changes = true;
  clusters.write_at_random();
  const GuestReport second = run(clusters);
  check_ok(second);
  CHECK(has_warning(second, {"backup/vm-99100-disk-1-hdd", first.recovery_point, "--discard-changes"}));
  CHECK(second.disks[1].base == first.recovery_point);
  check_equal(clusters, second);
  // Where nothing is to be dropped the flag changes nothing.
  const GuestReport third = run(clusters);
  check_ok(third);
  CHECK(third.warnings.empty());
}

TEST_CASE("a replica that was written to after its base was lost goes back through its newest point") {
  TwoClusters clusters;
  clusters.options.keep_remote = "1d";
  clusters.options.keep_local = "1d";
  clusters.add_guest(100);
  const GuestReport first = run(clusters);
  clusters.write_at_random();
  const GuestReport second = run(clusters);
  check_ok(second);
  for (const char* key : {"scsi0", "scsi1"}) {
    const ImageSpec image = clusters.image_of(100, key);
    const ImageState state = clusters.source_images.find(image).value();
    for (const Snapshot& snapshot : state.snapshots) {
      if (snapshot.name == second.recovery_point) clusters.source_images.remove_snapshot(image, snapshot);
    }
  }
  clusters.replica_images.write(first_replica, 5000, std::vector<std::byte>(100, std::byte{9}));
  check_refused(clusters, Conflict::replica_diverged, {second.recovery_point});
  clusters.options.discard_changes = true;
  const GuestReport third = run(clusters);
  check_ok(third);
  CHECK(third.disks[0].base == first.recovery_point);
  check_equal(clusters, third);
}

TEST_CASE("an image that somebody opens while the run plans is a conflict by name") {
  TwoClusters clusters;
  clusters.add_guest(100);
  check_ok(run(clusters));
  clusters.events.at = [&](const Event& event) {
    if (event.kind == EventKind::replica_locked)
      clusters.replica_images.set_watchers(first_replica, {"192.0.2.9:0/1"});
  };
  const GuestReport guest = run(clusters);
  CHECK(guest.outcome == Outcome::conflict);
  CHECK(guest.conflict == Conflict::image_in_use);
  CHECK(guest.error.find("192.0.2.9:0/1") != std::string::npos);
}

TEST_CASE("a replica of the shell tool is taken over without a full copy") {
  TwoClusters clusters;
  clusters.add_guest(100);
  put_shell_tool_replica(clusters);
  check_refused(clusters, Conflict::target_vmid_taken, {"--adopt"});
  clusters.options.adopt = true;
  clusters.source_images.write(clusters.image_of(100, "scsi1"), 8192, std::vector<std::byte>(10, std::byte{5}));
  const GuestReport guest = run(clusters);
  check_ok(guest);
  CHECK(guest.disks[0].base == shell_snapshot);
  CHECK_FALSE(guest.disks[0].full);
  // Nothing of the first disk, one block of the second.
  CHECK(guest.disks[0].stream_bytes == 22);
  CHECK(guest.disks[1].stream_bytes == 22 + 17 + 4096 - 1 + 1);
  CHECK(has_warning(guest, {shell_snapshot, "backup/vm-99100-disk-0-ssd", "left as they are"}));
  check_equal(clusters, guest);
  const auto record = image_record(*clusters.replica_images.find(first_replica)).replica;
  REQUIRE(record);
  REQUIRE(record->points.size() == 2);
  CHECK(record->points[0].adopted);
  CHECK_FALSE(record->points[1].adopted);

  // From now on it is a replica like any other, and the shell tool's snapshots stay.
  clusters.options.adopt = false;
  clusters.write_at_random();
  const GuestReport next = run(clusters);
  check_ok(next);
  CHECK(next.disks[0].base == guest.recovery_point);
  CHECK(next.warnings.empty());
  CHECK(clusters.replica_images.find(first_replica)->snapshots.front().name == shell_snapshot);
  CHECK(clusters.source_images.find(clusters.image_of(100, "scsi0"))->snapshots.front().name == shell_snapshot);
}

TEST_CASE("what was taken over is no recovery point to compare") {
  TwoClusters clusters;
  clusters.add_guest(100);
  put_shell_tool_replica(clusters);
  clusters.options.adopt = true;
  const GuestReport guest = run(clusters);
  check_ok(guest);
  const VerifyReport report = clusters.verify();
  REQUIRE(report.guests.size() == 1);
  CHECK(report.guests[0].point == guest.recovery_point);
  CHECK(report.guests[0].outcome == VerifyOutcome::equal);
}

TEST_CASE("a replica of the shell tool that is not what the source was is not taken over") {
  TwoClusters clusters;
  clusters.add_guest(100);
  put_shell_tool_replica(clusters);
  clusters.options.adopt = true;
  SUBCASE("one block differs") {
    clusters.replica_images.damage(second_replica, 12345, std::vector<std::byte>(1, std::byte{0x55}));
    check_refused(
        clusters, Conflict::replica_diverged,
        {fmt::format("backup/vm-99100-disk-1-hdd@{}", shell_snapshot), "4096 bytes", "at 12288", "--reseed"});
  }
  SUBCASE("the head was written to") {
    clusters.replica_images.write(second_replica, 12345, std::vector<std::byte>(1, std::byte{0x55}));
    check_refused(clusters, Conflict::replica_diverged, {shell_snapshot, "--discard-changes"});
    clusters.options.discard_changes = true;
    const GuestReport guest = run(clusters);
    check_ok(guest);
    CHECK(has_warning(guest, {"vm-99100-disk-1-hdd", shell_snapshot, "rolled back"}));
    check_equal(clusters, guest);
  }
}

TEST_CASE("a replica without a base is copied anew beside the old one") {
  TwoClusters clusters;
  clusters.add_guest(100);
  const GuestReport first = run(clusters);
  check_ok(first);
  lose_base(clusters);
  check_refused(clusters, Conflict::no_common_base, {first.recovery_point, "--reseed"});
  clusters.options.reseed = true;

  SUBCASE("up to its end") {
    const std::string config = clusters.destination.config(99100).value();
    std::string config_before_its_end;
    clusters.events.at = [&](const Event& event) {
      // Up to here nobody can tell.
      if (event.kind == EventKind::transfer_finished)
        config_before_its_end = clusters.destination.config(99100).value();
    };
    const GuestReport second = run(clusters);
    clusters.events.at = nullptr;
    check_ok(second);
    CHECK(config_before_its_end == config);
    CHECK(second.disks[0].full);
    CHECK(second.disks[0].replica_image == to_string(first_copy));
    check_equal(clusters, second);
    CHECK(has_warning(second, {"backup/vm-99100-disk-0-ssd", "trash", "7 days"}));
    CHECK_FALSE(clusters.replica_images.find(first_replica));
    CHECK(clusters.replica_images.trashed().at(first_replica) == std::chrono::days(7));

    clusters.options.reseed = false;
    clusters.write_at_random();
    const GuestReport third = run(clusters);
    check_ok(third);
    CHECK(third.disks[0].replica_image == to_string(first_copy));
    CHECK(third.disks[0].base == second.recovery_point);
    CHECK(third.warnings.empty());
    check_equal(clusters, third);

    lose_base(clusters);
    clusters.options.reseed = true;
    const GuestReport fourth = run(clusters);
    check_ok(fourth);
    CHECK(fourth.disks[0].replica_image == "backup/vm-99100-disk-0-ssd-r3");
    CHECK(clusters.replica_images.trashed().contains(first_copy));
  }
  SUBCASE("unless somebody starts the old one meanwhile") {
    clusters.events.at = [&](const Event& event) {
      if (event.kind == EventKind::transfer_started) {
        clusters.replica_images.set_watchers(second_replica, {"192.0.2.9:0/1"});
      }
    };
    const std::string config = clusters.destination.config(99100).value();
    const GuestReport second = run(clusters);
    clusters.events.at = nullptr;
    CHECK(second.conflict == Conflict::image_in_use);
    CHECK(second.error.find("192.0.2.9:0/1") != std::string::npos);
    CHECK(clusters.destination.config(99100) == config);
    CHECK(clusters.replica_images.find(first_replica));
    clusters.replica_images.set_watchers(second_replica, {});
    // What was copied is not copied again.
    const GuestReport third = run(clusters);
    check_ok(third);
    CHECK_FALSE(third.disks[0].full);
    CHECK(third.disks[0].replica_image == to_string(first_copy));
    CHECK_FALSE(clusters.replica_images.find(first_replica));
    check_equal(clusters, third);
  }
  SUBCASE("whose images are left to the next run if they cannot be moved now") {
    clusters.replica_images.fail_call("trash", 1,
                                      Error(ErrorCode::in_use, "move image to trash", "backup/x", "busy", true));
    const GuestReport second = run(clusters);
    check_ok(second);
    CHECK(has_warning(second, {"could not be moved to the trash", "busy"}));
    clusters.options.reseed = false;
    check_ok(run(clusters));
    CHECK_FALSE(clusters.replica_images.find(first_replica));
    CHECK_FALSE(clusters.replica_images.find(second_replica));
  }
  SUBCASE("and another image that has taken its name is not moved") {
    clusters.faults.arm("destination trash backup/vm-99100-disk-0-ssd #1", Fault::dies);
    (void)run(clusters);
    clusters.faults.arm();
    const ImageState old = clusters.replica_images.find(first_replica).value();
    for (const Snapshot& snapshot : old.snapshots) clusters.replica_images.remove_snapshot(first_replica, snapshot);
    clusters.replica_images.remove(first_replica);
    clusters.replica_images.create(first_replica, old.layout);
    clusters.options.reseed = false;
    check_ok(run(clusters));
    CHECK(clusters.replica_images.find(first_replica));
    CHECK_FALSE(clusters.replica_images.find(second_replica));
  }
}

TEST_CASE("a guest that was promoted with an earlier build is not touched, whatever is asked for") {
  TwoClusters clusters;
  clusters.add_guest(100);
  check_ok(run(clusters));
  make_earlier(clusters, R"("promoted":{"point":"x"},)");
  check_refused(clusters, Conflict::replica_promoted, {"backup/vm-99100-disk-", "earlier build"});
  clusters.options.overwrite = true;
  clusters.options.reseed = true;
  check_refused(clusters, Conflict::replica_promoted, {"backup/vm-99100-disk-", "earlier build"});
}

TEST_CASE("a replica of an earlier build is refused by name, and made anew with --reseed") {
  TwoClusters clusters;
  clusters.add_guest(100);
  check_ok(run(clusters));
  make_earlier(clusters, "");
  check_refused(clusters, Conflict::another_source, {"backup/vm-99100-disk-", "earlier build", "--reseed"});
  clusters.options.overwrite = true;
  check_refused(clusters, Conflict::another_source, {"backup/vm-99100-disk-", "earlier build", "--reseed"});
  clusters.options.overwrite = false;
  const RecoverReport recovered = clusters.recover(99100);
  CHECK(recovered.outcome == Outcome::failed);
  CHECK(recovered.error.find("an earlier build of crossover made this replica") != std::string::npos);
  clusters.options.reseed = true;
  const GuestReport guest = run(clusters);
  check_ok(guest);
  check_equal(clusters, guest);
  CHECK_FALSE(clusters.replica_images.find(first_replica));
  clusters.options.reseed = false;
  check_ok(run(clusters));
}

TEST_CASE("a connection that breaks while a copy is made anew is gone on with, once") {
  TwoClusters clusters;
  clusters.options.retries = "2";
  clusters.add_guest(100);
  check_ok(run(clusters));
  lose_base(clusters);
  clusters.options.reseed = true;
  const auto broken = [](const char* operation) {
    return Error(ErrorCode::unreachable, operation, "w1", "the connection broke", true);
  };
  SUBCASE("in the transfer") {
    clusters.replica_images.fail_call("finish", 2, broken("write diff"));
  }
  SUBCASE("before the end") {
    clusters.replica_images.fail_call("create_snapshot", 2, broken("create snapshot"));
  }
  const GuestReport guest = run(clusters);
  check_ok(guest);
  CHECK(guest.disks[0].replica_image == to_string(first_copy));
  CHECK_FALSE(clusters.replica_images.find(first_replica));
  CHECK(clusters.replica_images.images().size() == 2);
  check_equal(clusters, guest);
}
