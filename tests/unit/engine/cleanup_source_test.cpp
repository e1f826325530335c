// What a migration left on the cluster the guest came from: what was moved goes when it is asked for and nobody
// needs it, and what was not moved stays.
#include "engine/cleanup_source.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "migrate_stage.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

using Names = std::vector<std::string>;

const Names disks{"fast/vm-100-disk-0", "slow/vm-100-disk-1"};

struct CleanupStage : Stage {
  void move() { REQUIRE(migrate().outcome == Outcome::ok); }

  CleanupReport clean_up(bool dry_run = false, const Names& images = {}, const std::function<bool()>& answer = {}) {
    OneStore stores(source_store);
    return cleanup_source(100, images, dry_run, [&](const CleanupReport&) { return !answer || answer(); },
                          {source_cluster, source_power, stores, clusters.clock, clusters.events}, clusters.leases,
                          clusters.faults.stop());
  }

  /// From the other cluster, while whatever is at work here stands still.
  GuestReport migrate_back() {
    const MirrorOptions options = clusters.options;
    Faults others;
    Faults* const calls = std::exchange(clusters.calls, &others);
    clusters.back = true;
    clusters.options.job_name = "home";
    clusters.options.prefix_id.clear();
    clusters.options.vmid = "99100:100";
    clusters.options.destination = "e1";
    clusters.options.pool = "ssd";
    for (auto& [name, node] : clusters.source.inventory.nodes) node.bridges = {"vmbr0"};
    clusters.clock.time += std::chrono::minutes(10);
    const MirrorReport report = clusters.migrate();
    clusters.back = false;
    clusters.options = options;
    clusters.calls = calls;
    return report.guests.at(0);
  }

  void refused(const std::string& part, const std::function<bool()>& answer = {}) {
    std::string dump = clusters.dump();
    const CleanupReport report = clean_up(false, {}, [&] {
      const bool yes = !answer || answer();
      dump = clusters.dump();
      return yes;
    });
    CHECK(report.outcome == Outcome::conflict);
    CHECK_MESSAGE(contains(report.error, part), report.error);
    CHECK(clusters.dump() == dump);
  }

  void set(const std::string& key, const std::string& value) {
    VmConfig changed = parse_vm_config(config());
    changed.set(key, value);
    clusters.source.set_config(100, changed.to_bytes());
  }
  void create(const std::string& pool, const std::string& name) {
    ImageLayout layout;
    layout.size_bytes = 8192;
    clusters.source_images.create({pool, "", name}, layout);
  }
  [[nodiscard]] Names images() const {
    Names names;
    for (const ImageSpec& image : clusters.source_images.images()) names.push_back(to_string(image));
    std::sort(names.begin(), names.end());
    return names;
  }

  FaultyStore source_store{"source", clusters.source_images, clusters.faults};
  FaultyHypervisor source_cluster{"source", clusters.source, clusters.faults};
  FaultyPower source_power{"source", clusters.source, clusters.faults};
};

}  // namespace

TEST_CASE_FIXTURE(CleanupStage, "what is left on the source goes when it is asked for, and only then") {
  refused("tell of no migration");
  clusters.faults.arm("source shut_down 100 #1", Fault::dies_after);
  (void)try_migrate();
  clusters.faults.arm();
  refused("is not through");
  move();

  const std::string dump = clusters.dump();
  const CleanupReport planned = clean_up(true);
  CHECK(planned.outcome == Outcome::planned);
  CHECK(planned.target_vmid == 99100);
  CHECK(planned.images == disks);
  CHECK(planned.kept.empty());
  CHECK(clean_up(false, {}, [] { return false; }).outcome == Outcome::failed);
  CHECK(clusters.dump() == dump);

  const std::string fenced = config();
  clusters.source.set_config(100, before);
  refused("fence");
  clusters.source.set_config(100, fenced);
  source_guest().power = Power::running;
  refused("runs");
  source_guest().power = Power::stopped;
  clusters.source_images.set_watchers({"slow", "", "vm-100-disk-1"}, {"10.0.0.1"});
  refused("is open");
  clusters.source_images.set_watchers({"slow", "", "vm-100-disk-1"}, {});
  CHECK(clean_up().outcome == Outcome::ok);
  CHECK_FALSE(clusters.source.config(100));
  CHECK(images().empty());
  CHECK(clusters.leases.held() == 0);
}

TEST_CASE_FIXTURE(CleanupStage, "what was not migrated is named, and stays") {
  move();
  create("slow", "vm-100-disk-7");
  create("slow", "vm-100-disk-8");
  create("fast", "vm-100-disk-9");
  create("fast", "vm-100-state-old");
  set("unused0", "hdd:vm-100-disk-7");
  set("scsi5", "hdd:vm-100-disk-8,backup=0");
  clusters.source.set_config(100, config() + "\n[old]\nmemory: 512\nvmstate: ssd:vm-100-state-old\n");
  const Names kept{"slow/vm-100-disk-7", "slow/vm-100-disk-8", "fast/vm-100-state-old"};
  const CleanupReport planned = clean_up(true);
  CHECK(planned.images == disks);
  CHECK(std::is_permutation(planned.kept.begin(), planned.kept.end(), kept.begin(), kept.end()));
  SUBCASE("nothing more is asked for") {
    const CleanupReport report = clean_up();
    CHECK_MESSAGE(report.outcome == Outcome::ok, report.error);
    CHECK(report.images == disks);
    CHECK(images() ==
          Names{"fast/vm-100-disk-9", "fast/vm-100-state-old", "slow/vm-100-disk-7", "slow/vm-100-disk-8"});
  }
  SUBCASE("two of them are asked for, one of which nothing names") {
    const CleanupReport report = clean_up(false, {"slow/vm-100-disk-7", "fast/vm-100-disk-9"});
    CHECK_MESSAGE(report.outcome == Outcome::ok, report.error);
    CHECK(report.images.size() == 4);
    CHECK(images() == Names{"fast/vm-100-state-old", "slow/vm-100-disk-8"});
  }
  SUBCASE("one is asked for that is not there, or not the guest's") {
    create("fast", "vm-101-disk-0");
    const std::string dump = clusters.dump();
    for (const char* name : {"slow/vm-100-disk-77", "fast/vm-101-disk-0", "vm-100-disk-7", "slow/vm-100-disk-7x"}) {
      CAPTURE(name);
      const CleanupReport report = clean_up(false, {name});
      CHECK(report.outcome == Outcome::failed);
      CHECK(report.error_code == ErrorCode::usage);
      CHECK_MESSAGE(contains(report.error, name), report.error);
      CHECK(clusters.dump() == dump);
    }
  }
  SUBCASE("and it is said where it goes wrong") {
    VmConfig protect = parse_vm_config(config());
    protect.set("protection", "1");
    clusters.source.set_config(100, protect.to_bytes());
    const CleanupReport report = clean_up();
    CHECK(report.outcome == Outcome::failed);
    for (const std::string& name : kept) CHECK_MESSAGE(contains(report.error, name), report.error);
    CHECK(images().size() == 6);
  }
}

TEST_CASE_FIXTURE(CleanupStage, "a disk whose record was lost is none that is known to have moved: it stays") {
  move();
  clusters.source_images.remove_metadata({"slow", "", "vm-100-disk-1"}, std::string(migration_key));
  const CleanupReport report = clean_up();
  CHECK_MESSAGE(report.outcome == Outcome::ok, report.error);
  CHECK(report.kept == Names{"slow/vm-100-disk-1"});
  CHECK(images() == Names{"slow/vm-100-disk-1"});
}

TEST_CASE_FIXTURE(CleanupStage, "a disk that another guest has been given stays") {
  move();
  clusters.source.put_guest(101, "e1", "scsi0: hdd:vm-100-disk-1\n", Power::stopped);
  refused("scsi0 of VM 101");
}

TEST_CASE_FIXTURE(CleanupStage, "what happens while somebody thinks about the question is seen") {
  move();
  SUBCASE("it was started by hand") {
    refused("runs", [&] { return (source_guest().power = Power::running, true); });
  }
  SUBCASE("it is in use again") {
    refused("fence", [&] { return (clusters.source.set_config(100, before), true); });
  }
  SUBCASE("a disk was put on it") {
    create("slow", "vm-100-disk-7");
    refused("was changed since", [&] { return (set("unused0", "hdd:vm-100-disk-7"), true); });
  }
  SUBCASE("it came back, and was moved again: that is another migration") {
    refused("was changed since", [&] {
      clusters.source_images.set_watchers({"slow", "", "vm-100-disk-1"}, {});
      for (const char* pool : {"fast", "slow"}) {
        const ImageSpec image{pool, "", pool == std::string("fast") ? "vm-100-disk-0" : "vm-100-disk-1"};
        MigrationRecord other = migration_record(*clusters.source_images.find(image)).value();
        other.id = "another";
        clusters.source_images.set_metadata(image, std::string(migration_key), render_migration(other));
      }
      return true;
    });
  }
  SUBCASE("another run is at it") {
    const std::string id = clusters.source_images.find({"slow", "", "vm-100-disk-1"})->id;
    refused("another run is at it", [&] { return (clusters.leases.occupy(id, "a mirror back"), true); });
  }
}

TEST_CASE("whatever is thrown, and wherever it is interrupted, it can be run again, and what stays is named") {
  const ImageSpec kept{"slow", "", "vm-100-disk-7"};
  const auto prepare = [&kept](CleanupStage& stage) {
    stage.move();
    stage.create(kept.pool, kept.name);
    stage.set("unused0", "hdd:" + kept.name);
    stage.clusters.faults.arm();
  };
  std::vector<std::string> calls;
  {
    CleanupStage stage;
    prepare(stage);
    REQUIRE(stage.clean_up().outcome == Outcome::ok);
    calls = stage.clusters.faults.calls();
  }
  REQUIRE(calls.size() > 8);
  for (const std::string& call : calls) {
    for (const Fault fault : {Fault::cancels, Fault::foreign, Fault::foreign_after}) {
      CAPTURE(call);
      INFO(to_string(fault));
      CleanupStage stage;
      prepare(stage);
      std::string told;
      stage.clusters.events.at = [&told](const Event& event) { told += event.text + "\n"; };
      stage.clusters.faults.arm(call, fault);
      bool thrown = false;
      try {
        const CleanupReport report = stage.clean_up();
        told += report.error;
        CHECK_MESSAGE((report.outcome == Outcome::ok || contains(report.error, "unexpectedly")), report.error);
      } catch (...) {
        thrown = true;
      }
      REQUIRE(stage.clusters.faults.happened());
      // Before it was looked at there is nothing to report on.
      if (thrown && fault != Fault::cancels) CHECK(call == calls.front());
      CHECK(stage.clusters.is_let_go());
      CHECK(stage.clusters.source_images.find(kept));
      stage.clusters.faults.arm();
      if (!stage.clusters.source.config(100)) continue;
      // Its configuration does not name it any more.
      if (!contains(stage.config(), kept.name)) CHECK_MESSAGE(contains(told, kept.name), told);
      const CleanupReport again = stage.clean_up();
      CHECK_MESSAGE(again.outcome == Outcome::ok, again.error);
      CHECK(stage.images() == Names{to_string(kept)});
    }
  }
}

TEST_CASE_FIXTURE(CleanupStage, "a guest that is started right before it would be destroyed is not") {
  move();
  clusters.faults.at = [&](const std::string& call) {
    if (call == "source power 100") source_guest().power = Power::running;
  };
  const CleanupReport report = clean_up();
  CHECK(report.outcome == Outcome::conflict);
  CHECK_MESSAGE(contains(report.error, "started it meanwhile"), report.error);
  CHECK(images() == disks);
}

TEST_CASE("a guest that comes back, and is off, right before it would be destroyed stays") {
  for (const char* call : {"source power 100", "source write_config 100"}) {
    CAPTURE(call);
    CleanupStage stage;
    stage.clusters.migration.no_start = true;
    stage.move();
    bool happened = false;
    stage.clusters.faults.at = [&](const std::string& now) {
      if (!now.ends_with(call) || std::exchange(happened, true)) return;
      const GuestReport back = stage.migrate_back();
      CHECK_MESSAGE(back.outcome == Outcome::ok, back.error);
    };
    const CleanupReport report = stage.clean_up();
    REQUIRE(happened);
    CHECK(report.outcome != Outcome::ok);
    CHECK(stage.images() == disks);
    CHECK_FALSE(parse_vm_config(stage.config()).get("lock"));
  }
}

TEST_CASE("what a migration left behind is not recovered, for the guest is on the other side") {
  CleanupStage stage;
  stage.clusters.migration.no_start = true;
  stage.move();
  REQUIRE(stage.migrate_back().outcome == Outcome::ok);
  const std::string dump = stage.clusters.dump();
  stage.clusters.faults.arm();
  const RecoverReport report = stage.clusters.recover(99100);
  CHECK(report.outcome == Outcome::conflict);
  CHECK_MESSAGE(contains(report.error, "was migrated to VM 100"), report.error);
  CHECK_MESSAGE(contains(report.error, "'qm unlock 99100'"), report.error);
  CHECK(stage.clusters.dump() == dump);
}
