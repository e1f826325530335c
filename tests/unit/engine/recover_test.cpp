// A recovery on the destination alone, whatever state the replica is in and wherever it is cut.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "plan/points.hpp"
#include "point_keeper.hpp"
#include "support/records.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

const ImageSpec first{"backup", "", "vm-99100-disk-0-ssd"};
const ImageSpec second{"backup", "", "vm-99100-disk-1-hdd"};
using Content = std::vector<std::vector<std::byte>>;

/// A replica with three points, of which the test remembers what they hold.
struct Stage {
  Stage() {
    clusters.options.keep_local = "1d";
    clusters.options.keep_remote = "1d";
    clusters.marks.bytes = 1;
    clusters.add_guest(100);
    clusters.source.inventory.guests.at(100).firewall = "[RULES]\n";
    for (int i = 0; i < 3; ++i) points.push_back(run_well());
  }

  std::string run_well() {
    clusters.write_at_random();
    clusters.faults.arm();
    const GuestReport guest = clusters.run().guests.at(0);
    REQUIRE(guest.outcome == Outcome::ok);
    clusters.clock.time += std::chrono::hours(1);
    held[guest.recovery_point] = at(guest.recovery_point);
    return guest.recovery_point;
  }

  /// A run that is killed when the first disk is sent and the second one is not.
  void cut() {
    clusters.write_at_random();
    const std::byte byte{0x5a};
    for (const char* key : {"scsi0", "scsi1"})
      clusters.source_images.write(clusters.image_of(100, key), 4096, {&byte, 1});
    clusters.faults.arm("destination write_diff " + to_string(second) + " finish #1", Fault::dies);
    (void)clusters.run();
    REQUIRE(clusters.faults.happened());
    clusters.faults.arm();
    REQUIRE(at("") != held.at(points.back()));
  }

  /// What both disks hold at a point, or now.
  Content at(const std::string& point) {
    return {clusters.replica_images.content(first, point), clusters.replica_images.content(second, point)};
  }

  ReplicaRecord record(const ImageSpec& image) {
    return image_record(*clusters.replica_images.find(image)).replica.value();
  }
  void save(const ImageSpec& image, const ReplicaRecord& record) {
    put_record(clusters.replica_images, image, {record, std::nullopt});
  }

  void check_recovered(const std::string& point) {
    CHECK(at("") == held.at(point));
    const VmConfig config = parse_vm_config(clusters.destination.config(99100).value());
    CHECK_FALSE(config.get("lock"));
    CHECK(config.get("onboot") == "1");
    CHECK(config.get("scsi1").value().starts_with("copy:vm-99100-disk-1-hdd"));
    CHECK(clusters.destination.inventory.guests.at(99100).firewall == "[RULES]\n");
    for (const ImageSpec& image : {first, second}) {
      CHECK(record(image).promoted.value().point == point);
      CHECK(record(image).state == ReplicaState::complete);
      CHECK(record(image).transfer.empty());
    }
    const ReplicaReport known = clusters.points(99100);
    CHECK_FALSE(known.unfinished);
    CHECK(known.promoted.value().done);
  }

  /// What can be started holds one moment.
  void check_startable() {
    const auto config = clusters.destination.config(99100);
    if (without_lock(*config) != *config) return;
    const Content now = at("");
    CHECK(std::any_of(held.begin(), held.end(), [&](const auto& one) { return one.second == now; }));
  }

  TwoClusters clusters;
  std::vector<std::string> points;
  std::map<std::string, Content> held;
};

/// Goes through all calls of a recovery, in each way they can go wrong; `between` happens before it is tried again.
void check_all(bool torn, const std::string& point, const std::function<void(Stage&)>& between) {
  const auto prepare = [&](Stage& stage) {
    if (torn) stage.cut();
  };
  std::vector<std::string> calls;
  {
    Stage stage;
    prepare(stage);
    stage.clusters.faults.arm();
    REQUIRE(stage.clusters.recover(99100, {.point = point, .start = true}).outcome == Outcome::ok);
    calls = stage.clusters.faults.calls();
  }
  REQUIRE(calls.size() > 15);
  for (const std::string& call : calls) {
    for (const Fault fault : {Fault::fails, Fault::answer_lost, Fault::cancels, Fault::dies, Fault::dies_after,
                              Fault::foreign, Fault::foreign_after}) {
      CAPTURE(call);
      INFO(to_string(fault));
      Stage stage;
      prepare(stage);
      stage.clusters.faults.arm(call, fault);
      try {
        (void)stage.clusters.recover(99100, {.point = point, .start = true});
      } catch (const Error&) {
      } catch (const Cancelled&) {
      } catch (...) {
        CHECK(fault >= Fault::foreign);
      }
      REQUIRE(stage.clusters.faults.happened());
      CHECK(stage.clusters.is_let_go());
      stage.check_startable();
      stage.clusters.faults.arm();
      between(stage);
      stage.check_startable();
      const RecoverReport again = stage.clusters.recover(99100, {.point = point, .start = true});
      CAPTURE(again.error);
      REQUIRE(again.outcome == Outcome::ok);
      CHECK(again.started);
      stage.check_recovered(again.point);
      if (!point.empty()) CHECK(again.point == point);
      CHECK(stage.clusters.destination.inventory.guests.at(99100).power == Power::running);
    }
  }
}

}  // namespace

TEST_CASE(
    "a replica whose transfer was cut comes up at its newest complete point, and its source is refused then") {
  Stage stage;
  stage.cut();
  const ReplicaReport before = stage.clusters.points(99100);
  CHECK(before.unfinished);
  CHECK(before.lock == "migrate");
  REQUIRE(before.points.size() == 4);
  CHECK(before.points[0].name == before.applying);
  CHECK(before.points[0].incomplete == "its transfer is not finished");
  for (std::size_t i = 1; i < 4; ++i) {
    CHECK(before.points[i].complete);
    CHECK(before.points[i].name == stage.points[3 - i]);
    CHECK(before.points[i].disks.size() == 2);
  }
  CHECK(before.source_vmid == 100);
  CHECK_FALSE(before.promoted);

  const RecoverReport report = stage.clusters.recover(99100, {.start = true});
  CHECK(report.outcome == Outcome::ok);
  CHECK(report.point == stage.points.back());
  CHECK(report.started);
  stage.check_recovered(stage.points.back());
  CHECK(stage.clusters.destination.inventory.guests.at(99100).power == Power::running);

  for (const Power power : {Power::running, Power::stopped}) {
    stage.clusters.destination.inventory.guests.at(99100).power = power;
    const std::string there = stage.clusters.destination.dump();
    const GuestReport refused = stage.clusters.run().guests.at(0);
    CHECK(refused.outcome == Outcome::conflict);
    CHECK(refused.error.find("replica promoted") != std::string::npos);
    CHECK(stage.clusters.destination.dump() == there);
  }
  // Which is not to be got round by repairing.
  const VerifyReport verified = stage.clusters.verify({.repair = true});
  CHECK(verified.guests.at(0).outcome != VerifyOutcome::repaired);
  stage.check_recovered(stage.points.back());
}

TEST_CASE("a recovery that is cut anywhere ends well the next time") {
  const auto nothing = [](Stage&) {};
  SUBCASE("of a torn replica") {
    check_all(true, "", nothing);
  }
  SUBCASE("at an older point") {
    const std::string point = Stage().points.at(0);
    check_all(false, point, nothing);
  }
}

TEST_CASE("a source that comes back between a cut recovery and the next one does no harm") {
  check_all(true, "", [](Stage& stage) {
    const auto record = stage.record(first);
    const auto other = stage.record(second);
    const Content before = stage.at("");
    const GuestReport guest = stage.clusters.run().guests.at(0);
    if (record.promoted || other.promoted) {
      CHECK(guest.outcome == Outcome::conflict);
      CHECK(guest.error.find("replica promoted") != std::string::npos);
      CHECK(stage.at("") == before);
    } else {
      REQUIRE(guest.outcome == Outcome::ok);
      for (const RecoveryPoint& point : stage.clusters.points(99100).points) {
        if (point.complete) stage.held[point.name] = stage.at(point.name);
      }
    }
  });
}

TEST_CASE("what was recovered is not rolled back again") {
  Stage stage;
  REQUIRE(stage.clusters.recover(99100).outcome == Outcome::ok);
  const std::byte byte{0x77};
  stage.clusters.replica_images.write(first, 0, {&byte, 1});
  const Content written = stage.at("");
  SUBCASE("by another call") {
    const RecoverReport again = stage.clusters.recover(99100);
    CHECK(again.outcome == Outcome::ok);
    CHECK(again.was_recovered);
    CHECK(again.steps.empty());
  }
  SUBCASE("but started if that is asked for") {
    const RecoverReport again = stage.clusters.recover(99100, {.start = true});
    CHECK(again.outcome == Outcome::ok);
    CHECK(again.steps == std::vector<std::string>{"start VM 99100 on w1"});
    CHECK(again.started);
  }
  SUBCASE("at another point") {
    const RecoverReport again = stage.clusters.recover(99100, {.point = stage.points.at(0)});
    CHECK(again.outcome == Outcome::conflict);
    CHECK(again.error.find("was recovered at") != std::string::npos);
  }
  SUBCASE("under somebody else's lock, be it called as ours") {
    for (const std::string lock : {"backup", "migrate"}) {
      stage.clusters.destination.set_config(
          99100, with_lock(without_lock(*stage.clusters.destination.config(99100)), lock));
      const RecoverReport again = stage.clusters.recover(99100);
      CHECK(again.outcome == Outcome::failed);
      CHECK(again.error_code == ErrorCode::locked);
    }
  }
  CHECK(stage.at("") == written);
}

TEST_CASE("the point that is taken is complete and good") {
  Stage stage;
  ReplicaRecord record = stage.record(second);
  record.points.back().bad = true;
  stage.save(second, record);
  SUBCASE("the newest of these") {
    CHECK(stage.clusters.points(99100).points[0].bad);
    CHECK(stage.clusters.recover(99100).point == stage.points.at(1));
    stage.check_recovered(stage.points.at(1));
  }
  SUBCASE("or the one that was asked for") {
    CHECK(stage.clusters.recover(99100, {.point = stage.points.at(0)}).outcome == Outcome::ok);
    stage.check_recovered(stage.points.at(0));
  }
  SUBCASE("but not a bad one, or one that is not whole, or not there") {
    const std::string dump = stage.clusters.dump();
    CHECK(stage.clusters.recover(99100, {.point = stage.points.at(2)}).outcome == Outcome::conflict);
    const RecoverReport unknown = stage.clusters.recover(99100, {.point = "crossover-default-20200101T000000Z"});
    CHECK(unknown.outcome == Outcome::failed);
    CHECK(unknown.error_code == ErrorCode::not_found);
    CHECK(stage.clusters.dump() == dump);
    const Snapshot gone = *find_snapshot(*stage.clusters.replica_images.find(first), stage.points.at(1),
                                         stage.record(first).points.at(1).replica_id);
    stage.clusters.replica_images.remove_snapshot(first, gone);
    const RecoverReport half = stage.clusters.recover(99100, {.point = stage.points.at(1)});
    CHECK(half.outcome == Outcome::conflict);
    CHECK(half.error.find("vm-99100-disk-0-ssd does not have its snapshot") != std::string::npos);
    CHECK(stage.clusters.recover(99100).point == stage.points.at(0));
    // A snapshot made again by that name is another one.
    CHECK(stage.clusters.points(99100).points[1].complete == false);
    stage.clusters.replica_images.create_snapshot(first, stage.points.at(1));
    CHECK(stage.clusters.points(99100).points[1].complete == false);
  }
}

TEST_CASE("a point that was committed counts, though the run was cut before its records") {
  Stage stage;
  stage.clusters.write_at_random();
  // The last calls of a commit are the records; the configuration comes right before.
  stage.clusters.faults.arm("destination set_metadata " + to_string(first) + " #4", Fault::dies);
  (void)stage.clusters.run();
  REQUIRE(stage.clusters.faults.happened());
  stage.clusters.faults.arm();
  const ReplicaReport known = stage.clusters.points(99100);
  REQUIRE(known.points.size() == 4);
  REQUIRE(known.points[0].complete);
  CHECK_FALSE(known.unfinished);
  stage.held[known.points[0].name] = stage.at(known.points[0].name);
  const RecoverReport report = stage.clusters.recover(99100);
  CHECK(report.outcome == Outcome::ok);
  CHECK(report.point == known.points[0].name);
  stage.check_recovered(report.point);
}

TEST_CASE("a replica that is in use is not touched") {
  Stage stage;
  SUBCASE("running") {
    stage.clusters.destination.inventory.guests.at(99100).power = Power::running;
    const std::string dump = stage.clusters.dump();
    const RecoverReport report = stage.clusters.recover(99100);
    CHECK(report.outcome == Outcome::conflict);
    CHECK(report.error.find("is running on w1") != std::string::npos);
    CHECK(stage.clusters.dump() == dump);
  }
  SUBCASE("locked by somebody else") {
    stage.clusters.destination.set_config(99100, with_lock(*stage.clusters.destination.config(99100), "backup"));
    const std::string dump = stage.clusters.dump();
    const RecoverReport report = stage.clusters.recover(99100);
    CHECK(report.error_code == ErrorCode::locked);
    CHECK(stage.clusters.dump() == dump);
  }
  SUBCASE("open elsewhere, and for good") {
    stage.clusters.replica_images.set_watchers(second, {"192.0.2.9:0/1"});
    const std::string dump = stage.clusters.dump();
    const RecoverReport report = stage.clusters.recover(99100);
    CHECK(report.outcome == Outcome::conflict);
    CHECK(report.error_code == ErrorCode::in_use);
    CHECK(stage.clusters.clock.waits.size() == 90);
    CHECK(stage.clusters.dump() == dump);
  }
  SUBCASE("open elsewhere until its writer is known to be dead") {
    stage.cut();
    stage.clusters.replica_images.set_watchers(first, {"192.0.2.9:0/1"});
    stage.clusters.clock.waits.clear();
    stage.clusters.clock.on_wait = [&] {
      if (stage.clusters.clock.waits.size() == 30) stage.clusters.replica_images.set_watchers(first, {});
    };
    CHECK(stage.clusters.recover(99100).outcome == Outcome::ok);
    CHECK(stage.clusters.clock.waits.size() == 30);
    stage.check_recovered(stage.points.back());
  }
  SUBCASE("no replica at all") {
    stage.clusters.destination.put_guest(500, "w1", "memory: 512\n", Power::stopped);
    CHECK_THROWS_AS((void)stage.clusters.recover(500), Error);
    CHECK_THROWS_AS((void)stage.clusters.recover(501), Error);
  }
}

TEST_CASE("a dry run says what would be done and changes nothing") {
  Stage stage;
  stage.cut();
  const std::string dump = stage.clusters.dump();
  const RecoverReport report = stage.clusters.recover(99100, {.start = true, .dry_run = true});
  CHECK(report.outcome == Outcome::planned);
  CHECK(stage.clusters.dump() == dump);
  const std::string point = stage.points.back();
  CHECK(report.steps ==
        std::vector<std::string>{
            "record on backup/vm-99100-disk-0-ssd, backup/vm-99100-disk-1-hdd that VM 99100 is promoted: "
            "no run mirrors into it any more",
            "lock VM 99100 on w1 (migrate)",
            "check that VM 99100 is stopped and nobody has its images open",
            "roll backup/vm-99100-disk-0-ssd back to " + point,
            "roll backup/vm-99100-disk-1-hdd back to " + point,
            "record that it is at " + point,
            "write the configuration that VM 99100 had at " + point + ", and unlock it",
            "start VM 99100 on w1",
        });
}

TEST_CASE("a run that had begun before the replica was promoted does not spoil it unseen") {
  Stage stage;
  // It writes its record over the mark, as a run does that looked before.
  const ReplicaRecord before = stage.record(first);
  class Meddler final : public EventSink {
   public:
    explicit Meddler(std::function<void(const Event&)> act) : act_(std::move(act)) {}
    void on_event(const Event& event) override { act_(event); }

   private:
    std::function<void(const Event&)> act_;
  };
  Meddler meddler([&](const Event& event) {
    if (event.text.starts_with("roll ")) stage.save(first, before);
  });
  OneStore stores(stage.clusters.replica_images);
  const ReplicaPorts ports{stage.clusters.destination, stage.clusters.destination, stores, stage.clusters.clock,
                           meddler};
  const RecoverReport report = recover(parse_options(99100, RecoverOptions{}), ports, {});
  CHECK(report.outcome == Outcome::failed);
  CHECK(report.error.find("another run wrote its record meanwhile") != std::string::npos);
  const std::string config = *stage.clusters.destination.config(99100);
  CHECK(without_lock(config) != config);
  CHECK(stage.clusters.recover(99100).outcome == Outcome::ok);
  stage.check_recovered(stage.points.back());
}

TEST_CASE("a torn replica that somebody unlocked is locked by the next run, and stays so when that fails") {
  Stage stage;
  stage.cut();
  stage.clusters.destination.set_config(99100, without_lock(*stage.clusters.destination.config(99100)));
  stage.clusters.faults.arm("destination write_diff " + to_string(second) + " #1", Fault::fails);
  CHECK(stage.clusters.run().guests.at(0).outcome == Outcome::failed);
  const std::string config = *stage.clusters.destination.config(99100);
  CHECK(without_lock(config) != config);
}

TEST_CASE("a point that is removed while it is recovered: one of the two gives way, whenever they meet") {
  for (const bool prunes_first : {true, false}) {
    for (std::size_t stop = 0;; ++stop) {
      CAPTURE(prunes_first);
      CAPTURE(stop);
      Stage stage;
      TwoClusters& clusters = stage.clusters;
      const std::string older = stage.points.at(0);
      std::size_t number = 0;
      std::optional<RecoverReport> recovered;
      std::optional<PrunedReplica> pruned;
      const auto recover = [&] { recovered = clusters.recover(99100, {.point = older}); };
      const auto prune = [&] { pruned = clusters.prune("99100", {.keep_remote = "0s"}).replicas.at(0); };
      Faults calls_of_second;
      clusters.faults.arm();
      clusters.faults.at = [&](const std::string&) {
        if (number++ != stop) return;
        clusters.calls = &calls_of_second;
        prunes_first ? recover() : prune();
        clusters.calls = &clusters.faults;
      };
      prunes_first ? prune() : recover();
      clusters.faults.at = nullptr;
      if (number <= stop) break;
      REQUIRE(recovered);
      REQUIRE(pruned);
      CAPTURE(recovered->error);
      CAPTURE(pruned->error);
      const auto points = clusters.points(99100).points;
      const bool is_there = std::any_of(points.begin(), points.end(), [&](const RecoveryPoint& point) {
        return point.name == older && point.complete;
      });
      if (recovered->outcome == Outcome::ok) {
        CHECK(is_there);
        stage.check_recovered(older);
      } else {
        // It was gone when it was looked for, or a look under the hold said so.
        for (const ImageSpec& image : {first, second}) CHECK_FALSE(stage.record(image).promoted);
        CHECK(pruned->outcome == Outcome::ok);
      }
      if (pruned->outcome != Outcome::ok) {
        CHECK(pruned->error.find("no recovery point was removed: another command is at it") != std::string::npos);
        CHECK(pruned->removed.empty());
      }
    }
  }
}
