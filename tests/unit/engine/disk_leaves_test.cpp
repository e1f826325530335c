// Recovery points stay whole whichever disk leaves the guest later.
#include <doctest/doctest.h>

#include <algorithm>

#include "plan/record.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

const ImageSpec first{"backup", "", "vm-99100-disk-0-ssd"};
const ImageSpec second{"backup", "", "vm-99100-disk-1-hdd"};
using Content = std::vector<std::vector<std::byte>>;

struct Stage {
  Stage() {
    clusters.options.keep_local = "1d";
    clusters.options.keep_remote = "1d";
    clusters.add_guest(100);
  }

  GuestReport run() {
    clusters.write_at_random();
    clusters.clock.time += std::chrono::hours(1);
    return clusters.run().guests.at(0);
  }

  std::string run_well() {
    clusters.faults.arm();
    const GuestReport guest = run();
    REQUIRE_MESSAGE(guest.outcome == Outcome::ok, guest.error);
    return guest.recovery_point;
  }

  void detach(const std::string& key) {
    VmConfig config = parse_vm_config(clusters.source.config(100).value());
    config.remove(key);
    clusters.source.set_config(100, config.to_bytes());
  }

  Content at(const std::string& point) {
    return {clusters.replica_images.content(first, point), clusters.replica_images.content(second, point)};
  }

  [[nodiscard]] bool has_key(const ImageSpec& image, const std::string& point) {
    return clusters.replica_images.find(image)->metadata.contains(std::string(point_key_prefix) + point);
  }

  /// The newest point that any image has a configuration of.
  std::string newest_key() {
    std::string newest;
    for (const ImageSpec& image : {first, second}) {
      const ImageState state = clusters.replica_images.find(image).value();
      for (const auto& [key, value] : state.metadata) {
        if (key.starts_with(point_key_prefix)) newest = std::max(newest, key.substr(point_key_prefix.size()));
      }
    }
    return newest;
  }

  /// Why a point is none; empty: it is complete.
  std::string incomplete(const std::string& name) {
    for (const RecoveryPoint& point : clusters.points(99100).points) {
      if (point.name == name) return point.complete ? "" : point.incomplete;
    }
    return "there is no such point";
  }

  TwoClusters clusters;
};

}  // namespace

TEST_CASE("older points stay complete, and can be recovered, after any disk was detached") {
  for (const char* gone : {"scsi0", "scsi1"}) {
    CAPTURE(gone);
    Stage stage;
    const std::string older = stage.run_well();
    const Content held = stage.at(older);
    for (const ImageSpec& image : {first, second}) CHECK(stage.has_key(image, older));
    stage.detach(gone);
    const std::string newer = stage.run_well();
    CHECK(stage.incomplete(older).empty());
    CHECK(stage.incomplete(newer).empty());
    REQUIRE(stage.clusters.recover(99100, {.point = older}).outcome == Outcome::ok);
    CHECK(stage.at("") == held);
    const std::string config = stage.clusters.destination.config(99100).value();
    for (const ImageSpec& image : {first, second}) CHECK(config.find("copy:" + image.name) != std::string::npos);
  }
}

TEST_CASE("a point is complete with the first of its keys, and the next run adds those that a cut left out") {
  std::vector<std::string> calls;
  {
    Stage stage;
    stage.run_well();
    stage.run_well();
    calls = stage.clusters.faults.calls();
  }
  int cuts_between_keys = 0;
  for (const std::string& call : calls) {
    if (!call.starts_with("destination") || call.find("set_metadata") == std::string::npos) continue;
    for (const char* gone : {"", "scsi0", "scsi1"}) {
      CAPTURE(call);
      CAPTURE(gone);
      Stage stage;
      stage.run_well();
      stage.clusters.faults.arm(call, Fault::dies_after);
      (void)stage.run();
      REQUIRE(stage.clusters.faults.happened());
      stage.clusters.faults.arm();
      const std::string cut = stage.newest_key();
      const bool whole = stage.has_key(first, cut) && stage.has_key(second, cut);
      if (!whole) ++cuts_between_keys;
      CHECK(stage.incomplete(cut).empty());
      if (*gone != '\0') stage.detach(gone);
      stage.run_well();
      CHECK(stage.incomplete(cut).empty());
      if (*gone == '\0') CHECK((stage.has_key(first, cut) && stage.has_key(second, cut)));
    }
  }
  CHECK(cuts_between_keys > 0);
}

TEST_CASE("an image whose disk left is named, and loses its points with the others") {
  Stage stage;
  const std::string older = stage.run_well();
  stage.detach("scsi1");
  const GuestReport left = [&] {
    stage.clusters.faults.arm();
    return stage.run();
  }();
  REQUIRE_MESSAGE(left.outcome == Outcome::ok, left.error);
  const auto only_former = [](const std::vector<FormerImage>& images) {
    REQUIRE(images.size() == 1);
    CHECK(images.front().image == to_string(second));
    return images.front().points;
  };
  CHECK(only_former(left.former_images) == 1);
  CHECK(only_former(stage.clusters.points(99100).former_images) == 1);
  // Once no point names it, the other disks' records still do.
  stage.clusters.options.keep_remote = "0s";
  stage.clusters.options.keep_local = "0s";
  stage.run_well();
  CHECK(stage.incomplete(older) == "there is no such point");
  CHECK(stage.clusters.replica_images.find(second)->snapshots.empty());
  CHECK_FALSE(stage.has_key(second, older));
  CHECK(only_former(stage.clusters.points(99100).former_images) == 0);
  stage.clusters.faults.arm();
  CHECK(only_former(stage.run().former_images) == 0);

  const auto prune = [&](bool dry_run) {
    return stage.clusters
        .prune("99100", {.keep_remote = "1d", .former_images = true, .dry_run = dry_run})
        .replicas.at(0);
  };
  const PrunedReplica forgot = stage.clusters.prune("99100", {.keep_remote = "1d"}).replicas.at(0);
  CHECK(forgot.trashed.empty());
  CHECK(only_former(forgot.former_images) == 0);
  CHECK(prune(true).trashed.size() == 1);
  CHECK(stage.clusters.replica_images.find(second));
  const PrunedReplica pruned = prune(false);
  CHECK_MESSAGE(pruned.outcome == Outcome::ok, pruned.error);
  REQUIRE(pruned.trashed.size() == 1);
  CHECK(pruned.trashed.front().starts_with(to_string(second) + " ("));
  CHECK(pruned.former_images.empty());
  CHECK_FALSE(stage.clusters.replica_images.find(second));
  CHECK(stage.clusters.points(99100).former_images.empty());
  stage.clusters.faults.arm();
  CHECK(stage.run().former_images.empty());
}

TEST_CASE("an image whose disk left stays as long as anything needs it") {
  Stage stage;
  stage.run_well();
  stage.detach("scsi1");
  stage.run_well();
  std::string why;
  SUBCASE("a recovery point") {}
  SUBCASE("a snapshot that somebody made") {
    stage.clusters.replica_images.create_snapshot(second, "before-upgrade");
    why = "it has snapshots: before-upgrade";
  }
  SUBCASE("another VM") {
    GuestState other = stage.clusters.destination.inventory.guests.at(99100);
    other.vmid = 555;
    other.config = "scsi4: copy:vm-99100-disk-1-hdd,size=64M\n";
    stage.clusters.destination.inventory.guests.emplace(555, other);
    why = "the configuration of VM 555 names it";
  }
  const bool needed = why.empty();
  if (!needed) {
    stage.clusters.options.keep_remote = "0s";
    stage.run_well();
  }
  const PrunedReplica pruned =
      stage.clusters.prune("99100", {.keep_remote = "1d", .former_images = true}).replicas.at(0);
  CHECK(pruned.trashed.empty());
  REQUIRE(pruned.former_images.size() == 1);
  CHECK(pruned.former_images.front().points == (needed ? 1 : 0));
  CHECK((pruned.outcome == Outcome::ok) == needed);
  CHECK(pruned.error.find(why) != std::string::npos);
  CHECK(stage.clusters.replica_images.find(second));
}

TEST_CASE("an image whose disk left is not forgotten while its record cannot be read") {
  Stage stage;
  stage.run_well();
  stage.detach("scsi1");
  stage.run_well();
  const std::string key(replica_key);
  const std::string record = stage.clusters.replica_images.find(second)->metadata.at(key);
  stage.clusters.replica_images.set_metadata(second, key, "{");
  stage.clusters.options.keep_remote = "0s";
  stage.clusters.faults.arm();
  const GuestReport blind = stage.run();
  REQUIRE_MESSAGE(blind.outcome == Outcome::ok, blind.error);
  REQUIRE(blind.former_images.size() == 1);
  CHECK(std::any_of(blind.warnings.begin(), blind.warnings.end(), [](const std::string& warning) {
    return warning.find("its record cannot be read") != std::string::npos;
  }));
  stage.clusters.replica_images.set_metadata(second, key, record);
  stage.run_well();
  const auto former = stage.clusters.points(99100).former_images;
  REQUIRE(former.size() == 1);
  CHECK(former.front().image == to_string(second));
}

TEST_CASE("a disk that was moved to another storage leaves its image, and is copied into a new one") {
  Stage stage;
  const std::string older = stage.run_well();
  const ImageSpec moved{"fast", "", "vm-100-disk-9"};
  const ImageState before = stage.clusters.source_images.find({"slow", "", "vm-100-disk-1"}).value();
  stage.clusters.source_images.create(moved, before.layout);
  VmConfig config = parse_vm_config(stage.clusters.source.config(100).value());
  config.set("scsi1", "ssd:vm-100-disk-9");
  stage.clusters.source.set_config(100, config.to_bytes());
  stage.clusters.faults.arm();
  const GuestReport guest = stage.clusters.run().guests.at(0);
  REQUIRE_MESSAGE(guest.outcome == Outcome::ok, guest.error);
  CHECK(guest.disks.at(1).full);
  REQUIRE(guest.former_images.size() == 1);
  CHECK(guest.former_images.front().image == to_string(second));
  CHECK(stage.incomplete(older).empty());
}

TEST_CASE("a disk that comes back goes on in its image") {
  Stage stage;
  stage.run_well();
  const std::string before = stage.clusters.source.config(100).value();
  stage.detach("scsi1");
  stage.run_well();
  stage.clusters.source.set_config(100, before);
  stage.clusters.faults.arm();
  const GuestReport back = stage.run();
  REQUIRE_MESSAGE(back.outcome == Outcome::ok, back.error);
  CHECK(back.former_images.empty());
  CHECK_FALSE(back.disks.at(1).full);
  CHECK(stage.clusters.points(99100).former_images.empty());
}

TEST_CASE("a guest whose every disk left keeps its replica") {
  Stage stage;
  const std::string point = stage.run_well();
  const std::string replica = stage.clusters.destination.config(99100).value();
  for (const char* gone : {"scsi0", "scsi1"}) stage.detach(gone);
  stage.clusters.faults.arm();
  const GuestReport guest = stage.run();
  CHECK(guest.outcome == Outcome::conflict);
  CHECK(guest.error.find("--excludevmids=100") != std::string::npos);
  CHECK(stage.clusters.destination.config(99100) == replica);
  CHECK(stage.incomplete(point).empty());
}

TEST_CASE("retention takes a point's keys from all disks before its first snapshot") {
  Stage stage;
  stage.run_well();
  stage.clusters.options.keep_remote = "0s";
  stage.clusters.faults.arm();
  stage.run_well();
  const std::vector<std::string> calls = stage.clusters.faults.calls();
  std::ptrdiff_t last_key = -1;
  std::ptrdiff_t first_snapshot = -1;
  std::size_t keys = 0;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (!calls[i].starts_with("destination")) continue;
    if (calls[i].find("remove_metadata") != std::string::npos) {
      last_key = static_cast<std::ptrdiff_t>(i);
      ++keys;
    }
    if (calls[i].find("remove_snapshot") != std::string::npos && first_snapshot < 0) {
      first_snapshot = static_cast<std::ptrdiff_t>(i);
    }
  }
  CHECK(keys == 2);
  CHECK(last_key < first_snapshot);
}
