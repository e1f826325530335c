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
      // The one disk that has the key is the one that leaves: nothing tells the others of the point (docs/concurrency.md).
      if (!whole && std::string(gone) == "scsi0") continue;
      if (*gone != '\0') stage.detach(gone);
      stage.run_well();
      CHECK(stage.incomplete(cut).empty());
      if (*gone == '\0') CHECK((stage.has_key(first, cut) && stage.has_key(second, cut)));
    }
  }
  CHECK(cuts_between_keys > 0);
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
