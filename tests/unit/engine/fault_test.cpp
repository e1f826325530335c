// Every call of a run goes wrong once, in each way there is: what must never happen does not, and the next run
// mends what was left.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <array>
#include <functional>

#include "point_keeper.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

/// A stage in some state, and the keeper that saw how it came about.
struct Stage {
  explicit Stage(bool restricted = false) : keeper(clusters, 100, 99100) {
    clusters.marks.bytes = 1;
    if (restricted) clusters.restriction = parse_restriction("copy", "99000-99999");
  }

  /// A run in which nothing has to go well. Nothing if it threw.
  std::optional<MirrorReport> try_run() {
    std::optional<MirrorReport> report;
    try {
      report = clusters.run();
    } catch (const Error& error) {
      last_error = error.what();
    } catch (const Cancelled&) {
      last_error = "cancelled";
    } catch (...) {
      last_error = "with what is no exception of ours";
    }
    if (report && !report->guests.empty()) last_error = report->guests.front().error;
    keeper.remember();
    clusters.clock.time += std::chrono::minutes(10);
    return report;
  }

  /// A run in which all has to go well.
  void run_well() {
    clusters.faults.arm();
    const std::string begun = keeper.begun();
    CAPTURE(begun);
    const auto report = try_run();
    CAPTURE(last_error);
    const bool ok = report && report->guests.size() == 1 && report->guests.front().outcome == Outcome::ok;
    CHECK(ok);
    if (!ok) return;
    // What was begun is completed and a point like any other.
    const auto& resumed = report->guests.front().resumed;
    CHECK(resumed.has_value() == !begun.empty());
    if (resumed) {
      CHECK(resumed->complete);
      CHECK(resumed->recovery_point == begun);
      for (const ResumedDisk& disk : resumed->disks) offsets.insert(disk.from_bytes);
      if (clusters.options.keep_remote == "1d") CHECK(keeper.points().contains(begun));
    }
    keeper.check_replica();
    keeper.check_in_step();
    // What was asked for once is done.
    clusters.options.adopt = false;
    clusters.options.discard_changes = false;
    clusters.options.reseed = false;
  }

  /// A run that goes wrong at this call.
  void run_cut(const std::string& call, Fault fault = Fault::fails) {
    clusters.faults.arm(call, fault);
    (void)try_run();
    REQUIRE(clusters.faults.happened());
  }

  TwoClusters clusters;
  PointKeeper keeper;
  std::string last_error;
  std::set<std::uint64_t> offsets;  // where transfers went on
};

using Prepare = std::function<void(Stage&)>;

void check_one(const Prepare& prepare, bool restricted, const std::string& call, Fault fault,
               const Prepare& check) {
  Stage stage(restricted);
  prepare(stage);
  const std::string config = stage.clusters.source.config(100).value();
  const std::set<std::string> bases = stage.keeper.bases();
  const bool had_points = !stage.keeper.points().empty();

  stage.clusters.faults.arm(call, fault);
  const auto report = stage.try_run();
  REQUIRE(stage.clusters.faults.happened());
  stage.keeper.check_replica();
  if (had_points && !bases.empty()) CHECK_FALSE(stage.keeper.bases().empty());
  CHECK(stage.clusters.is_let_go());

  stage.keeper.check_source(config);

  for (int run = 0; run < 2; ++run) {
    stage.clusters.write_at_random();
    stage.run_well();
    stage.keeper.check_source(config);
  }
  check(stage);
}

constexpr std::initializer_list<Fault> of_ours = {Fault::fails, Fault::answer_lost, Fault::cancels, Fault::dies,
                                                  Fault::dies_after};
constexpr std::initializer_list<Fault> of_others = {Fault::foreign, Fault::foreign_after};

/// Goes through all calls of the run that comes after `prepare`; `check` looks at what there is in the end.
void check_through(bool restricted, const Prepare& prepare, const Prepare& check,
                   std::initializer_list<Fault> faults = of_ours) {
  CAPTURE(restricted);
  std::vector<std::string> calls;
  {
    Stage stage(restricted);
    prepare(stage);
    stage.clusters.faults.arm();
    const auto report = stage.try_run();
    CAPTURE(stage.last_error);
    REQUIRE(report);
    REQUIRE(report->guests.front().outcome == Outcome::ok);
    calls = stage.clusters.faults.calls();
  }
  REQUIRE(calls.size() > 20);
  for (const std::string& call : calls) {
    for (const Fault fault : faults) {
      CAPTURE(call);
      INFO(to_string(fault));
      check_one(prepare, restricted, call, fault, check);
    }
  }
}

/// Through an agent that may do everything, and through one that is restricted.
void check_all(const Prepare& prepare) {
  for (const bool restricted : {false, true}) check_through(restricted, prepare, [](Stage&) {});
}

/// What a restricted agent does not let its client do.
void check_unrestricted(
    const Prepare& prepare, const Prepare& check = [](Stage&) {}) {
  check_through(false, prepare, check);
}

void one_guest(Stage& stage) {
  stage.clusters.add_guest(100);
}

void one_copy(Stage& stage) {
  one_guest(stage);
  stage.run_well();
  stage.clusters.write_at_random();
}

/// Points that the next run removes on both sides.
void old_points(Stage& stage) {
  stage.clusters.options.keep_local = "15m";
  stage.clusters.options.keep_remote = "25m";
  one_copy(stage);
  for (int i = 0; i < 3; ++i) {
    stage.run_well();
    stage.clusters.write_at_random();
  }
}

/// A guest that has to be paused.
void refused_freeze(Stage& stage) {
  one_copy(stage);
  stage.clusters.source.agents[100] = MemoryHypervisor::Answer::refuses;
}

/// Runs that are told by object maps where to look; so was the last of these.
void fast_copies(Stage& stage) {
  stage.clusters.options.fast_diff = true;
  one_copy(stage);
  stage.run_well();
  stage.clusters.write_at_random();
}

/// The maps are believed again, whatever went wrong.
void check_fast(Stage& stage) {
  stage.clusters.write_at_random();
  stage.clusters.faults.arm();
  const auto report = stage.try_run();
  CAPTURE(stage.last_error);
  REQUIRE(report);
  REQUIRE(report->guests.front().outcome == Outcome::ok);
  for (const DiskReport& disk : report->guests.front().disks) {
    CAPTURE(disk.fast_diff_refused);
    CHECK(disk.fast_diff);
  }
  stage.keeper.check_replica();
}

/// A replica as the shell tool leaves it.
void shell_tool_replica(Stage& stage) {
  one_guest(stage);
  TwoClusters& clusters = stage.clusters;
  VmConfig config = parse_vm_config(clusters.source.config(100).value());
  for (const char* key : {"scsi0", "scsi1"}) {
    const ImageSpec source = clusters.image_of(100, key);
    const ImageSpec replica = clusters.replica_of(source, 99100);
    clusters.replica_images.create(replica, clusters.source_images.find(source)->layout);
    clusters.replica_images.write(replica, 0, clusters.source_images.content(source));
    for (MemoryImageStore* store : {&clusters.source_images, &clusters.replica_images}) {
      store->create_snapshot(store == &clusters.source_images ? source : replica, "mirror-20261122030000");
    }
    config.set(key, "copy:" + replica.name);
  }
  config.set("onboot", "0");
  clusters.destination.put_guest(99100, "w1", config.to_bytes(), Power::stopped);
  stage.keeper.keep_as_it_was();
  clusters.options.adopt = true;
  clusters.write_at_random();
}

/// A replica whose base somebody removed from the source.
void lost_base(Stage& stage) {
  one_copy(stage);
  for (const char* key : {"scsi0", "scsi1"}) {
    const ImageSpec image = stage.clusters.image_of(100, key);
    const ImageState state = stage.clusters.source_images.find(image).value();
    for (const Snapshot& snapshot : state.snapshots) stage.clusters.source_images.remove_snapshot(image, snapshot);
  }
  stage.clusters.options.reseed = true;
}

/// One new copy of each disk is all there is, and the old ones are in the trash.
void check_reseeded(Stage& stage) {
  const std::vector<ImageSpec> images = stage.clusters.replica_images.images();
  CHECK(images.size() == 2);
  const auto trashed = stage.clusters.replica_images.trashed();
  const std::string config = stage.clusters.destination.config(99100).value();
  for (const ImageSpec& image : images) {
    CAPTURE(image.name);
    const std::string old = image.name.substr(0, image.name.size() - 3);
    CHECK(image.name.substr(image.name.size() - 3, 2) == "-r");
    CHECK(config.find("copy:" + image.name) != std::string::npos);
    REQUIRE(trashed.contains({"backup", "", old}));
    CHECK(trashed.at({"backup", "", old}) == std::chrono::days(7));
    CHECK_FALSE(image_record(*stage.clusters.replica_images.find(image)).replica->replaces);
  }
}

}  // namespace

TEST_CASE("a first copy survives a fault at every call") {
  check_all(one_guest);
}

TEST_CASE("an incremental run survives a fault at every call") {
  check_all(one_copy);
}

TEST_CASE("a run that removes old points survives a fault at every call") {
  check_all(old_points);
}

TEST_CASE("runs survive what is no exception of ours at every call") {
  for (const Prepare& prepare : {Prepare(one_guest), Prepare(old_points), Prepare(refused_freeze)}) {
    check_through(false, prepare, [](Stage&) {}, of_others);
  }
  check_through(false, lost_base, check_reseeded, of_others);
}

TEST_CASE("what is undone is undone to its end, whatever is thrown by a part of it") {
  Stage stage;
  one_copy(stage);
  TwoClusters& clusters = stage.clusters;
  const std::string config = clusters.source.config(100).value();
  const auto snapshots = [&clusters](const char* key) {
    return clusters.source_images.find(clusters.image_of(100, key))->snapshots;
  };
  const std::vector<Snapshot> first = snapshots("scsi0");
  const std::vector<Snapshot> second = snapshots("scsi1");
  std::string thrown_at;
  std::string failed = "source create_snapshot slow/vm-100-disk-1 #1";
  Fault fault = Fault::fails;
  SUBCASE("the guest goes on, and why it was held for longer is not known") {
    thrown_at = "source thaw 100";
  }
  SUBCASE("its lock goes, and whether it was there to the end is not known") {
    thrown_at = "source release_config 100";
  }
  SUBCASE("a snapshot cannot be taken back, the other one is") {
    thrown_at = "source remove_snapshot slow/vm-100-disk-1";
    failed = "source thaw 100 #1";
  }
  SUBCASE("a snapshot cannot be made, the other one is taken back") {
    fault = Fault::foreign;
  }
  clusters.faults.at = [&thrown_at](const std::string& call) {
    if (call == thrown_at) throw 42;
  };
  clusters.faults.arm(failed, fault);
  const GuestReport guest = stage.try_run().value().guests.at(0);
  CHECK(clusters.faults.happened());
  CHECK(guest.outcome == Outcome::failed);
  const bool is_told = std::any_of(guest.warnings.begin(), guest.warnings.end(), [](const std::string& warning) {
    return warning.find("unexpectedly") != std::string::npos;
  });
  // The destructor that unlocks has no report to write to.
  CHECK((is_told || fault == Fault::foreign || thrown_at.find("release_config") != std::string::npos));
  CHECK(clusters.is_let_go());
  stage.keeper.check_source(config);
  const bool is_kept = thrown_at.find("remove_snapshot") != std::string::npos;
  CHECK(snapshots("scsi0") == first);
  CHECK((snapshots("scsi1") == second) != is_kept);
  clusters.faults.at = nullptr;
  stage.run_well();
}

TEST_CASE("what is thrown while it is looked whether a conflict has passed is that guest's") {
  Stage stage;
  one_copy(stage);
  stage.clusters.add_guest(101);
  stage.clusters.options.vmid = "all";
  stage.clusters.destination.inventory.guests.at(99100).power = Power::running;
  bool started = false;
  stage.clusters.events.at = [&started](const Event& event) {
    started = started || (event.kind == EventKind::guest_started && event.vmid == 100);
  };
  stage.clusters.faults.at = [&started](const std::string& call) {
    if (started && call == "source find fast/vm-100-disk-0") throw 42;
  };
  const auto report = stage.try_run();
  REQUIRE(report);
  CHECK(report->guests.at(0).outcome == Outcome::conflict);
  CHECK(report->guests.at(1).outcome == Outcome::ok);
}

TEST_CASE("whatever is thrown at any call that is made for a guest, the other one is mirrored") {
  const auto prepare = [](Stage& stage) {
    old_points(stage);
    stage.clusters.add_guest(101);
    stage.clusters.options.vmid = "all";
    stage.clusters.faults.arm();
  };
  std::set<std::string> of_guests;
  {
    Stage stage;
    prepare(stage);
    std::set<std::string> surveyed;
    stage.clusters.events.at = [&](const Event& event) {
      if (event.kind != EventKind::guest_started || !surveyed.empty()) return;
      const auto calls = stage.clusters.faults.calls();
      surveyed.insert(calls.begin(), calls.end());
    };
    (void)stage.clusters.run();
    for (const std::string& call : stage.clusters.faults.calls()) {
      if (!surveyed.contains(call)) of_guests.insert(call);
    }
  }
  REQUIRE(of_guests.size() > 60);
  for (const std::string& call : of_guests) {
    for (const Fault fault : of_others) {
      CAPTURE(call);
      INFO(to_string(fault));
      Stage stage;
      prepare(stage);
      stage.clusters.faults.arm(call, fault);
      const auto report = stage.try_run();
      REQUIRE(stage.clusters.faults.happened());
      REQUIRE_MESSAGE(report, stage.last_error);
      REQUIRE(report->guests.size() == 2);
      int well = 0;
      for (const GuestReport& guest : report->guests) {
        if (guest.outcome == Outcome::ok) {
          ++well;
        } else {
          CHECK_MESSAGE(guest.error.find("unexpectedly") != std::string::npos, guest.error);
        }
      }
      CHECK(well > 0);
      CHECK(stage.clusters.is_let_go());
    }
  }
}

TEST_CASE("a run with --fast-diff survives a fault at every call") {
  check_unrestricted(fast_copies, check_fast);
}

TEST_CASE("a run with --fast-diff after a transfer that was cut in its middle survives a fault at every call") {
  std::set<std::uint64_t> offsets;
  check_unrestricted(
      [&offsets](Stage& stage) {
        fast_copies(stage);
        const std::vector<std::byte> bytes(12288, std::byte{7});
        for (const char* key : {"scsi0", "scsi1"}) {
          stage.clusters.source_images.write(stage.clusters.image_of(100, key), 4096, bytes);
        }
        stage.run_cut("destination write_diff backup/vm-99100-disk-1-hdd data #3", Fault::dies);
        const auto replica = stage.clusters.replica_images.find({"backup", "", "vm-99100-disk-1-hdd"});
        offsets.insert(parse_progress(replica->metadata.at(std::string(progress_key))).value().offset);
        stage.clusters.write_at_random();
      },
      check_fast);
  CHECK(*offsets.begin() > 0);
}

TEST_CASE("a run after a cut transfer survives a fault at every call") {
  check_all([](Stage& stage) {
    one_copy(stage);
    stage.run_cut("destination write_diff backup/vm-99100-disk-1-hdd finish #1");
    stage.clusters.write_at_random();
  });
}

TEST_CASE("a run after a transfer that was cut in its middle survives a fault at every call") {
  std::set<std::uint64_t> offsets;
  check_all([&offsets](Stage& stage) {
    one_copy(stage);
    const std::vector<std::byte> bytes(12288, std::byte{7});
    for (const char* key : {"scsi0", "scsi1"}) {
      stage.clusters.source_images.write(stage.clusters.image_of(100, key), 4096, bytes);
    }
    stage.clusters.options.parallel = "1";
    stage.run_cut("destination write_diff backup/vm-99100-disk-1-hdd data #3", Fault::dies);
    const auto replica = stage.clusters.replica_images.find({"backup", "", "vm-99100-disk-1-hdd"});
    offsets.insert(parse_progress(replica->metadata.at(std::string(progress_key))).value().offset);
    stage.clusters.write_at_random();
  });
  CHECK(offsets == std::set<std::uint64_t>{12288});
}

TEST_CASE("a run after a first copy that was cut in its middle survives a fault at every call") {
  check_all([](Stage& stage) {
    one_guest(stage);
    stage.run_cut("destination write_diff backup/vm-99100-disk-0-ssd data #2", Fault::dies);
    REQUIRE_FALSE(stage.keeper.begun().empty());
    stage.clusters.write_at_random();
  });
}

TEST_CASE("a run after a cut transfer whose snapshot is gone survives a fault at every call") {
  check_all([](Stage& stage) {
    one_copy(stage);
    stage.run_cut("destination write_diff backup/vm-99100-disk-1-hdd finish #1", Fault::dies);
    const std::string begun = stage.keeper.begun();
    const ImageSpec image = stage.clusters.image_of(100, "scsi0");
    const ImageState state = stage.clusters.source_images.find(image).value();
    for (const Snapshot& snapshot : state.snapshots) {
      if (snapshot.name == begun) stage.clusters.source_images.remove_snapshot(image, snapshot);
    }
    stage.clusters.write_at_random();
  });
}

TEST_CASE("a run after a cut commit survives a fault at every call") {
  check_all([](Stage& stage) {
    one_copy(stage);
    stage.run_cut("destination create_snapshot backup/vm-99100-disk-1-hdd #1", Fault::dies);
    stage.clusters.write_at_random();
  });
}

TEST_CASE("a run after a commit whose records are not all written survives a fault at every call") {
  check_all([](Stage& stage) {
    one_copy(stage);
    stage.run_cut("destination set_metadata backup/vm-99100-disk-1-hdd #3", Fault::dies);
    stage.clusters.write_at_random();
  });
}

TEST_CASE("a run after a cut first copy survives a fault at every call") {
  check_all([](Stage& stage) {
    one_guest(stage);
    stage.run_cut("destination create_snapshot backup/vm-99100-disk-1-hdd #1", Fault::dies);
  });
}

TEST_CASE("a run after a cut first copy of the only disk survives a fault at every call") {
  check_all([](Stage& stage) {
    stage.clusters.add_guest(100, 1);
    stage.run_cut("destination write_diff backup/vm-99100-disk-0-ssd finish #1", Fault::dies);
  });
}

TEST_CASE("a run after one that was cut right after it created an image survives a fault at every call") {
  check_all([](Stage& stage) {
    stage.clusters.add_guest(100, 1);
    stage.run_cut("destination create backup/vm-99100-disk-0-ssd #1", Fault::dies_after);
  });
}

TEST_CASE("a run with a new disk survives a fault at every call") {
  check_all([](Stage& stage) {
    one_copy(stage);
    stage.clusters.add_disk(100, "scsi2", "hdd", "vm-100-disk-2", 20480);
  });
}

TEST_CASE("a run after the first disk was detached survives a fault at every call") {
  check_all([](Stage& stage) {
    stage.clusters.options.keep_remote = "1d";
    one_copy(stage);
    stage.run_well();
    VmConfig config = parse_vm_config(stage.clusters.source.config(100).value());
    config.remove("scsi0");
    stage.clusters.source.set_config(100, config.to_bytes());
  });
}

TEST_CASE("taking over a replica of the shell tool survives a fault at every call") {
  check_unrestricted(shell_tool_replica, [](Stage& stage) {
    for (const ImageSpec& image : stage.clusters.replica_images.images()) {
      const ImageState state = stage.clusters.replica_images.find(image).value();
      CHECK(state.snapshots.front().name == "mirror-20261122030000");
    }
  });
}

TEST_CASE("a run after a take-over that was cut survives a fault at every call") {
  check_unrestricted([](Stage& stage) {
    shell_tool_replica(stage);
    stage.run_cut("destination write_diff backup/vm-99100-disk-1-hdd finish #1", Fault::dies);
    // It is a replica of ours by now.
    stage.clusters.options.adopt = false;
    stage.clusters.write_at_random();
  });
}

TEST_CASE("a new copy beside a replica survives a fault at every call") {
  check_unrestricted(lost_base, check_reseeded);
}

TEST_CASE("a new copy that goes on after a cut survives a fault at every call") {
  check_unrestricted(
      [](Stage& stage) {
        lost_base(stage);
        stage.run_cut("destination write_diff backup/vm-99100-disk-1-hdd-r2 finish #1", Fault::dies);
        stage.clusters.write_at_random();
      },
      check_reseeded);
}

TEST_CASE("a run after a new copy that left the old images behind survives a fault at every call") {
  check_unrestricted(
      [](Stage& stage) {
        lost_base(stage);
        stage.run_cut("destination trash backup/vm-99100-disk-0-ssd #1", Fault::dies);
        stage.clusters.options.reseed = false;
        stage.clusters.write_at_random();
      },
      check_reseeded);
}

TEST_CASE("dropping what was written to a replica survives a fault at every call") {
  check_all([](Stage& stage) {
    one_copy(stage);
    const ImageSpec replica{"backup", "", "vm-99100-disk-1-hdd"};
    stage.clusters.replica_images.write(replica, 100, std::vector<std::byte>(5000, std::byte{9}));
    stage.keeper.keep_as_it_was();
    stage.clusters.options.discard_changes = true;
  });
}

TEST_CASE("a stopped guest without an agent survives a fault at every call") {
  check_all([](Stage& stage) {
    one_copy(stage);
    VmConfig config = parse_vm_config(stage.clusters.source.config(100).value());
    config.remove("agent");
    stage.clusters.source.put_guest(100, "e2", config.to_bytes(), Power::stopped);
    stage.clusters.options.keep_source_lock = true;
  });
}

TEST_CASE("a running guest that has to be paused survives a fault at every call") {
  check_all(refused_freeze);
}

TEST_CASE("a long row of runs of which most go wrong") {
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    Stage stage;
    TwoClusters& clusters = stage.clusters;
    clusters.random.seed(seed);
    const std::array<const char*, 3> windows = {"0s", "15m", "1h"};
    clusters.options.keep_local = windows.at(seed % 3);
    clusters.options.keep_remote = windows.at(seed / 3 % 3);
    clusters.options.keep_source_lock = seed % 5 == 0;
    if (seed % 4 == 0) clusters.source.agents[100] = MemoryHypervisor::Answer::refuses;
    clusters.add_guest(100, 1 + seed % 3);
    const std::string config = clusters.source.config(100).value();
    std::vector<std::string> calls;
    for (int run = 0; run < 12; ++run) {
      clusters.write_at_random();
      const std::set<std::string> bases = stage.keeper.bases();
      // Calls of the run before are likely ones of this run.
      const std::string call = calls.empty() ? "" : calls[clusters.random() % calls.size()];
      const auto fault = static_cast<Fault>(clusters.random() % 7);
      CAPTURE(run);
      CAPTURE(call);
      INFO(to_string(fault));
      clusters.faults.arm(call, fault);
      (void)stage.try_run();
      if (clusters.faults.calls().size() > 20) calls = clusters.faults.calls();
      stage.keeper.check_replica();
      if (!bases.empty()) CHECK_FALSE(stage.keeper.bases().empty());
      CHECK_FALSE(clusters.source.held(100));
      stage.keeper.check_source(config);
    }
    clusters.write_at_random();
    stage.run_well();
  }
}
