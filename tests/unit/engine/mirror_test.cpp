// Whole runs between two clusters in memory: what they do, and what they tell of it.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <tuple>

#include "plan/replica_config.hpp"
#include "point_keeper.hpp"
#include "support/golden.hpp"
#include "support/records.hpp"

using namespace crossover;
using namespace crossover::test;
using std::chrono::milliseconds;
using std::chrono::minutes;

namespace {

const std::string first_point = "crossover-default-20261123T120000Z";

const GuestReport& only(const MirrorReport& report) {
  REQUIRE(report.guests.size() == 1);
  return report.guests.front();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string joined(const std::vector<std::string>& lines) {
  return fmt::format("{}\n", fmt::join(lines, "\n"));
}

/// Calls that have to be under way at the same time: each waits for the others, for a minute.
class Meeting {
 public:
  explicit Meeting(int expected) : missing_(expected) {}

  void attend() {
    std::unique_lock lock(mutex_);
    if (--missing_ == 0) came_.notify_all();
    came_.wait_for(lock, minutes(1), [this] { return missing_ <= 0; });
  }
  [[nodiscard]] bool held() const {
    const std::scoped_lock lock(mutex_);
    return missing_ <= 0;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable came_;
  int missing_;
};

}  // namespace

TEST_CASE("a first copy and an incremental run, as they are told") {
  TwoClusters clusters;
  clusters.add_guest(100);
  const MirrorReport first = clusters.run();
  check_golden("events/first-copy.txt", joined(clusters.events.kinds()));
  const GuestReport& guest = only(first);
  CHECK(guest.outcome == Outcome::ok);
  CHECK(guest.vmid == 100);
  CHECK(guest.target_vmid == 99100);
  CHECK(guest.name == "web100");
  CHECK(guest.source_node == "e1");
  CHECK(guest.target_node == "w1");
  CHECK(guest.running);
  CHECK(guest.frozen);
  CHECK(guest.consistency == "frozen");
  CHECK(guest.frozen_for == milliseconds(40));
  CHECK(guest.recovery_point == first_point);
  CHECK_FALSE(guest.error_code);
  CHECK(guest.error.empty());
  CHECK(guest.warnings.empty());
  CHECK(guest.removed.empty());
  REQUIRE(guest.disks.size() == 2);
  // Two written blocks of 4 KiB each; 21 bytes of header, 17 for each record, one for the end.
  const std::uint64_t stream_bytes = 21 + 2 * (17 + 4096) + 1;
  for (const DiskReport& disk : guest.disks) {
    CHECK(disk.full);
    CHECK(disk.base.empty());
    CHECK(disk.transferred);
    CHECK(disk.committed);
    CHECK(disk.stream_bytes == stream_bytes);
  }
  CHECK(guest.disks[0].key == "scsi0");
  CHECK(guest.disks[0].source_image == "fast/vm-100-disk-0");
  CHECK(guest.disks[0].replica_image == "backup/vm-99100-disk-0-ssd");
  CHECK(guest.disks[0].size_bytes == 65536);
  CHECK(guest.disks[1].size_bytes == 25600);
  CHECK(first.totals.full_ok == 2);
  CHECK(first.totals.full_bytes == 2 * stream_bytes);
  CHECK(first.totals.incremental_ok + first.totals.full_failed + first.totals.incremental_failed == 0);
  CHECK(first.totals.freeze_ok == 1);
  CHECK(first.totals.freeze_failed == 0);
  CHECK(first.totals.snapshot_ok == 2);
  CHECK(first.totals.guests_ok == 1);
  CHECK(first.totals.guests_running == 1);
  CHECK(first.totals.guests_stopped == 0);
  CHECK_FALSE(first.dry_run);
  CHECK(first.destination == "w1");

  clusters.clock.time += minutes(10);
  clusters.source_images.write({"fast", "", "vm-100-disk-0"}, 8192, std::vector<std::byte>(100, std::byte{7}));
  const MirrorReport second = clusters.run();
  check_golden("events/incremental.txt", joined(clusters.events.kinds()));
  const GuestReport& again = only(second);
  CHECK(again.outcome == Outcome::ok);
  CHECK(again.disks[0].base == first_point);
  CHECK_FALSE(again.disks[0].full);
  CHECK(again.disks[0].stream_bytes == 21 + 17 + 4096 + 1);
  CHECK(again.disks[1].stream_bytes == 22);
  CHECK(second.totals.incremental_ok == 2);
  CHECK(second.totals.incremental_bytes == 21 + 17 + 4096 + 1 + 22);
  CHECK(second.totals.full_ok == 0);
  CHECK(again.removed == std::vector<std::string>{"destination backup/vm-99100-disk-0-ssd@" + first_point,
                                                  "destination backup/vm-99100-disk-1-hdd@" + first_point,
                                                  "source fast/vm-100-disk-0@" + first_point,
                                                  "source slow/vm-100-disk-1@" + first_point});
  const auto removed = std::find_if(clusters.events.events.begin(), clusters.events.events.end(),
                                    [](const Event& event) { return event.kind == EventKind::snapshot_removed; });
  REQUIRE(removed != clusters.events.events.end());
  CHECK(removed->elapsed == minutes(10));
  CHECK(removed->host == "w1");
}

TEST_CASE("the report as JSON") {
  TwoClusters clusters;
  clusters.add_guest(100);
  clusters.options.job_name = "Nightly";
  MirrorReport report = clusters.run();
  report.duration = milliseconds(1500);
  for (DiskReport& disk : report.guests.front().disks) disk.duration = milliseconds(250);
  check_golden("report/first-copy.json", to_json(report) + "\n");
}

TEST_CASE("the replica starts with what the point holds, and its records say what it is") {
  TwoClusters clusters;
  clusters.add_guest(100);
  PointKeeper keeper(clusters, 100, 99100);
  clusters.source.inventory.guests.at(100).firewall = "[OPTIONS]\nenable: 1\n";
  CHECK(only(clusters.run()).outcome == Outcome::ok);
  keeper.remember();
  keeper.check_replica();
  keeper.check_in_step();
  CHECK(clusters.destination.inventory.guests.at(99100).firewall == "[OPTIONS]\nenable: 1\n");
  CHECK(clusters.destination.config(99100) ==
        "agent: 1\nboot: order=scsi0\nmemory: 512\nname: web100\nonboot: 0\n"
        "vmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3100\n"
        "scsi0: copy:vm-99100-disk-0-ssd,discard=on,iothread=1\n"
        "scsi1: copy:vm-99100-disk-1-hdd,discard=on,iothread=1\n");
  const auto first = clusters.replica_images.find({"backup", "", "vm-99100-disk-0-ssd"});
  const PointConfig point = parse_point(first->metadata.at(std::string(point_key_prefix) + first_point));
  CHECK(point.config == clusters.destination.config(99100));
  CHECK(point.onboot == "1");
  CHECK(point.firewall == "[OPTIONS]\nenable: 1\n");
  CHECK(point.images == std::vector<std::string>{"backup/vm-99100-disk-0-ssd", "backup/vm-99100-disk-1-hdd"});
}

TEST_CASE("a password is in the replica's configuration and nowhere else") {
  TwoClusters clusters;
  clusters.add_guest(100);
  VmConfig config = parse_vm_config(clusters.source.config(100).value());
  config.set("cipassword", "$5$secret");
  // What was last given to cloud-init, what waits and what a snapshot had stand in sections of their own.
  clusters.source.set_config(100, config.to_bytes() +
                                      "\n[special:cloudinit]\ncipassword: $5$secret-last\nciuser: admin\n"
                                      "\n[PENDING]\ncipassword:$5$secret-pending\n"
                                      "\n[before]\ncipassword: $5$secret-old\nmemory: 512\n");
  const MirrorReport report = clusters.run();
  CHECK(contains(clusters.destination.config(99100).value(), "$5$secret"));
  CHECK_FALSE(contains(to_json(report), "secret"));
  for (const Event& event : clusters.events.events) CHECK_FALSE(contains(event.text + event.subject, "secret"));
  for (const ImageSpec& image : clusters.replica_images.images()) {
    const auto state = clusters.replica_images.find(image);
    for (const auto& [key, value] : state->metadata) {
      CHECK_FALSE(contains(value, "secret"));
      if (!key.starts_with(point_key_prefix)) continue;
      const std::string held = parse_point(value).config;
      CHECK_FALSE(contains(held, "secret"));
      CHECK(contains(held, "scsi0"));
    }
  }
}

TEST_CASE("a dry run changes nothing and says what it would do") {
  TwoClusters clusters;
  clusters.add_guest(100);
  clusters.add_guest(101);
  clusters.options.vmid = "all";
  const auto check_dry = [&] {
    clusters.options.dry_run = true;
    const std::string before = clusters.dump();
    clusters.faults.arm();
    const MirrorReport report = clusters.run();
    CHECK(clusters.dump() == before);
    CHECK(report.dry_run);
    for (const GuestReport& guest : report.guests) {
      CHECK(guest.outcome == Outcome::planned);
      CHECK_FALSE(guest.steps.empty());
    }
    CHECK(clusters.source.holds(100, HoldWay::freeze) == 0);
    CHECK(report.totals.guests_ok == 0);
    for (const std::string& call : clusters.faults.calls()) {
      CAPTURE(call);
      CHECK((contains(call, " survey ") || contains(call, " fsid ") || contains(call, " find ")));
    }
    clusters.options.dry_run = false;
    return report;
  };
  CHECK(check_dry().guests.size() == 2);
  // The steps are those of the run that follows.
  clusters.source.agents[100] = MemoryHypervisor::Answer::refuses;
  const std::vector<std::string> planned = check_dry().guests[0].steps;
  CHECK(clusters.run().guests[0].steps == planned);
  clusters.write_at_random();
  clusters.clock.time += minutes(1);
  check_dry();
  // Torn
  clusters.faults.arm("destination write_diff backup/vm-99101-disk-1-hdd finish #1", Fault::fails);
  (void)clusters.run();
  clusters.clock.time += minutes(1);
  check_dry();
}

namespace {

void check_no_source_snapshots(TwoClusters& clusters) {
  for (const ImageSpec& image : clusters.source_images.images()) {
    CAPTURE(to_string(image));
    CHECK(clusters.source_images.find(image)->snapshots.empty());
  }
}

void remove_agent(TwoClusters& clusters, std::uint32_t vmid) {
  VmConfig config = parse_vm_config(clusters.source.config(vmid).value());
  config.remove("agent");
  clusters.source.set_config(vmid, config.to_bytes());
}

std::vector<std::string> holding(const TwoClusters& clusters) {
  std::vector<std::string> kinds = clusters.events.kinds();
  std::erase_if(kinds, [](const std::string& kind) {
    return kind != "frozen" && kind != "thawed" && kind != "not_frozen" && kind != "paused" && kind != "resumed" &&
           kind != "snapshot_created";
  });
  return kinds;
}

using Kinds = std::vector<std::string>;

}  // namespace

TEST_CASE("a guest that cannot be frozen is paused while its snapshots are made") {
  TwoClusters clusters;
  clusters.add_guest(100);
  std::string why;
  std::uint32_t failed = 0;
  SUBCASE("because its agent turns out not to freeze it") {
    clusters.source.agents[100] = MemoryHypervisor::Answer::refuses;
    why = "it cannot be held";
    failed = 1;
  }
  SUBCASE("because somebody else froze it") {
    clusters.source.frozen_by_others.insert(100);
    why = "somebody else froze it";
    failed = 1;
  }
  SUBCASE("because it has no agent, as the plan knows") {
    remove_agent(clusters, 100);
    why = "no guest agent is configured";
  }
  const std::string config = clusters.source.config(100).value();
  const MirrorReport report = clusters.run();
  CHECK(only(report).outcome == Outcome::ok);
  CHECK_FALSE(only(report).frozen);
  CHECK(only(report).paused);
  CHECK(only(report).consistency == "paused: " + why);
  CHECK(only(report).frozen_for == milliseconds(900));
  CHECK(only(report).warnings.empty());
  CHECK(report.totals.freeze_failed == failed);
  CHECK(report.totals.freeze_ok == 0);
  CHECK(holding(clusters) == Kinds{"not_frozen", "paused", "snapshot_created", "snapshot_created", "resumed"});
  CHECK(clusters.source.holds(100, HoldWay::pause) == 1);
  CHECK_FALSE(clusters.source.held(100));
  CHECK(clusters.source.config(100) == config);
}

TEST_CASE("a guest that somebody else paused is left so") {
  TwoClusters clusters;
  clusters.add_guest(100);
  clusters.source.agents[100] = MemoryHypervisor::Answer::refuses;
  clusters.source.paused_by_others.insert(100);
  const MirrorReport report = clusters.run();
  CHECK(only(report).outcome == Outcome::ok);
  CHECK(only(report).paused);
  CHECK(only(report).consistency == "paused already: it cannot be held");
  CHECK(only(report).frozen_for == milliseconds(0));
  CHECK(holding(clusters) == Kinds{"not_frozen", "paused", "snapshot_created", "snapshot_created"});
}

TEST_CASE("with --no-agent=crash a guest that cannot be frozen writes on, and the point says so") {
  for (const bool known : {false, true}) {
    for (const std::size_t disks : {1U, 2U}) {
      CAPTURE(known);
      CAPTURE(disks);
      TwoClusters clusters;
      clusters.add_guest(100, disks);
      clusters.options.no_agent = "crash";
      if (known) {
        remove_agent(clusters, 100);
      } else {
        clusters.source.agents[100] = MemoryHypervisor::Answer::refuses;
      }
      const MirrorReport report = clusters.run();
      CHECK(only(report).outcome == Outcome::ok);
      CHECK_FALSE(only(report).frozen);
      CHECK_FALSE(only(report).paused);
      CHECK(only(report).consistency.starts_with("not frozen: "));
      CHECK(contains(only(report).consistency, "may differ by milliseconds") == (disks > 1));
      CHECK(only(report).warnings == std::vector<std::string>{only(report).consistency});
      CHECK(report.totals.freeze_failed == (known ? 0 : 1));
      CHECK(holding(clusters).front() == "not_frozen");
      CHECK(clusters.source.holds(100, HoldWay::pause) == 0);
    }
  }
}

TEST_CASE("with --no-agent=fail or --require-freeze a guest that cannot be frozen fails, without a snapshot") {
  for (const bool known : {false, true}) {
    for (const bool required : {false, true}) {
      CAPTURE(known);
      CAPTURE(required);
      TwoClusters clusters;
      clusters.add_guest(100);
      if (required) {
        clusters.options.require_freeze = true;
      } else {
        clusters.options.no_agent = "fail";
      }
      if (known) {
        remove_agent(clusters, 100);
      } else {
        clusters.source.agents[100] = MemoryHypervisor::Answer::refuses;
      }
      const std::string config = clusters.source.config(100).value();
      const std::string before = clusters.dump();
      const MirrorReport report = clusters.run();
      CHECK(only(report).outcome == Outcome::failed);
      CHECK(only(report).error_code == ErrorCode::unsupported);
      CHECK(contains(only(report).error, known ? "no guest agent is configured" : "it cannot be held"));
      CHECK(contains(only(report).error, "--no-agent=pause"));
      CHECK(report.totals.freeze_failed == (known ? 0 : 1));
      if (known) CHECK(clusters.dump() == before);
      CHECK(clusters.source.config(100) == config);
      CHECK(clusters.source.holds(100, HoldWay::pause) == 0);
      check_no_source_snapshots(clusters);
    }
  }
}

TEST_CASE("a freeze or a pause that is not what it should be ends the guest's run, and its snapshots go") {
  using Answer = MemoryHypervisor::Answer;
  for (const HoldWay way : {HoldWay::freeze, HoldWay::pause}) {
    for (const Answer answer : {Answer::late, Answer::expires, Answer::stuck, Answer::refuses}) {
      if (way == HoldWay::freeze && answer == Answer::refuses) continue;
      CAPTURE(static_cast<int>(way));
      CAPTURE(static_cast<int>(answer));
      TwoClusters clusters;
      clusters.add_guest(100);
      if (way == HoldWay::pause) clusters.source.agents[100] = Answer::refuses;
      (way == HoldWay::freeze ? clusters.source.agents : clusters.source.pauses)[100] = answer;
      const std::string config = clusters.source.config(100).value();
      const MirrorReport report = clusters.run();
      CHECK(only(report).outcome == Outcome::failed);
      CHECK(only(report).error_code == (answer == Answer::stuck     ? ErrorCode::command
                                        : answer == Answer::refuses ? ErrorCode::unsupported
                                                                    : ErrorCode::timeout));
      CHECK_FALSE(only(report).frozen);
      CHECK_FALSE(only(report).paused);
      CHECK(only(report).recovery_point.empty());
      CHECK(report.totals.freeze_failed == 1);
      CHECK(clusters.source.config(100) == config);
      CHECK_FALSE(clusters.source.held(100));
      check_no_source_snapshots(clusters);
    }
  }
}

TEST_CASE("a lost connection to whoever holds the guest takes the snapshots with it") {
  for (const char* call : {"source thaw 100 #1", "source resume 100 #1"}) {
    CAPTURE(call);
    TwoClusters clusters;
    clusters.add_guest(100);
    if (contains(call, "resume")) remove_agent(clusters, 100);
    clusters.faults.arm(call, Fault::answer_lost);
    CHECK(only(clusters.run()).outcome == Outcome::failed);
    CHECK(clusters.faults.happened());
    CHECK_FALSE(clusters.source.held(100));
    check_no_source_snapshots(clusters);
  }
}

TEST_CASE("a stop between the snapshots and the record of them leaves no snapshot, and nobody held") {
  for (const char* call :
       {"source freeze 100 #1", "source create_snapshot fast/vm-100-disk-0 #1", "source thaw 100 #1"}) {
    CAPTURE(call);
    TwoClusters clusters;
    clusters.add_guest(100);
    const std::string config = clusters.source.config(100).value();
    clusters.faults.arm(call, Fault::cancels);
    CHECK_THROWS_AS((void)clusters.run(), Cancelled);
    CHECK_FALSE(clusters.source.held(100));
    CHECK(clusters.source.config(100) == config);
    check_no_source_snapshots(clusters);
  }
}

TEST_CASE("a guest that may still be frozen is told of, whatever else failed") {
  TwoClusters clusters;
  clusters.add_guest(100, 3);
  clusters.source.agents[100] = MemoryHypervisor::Answer::stuck;
  clusters.faults.arm("source create_snapshot slow/vm-100-disk-1 #1", Fault::fails);
  const MirrorReport report = clusters.run();
  CHECK(only(report).error_code == ErrorCode::io);
  REQUIRE(only(report).warnings.size() == 1);
  CHECK(contains(only(report).warnings.front(), "does not say that it goes on"));
  check_no_source_snapshots(clusters);
}

TEST_CASE("a snapshot that fails takes the others of that moment with it") {
  TwoClusters clusters;
  clusters.add_guest(100, 3);
  clusters.faults.arm("source create_snapshot slow/vm-100-disk-1 #1", Fault::fails);
  const MirrorReport report = clusters.run();
  CHECK(only(report).outcome == Outcome::failed);
  CHECK(only(report).error_code == ErrorCode::io);
  CHECK(report.totals.snapshot_ok == 2);
  CHECK(report.totals.snapshot_failed == 1);
  for (const ImageSpec& image : clusters.source_images.images()) {
    CHECK(clusters.source_images.find(image)->snapshots.empty());
  }
}

TEST_CASE("a guest is not held until a client that was killed is dead to Ceph, too") {
  TwoClusters clusters;
  clusters.add_guest(100, 2);
  const ImageSpec second{"slow", "", "vm-100-disk-1"};
  const std::string guest = "192.0.2.1:0/1";
  const std::string killed = "192.0.2.2:0/2";
  clusters.source_images.set_watchers(second, {guest, killed});
  clusters.clock.on_wait = [&] {
    CHECK_FALSE(clusters.source.held(100));
    if (clusters.clock.waits.size() == 30) clusters.source_images.set_watchers(second, {guest});
  };
  CHECK(only(clusters.run()).outcome == Outcome::ok);
  CHECK(clusters.clock.waits.size() == 30);

  // One that lives is not waited for for ever.
  clusters.source_images.set_watchers(second, {guest, killed});
  clusters.clock.waits.clear();
  clusters.clock.on_wait = nullptr;
  CHECK(only(clusters.run()).outcome == Outcome::ok);
  CHECK(clusters.clock.waits.size() == 40);
  CHECK(clusters.source.holds(100, HoldWay::freeze) == 2);
}

TEST_CASE("a running guest that Ceph takes for dead keeps its disks") {
  TwoClusters clusters;
  clusters.add_guest(100, 2);
  const auto changes = [&clusters] {
    const MemoryImageStore& images = clusters.source_images;
    return images.calls("set_metadata") + images.calls("create_snapshot") + images.calls("remove_snapshot");
  };
  const ImageSpec second{"slow", "", "vm-100-disk-1"};
  clusters.source_images.set_orphaned(second, true);
  MirrorReport report = clusters.run();
  CHECK(only(report).outcome == Outcome::failed);
  CHECK(only(report).error_code == ErrorCode::timeout);
  CHECK(only(report).retryable);
  CHECK(contains(only(report).error, "slow/vm-100-disk-1: the guest runs and has the image's lock"));
  CHECK(clusters.source_images.find(second)->metadata.empty());
  CHECK(clusters.source_images.find(second)->snapshots.empty());

  clusters.source_images.set_orphaned(second, false);
  clusters.clock.time += minutes(1);
  CHECK(only(clusters.run()).outcome == Outcome::ok);

  // Nothing is left to be recorded; now it is the snapshots that must not be made.
  clusters.source_images.set_orphaned(second, true);
  clusters.clock.time += minutes(1);
  const int before = changes();
  report = clusters.run();
  CHECK(only(report).error_code == ErrorCode::timeout);
  CHECK(clusters.source_images.find(second)->snapshots.size() == 1);
  // The first disk's snapshot came and went.
  CHECK(changes() == before + 2);

  // Whoever had the lock of a stopped guest's disk is dead.
  clusters.source.put_guest(100, "e1", *clusters.source.config(100), Power::stopped);
  clusters.clock.time += minutes(1);
  CHECK(only(clusters.run()).outcome == Outcome::ok);
}

TEST_CASE("the source's lock") {
  TwoClusters clusters;
  clusters.add_guest(100);
  const std::string config = clusters.source.config(100).value();
  const std::string held = with_lock(config, "backup");
  SUBCASE("somebody's lock that goes is waited for") {
    clusters.source.set_config(100, held);
    clusters.options.lock_wait = "5s";
    clusters.clock.on_wait = [&] {
      if (clusters.clock.waits.size() == 4) clusters.source.set_config(100, config);
    };
    CHECK(only(clusters.run()).outcome == Outcome::ok);
    CHECK(clusters.clock.waits.size() == 4);
    CHECK(clusters.source.config(100) == config);
  }
  SUBCASE("somebody's lock that stays fails the guest and is left alone") {
    clusters.source.set_config(100, held);
    clusters.options.lock_wait = "3s";
    const MirrorReport report = clusters.run();
    CHECK(only(report).outcome == Outcome::failed);
    CHECK(only(report).error_code == ErrorCode::locked);
    CHECK(contains(only(report).error, "(backup)"));
    CHECK(contains(only(report).error, "qm unlock 100"));
    CHECK(clusters.clock.waits.size() == 6);
    CHECK(clusters.source.config(100) == held);
    CHECK(clusters.source.holds(100, HoldWay::freeze) == 0);
  }
  SUBCASE("a hibernated guest is not waited for, and not to be unlocked") {
    const std::string hibernated = config + "lock: suspended\nvmstate: ssd:vm-100-state-suspend-2026-11-23\n";
    clusters.source.set_config(100, hibernated);
    clusters.source.inventory.guests.at(100).power = Power::stopped;
    SUBCASE("as it is") {
      const MirrorReport report = clusters.run();
      CHECK(only(report).error_code == ErrorCode::locked);
      CHECK(contains(only(report).error, "'qm start 100'"));
      CHECK_FALSE(contains(only(report).error, "qm unlock"));
      CHECK(clusters.clock.waits.empty());
    }
    SUBCASE("unless its disks alone are meant") {
      clusters.options.no_lock = true;
      const MirrorReport report = clusters.run();
      CHECK_MESSAGE(only(report).outcome == Outcome::ok, only(report).error);
      REQUIRE(only(report).warnings.size() == 1);
      CHECK(contains(only(report).warnings[0], "hibernated"));
      CHECK_FALSE(contains(clusters.destination.config(99100).value(), "vmstate"));
    }
    CHECK(clusters.source.config(100) == hibernated);
  }
  SUBCASE("a stop ends the waiting") {
    clusters.source.set_config(100, held);
    clusters.faults.arm("source read_config 100 #3", Fault::cancels);
    CHECK_THROWS_AS((void)clusters.run(), Cancelled);
    CHECK(clusters.source.config(100) == held);
  }
  SUBCASE("a configuration that was changed meanwhile is planned again") {
    clusters.source.set_config(100, held);
    clusters.clock.on_wait = [&] { clusters.source.set_config(100, config + "cores: 8\n"); };
    const MirrorReport report = clusters.run();
    CHECK_MESSAGE(only(report).outcome == Outcome::ok, only(report).error);
    REQUIRE(only(report).warnings.size() == 1);
    CHECK(contains(only(report).warnings[0], "planned again"));
    CHECK(clusters.source.config(100) == config + "cores: 8\n");
    CHECK(contains(clusters.destination.config(99100).value(), "cores: 8"));
  }
  SUBCASE("a configuration that changes all the time fails the guest") {
    int cores = 0;
    clusters.events.at = [&](const Event&) {
      clusters.source.set_config(100, config + fmt::format("cores: {}\n", ++cores));
    };
    const MirrorReport report = clusters.run();
    CHECK(only(report).outcome == Outcome::failed);
    CHECK(only(report).error_code == ErrorCode::conflict);
    CHECK(cores > 2);
    CHECK(clusters.source.config(100) == config + fmt::format("cores: {}\n", cores));
  }
  SUBCASE("somebody who changes the locked configuration keeps it") {
    clusters.options.keep_source_lock = true;
    clusters.clock.on_wait = [] { FAIL("nobody waits"); };
    class Meddler final : public EventSink {
     public:
      Meddler(TwoClusters& clusters, const std::string& config) : clusters_(clusters), config_(config) {}
      void on_event(const Event& event) override {
        if (event.kind == EventKind::transfer_started) clusters_.source.set_config(100, config_);
      }

     private:
      TwoClusters& clusters_;
      std::string config_;
    };
    const std::string changed = with_lock(config + "cores: 8\n", "backup");
    Meddler meddler(clusters, changed);
    const MirrorReport report = clusters.run(meddler);
    CHECK(only(report).outcome == Outcome::ok);
    CHECK(clusters.source.config(100) == changed);
    REQUIRE(only(report).warnings.size() == 1);
    CHECK(contains(only(report).warnings.front(), "changed"));
  }
  SUBCASE("a run that loses it goes on with a warning, and leaves what came after it alone") {
    clusters.source.unheard.insert(100);
    const std::string theirs = with_lock(config, "snapshot");
    for (const bool keep : {false, true}) {
      clusters.options.keep_source_lock = keep;
      clusters.source.set_config(100, config);
      clusters.events.at = [&](const Event& event) {
        if (event.kind == EventKind::source_locked) clusters.source.set_config(100, theirs);
      };
      const MirrorReport report = clusters.run();
      CHECK_MESSAGE(only(report).outcome == Outcome::ok, only(report).error);
      REQUIRE(only(report).warnings.size() == 1);
      const std::string& warning = only(report).warnings.front();
      CHECK_MESSAGE(contains(warning, "VM 100 on e1: nothing was heard; the guest was not locked any more"),
                    warning);
      CHECK(clusters.source.config(100) == theirs);
      const std::vector<std::string> kinds = clusters.events.kinds();
      CHECK(std::find(kinds.begin(), kinds.end(), "source_unlocked") == kinds.end());
      clusters.events.at = {};
      clusters.events.events.clear();
      clusters.clock.time += minutes(1);
    }
  }
  SUBCASE("none is taken with --nolock, and somebody's does not matter") {
    clusters.source.set_config(100, held);
    clusters.options.no_lock = true;
    clusters.faults.arm();
    CHECK(only(clusters.run()).outcome == Outcome::ok);
    CHECK(clusters.source.config(100) == held);
    for (const std::string& call : clusters.faults.calls()) CHECK_FALSE(contains(call, "source hold_config"));
  }
  SUBCASE("it is gone before the transfers, or stays for them") {
    for (const bool keep : {false, true}) {
      clusters.options.keep_source_lock = keep;
      CHECK(only(clusters.run()).outcome == Outcome::ok);
      const std::vector<std::string> kinds = clusters.events.kinds();
      const auto unlocked = std::find(kinds.begin(), kinds.end(), "source_unlocked");
      const auto sent = std::find(kinds.begin(), kinds.end(), "transfer_started");
      REQUIRE(unlocked != kinds.end());
      CHECK((unlocked > sent) == keep);
      clusters.clock.time += minutes(1);
    }
  }
}

TEST_CASE("the replica stays locked if that is asked for, and a later run takes the lock away") {
  TwoClusters clusters;
  clusters.add_guest(100);
  clusters.options.keep_destination_lock = true;
  for (int run = 0; run < 2; ++run) {
    CHECK(only(clusters.run()).outcome == Outcome::ok);
    CHECK(parse_vm_config(clusters.destination.config(99100).value()).get("lock") == "migrate");
    clusters.clock.time += minutes(1);
  }
  clusters.options.keep_destination_lock = false;
  CHECK(only(clusters.run()).outcome == Outcome::ok);
  CHECK_FALSE(parse_vm_config(clusters.destination.config(99100).value()).get("lock"));
}

TEST_CASE("a replica that was written is a conflict, and nothing of it is touched") {
  TwoClusters clusters;
  clusters.add_guest(100);
  (void)clusters.run();
  clusters.clock.time += minutes(1);
  const ImageSpec replica{"backup", "", "vm-99100-disk-1-hdd"};
  SUBCASE("written") {
    clusters.replica_images.write(replica, 0, std::vector<std::byte>(1, std::byte{1}));
  }
  SUBCASE("resized") {
    clusters.replica_images.resize(replica, 1 << 20);
  }
  const auto head = clusters.replica_images.content(replica);
  const std::string config = clusters.destination.config(99100).value();
  const MirrorReport report = clusters.run();
  CHECK(only(report).outcome == Outcome::conflict);
  CHECK(only(report).error_code == ErrorCode::conflict);
  CHECK(contains(only(report).error, "written to since its newest recovery point " + first_point));
  CHECK(clusters.replica_images.content(replica) == head);
  CHECK(clusters.destination.config(99100) == config);
  CHECK(clusters.source.holds(100, HoldWay::freeze) == 1);
}

TEST_CASE("an image without a record is replaced only if a run had begun to make it and it is empty") {
  TwoClusters clusters;
  clusters.add_guest(100, 1);
  const ImageSpec replica{"backup", "", "vm-99100-disk-0-ssd"};
  const auto fill = [&] { clusters.replica_images.write(replica, 40000, std::vector<std::byte>(1, std::byte{1})); };
  const auto cut = [&] {
    clusters.faults.arm("destination create backup/vm-99100-disk-0-ssd #1", Fault::dies_after);
    CHECK(only(clusters.run()).outcome == Outcome::failed);
    clusters.faults.arm();
    REQUIRE(clusters.replica_images.find(replica));
  };
  SUBCASE("it was never ours") {
    clusters.replica_images.create(replica, {.size_bytes = 65536});
  }
  SUBCASE("its head holds something") {
    cut();
    fill();
  }
  SUBCASE("a snapshot of it holds something") {
    cut();
    fill();
    (void)clusters.replica_images.create_snapshot(replica, "crossover-default-20200101T000000Z");
    clusters.replica_images.zero(replica, 40000, 1);
  }
  const std::string before = clusters.dump();
  const MirrorReport report = clusters.run();
  CHECK(only(report).outcome == Outcome::conflict);
  CHECK(contains(only(report).error, "no record says that it is a replica"));
  CHECK(clusters.dump() == before);
}

TEST_CASE("one guest's failure is not the others'") {
  TwoClusters clusters;
  for (const std::uint32_t vmid : {100U, 101U, 102U}) clusters.add_guest(vmid, 1);
  clusters.options.vmid = "all";
  SUBCASE("in its run") {
    clusters.faults.arm("source read_diff fast/vm-101-disk-0 #1", Fault::fails);
  }
  SUBCASE("in its plan") {
    clusters.replica_images.create({"backup", "", "vm-99101-disk-0-ssd"}, {.size_bytes = 65536});
    (void)clusters.replica_images.create_snapshot({"backup", "", "vm-99101-disk-0-ssd"}, "mine");
  }
  SUBCASE("in its record, which nobody can read") {
    clusters.source_images.set_metadata({"fast", "", "vm-101-disk-0"}, source_key("default"), "{");
  }
  SUBCASE("on a node that is off") {
    clusters.source.inventory.guests.at(101).node = "e2";
    clusters.source.inventory.nodes.at("e2").unreachable = "no route to host";
  }
  const MirrorReport report = clusters.run();
  REQUIRE(report.guests.size() == 3);
  CHECK(report.guests[0].outcome == Outcome::ok);
  CHECK(report.guests[1].outcome != Outcome::ok);
  CHECK(report.guests[1].error_code);
  CHECK_FALSE(report.guests[1].error.empty());
  CHECK(report.guests[2].outcome == Outcome::ok);
  CHECK(report.totals.guests_ok == 2);
  CHECK(report.totals.guests_failed == 1);
}

TEST_CASE("users' snapshots and those of other jobs stay, on both sides") {
  TwoClusters clusters;
  clusters.add_guest(100, 1);
  const ImageSpec source{"fast", "", "vm-100-disk-0"};
  const ImageSpec replica{"backup", "", "vm-99100-disk-0-ssd"};
  (void)clusters.run();
  const std::vector<std::string> names = {"before-upgrade", "mirror-before-upgrade", "mirror-20200101000000",
                                          "crossover-other-20200101T000000Z", "crossover-default-20201301T000000Z"};
  for (const std::string& name : names) {
    (void)clusters.source_images.create_snapshot(source, name);
    (void)clusters.replica_images.create_snapshot(replica, name);
  }
  for (int run = 0; run < 3; ++run) {
    clusters.clock.time += minutes(10);
    clusters.write_at_random();
    CHECK(only(clusters.run()).outcome == Outcome::ok);
  }
  for (const auto& state : {clusters.source_images.find(source), clusters.replica_images.find(replica)}) {
    CHECK(state->snapshots.size() == names.size() + 1);
    for (const std::string& name : names) {
      CHECK(std::any_of(state->snapshots.begin(), state->snapshots.end(),
                        [&](const Snapshot& snapshot) { return snapshot.name == name; }));
    }
  }
}

TEST_CASE("two jobs of one guest do not touch each other's points") {
  TwoClusters clusters;
  clusters.add_guest(100);
  PointKeeper hourly(clusters, 100, 99100);
  for (int run = 0; run < 4; ++run) {
    for (const char* job : {"hourly", "daily"}) {
      clusters.options.job_name = job;
      clusters.options.prefix_id = job == std::string("hourly") ? "99" : "88";
      const MirrorReport report = clusters.run();
      CAPTURE(only(report).error);
      CHECK(only(report).outcome == Outcome::ok);
      CHECK(only(report).disks[0].full == (run == 0));
      clusters.write_at_random();
      clusters.clock.time += minutes(10);
    }
  }
}

TEST_CASE("two clusters that replicate to each other leave each other's replicas out of 'all'") {
  TwoClusters clusters;
  clusters.add_guest(100, 1);
  clusters.options.vmid = "all";
  (void)clusters.run();
  // What came from the other side: a guest whose image says that it is a replica.
  clusters.add_guest(500, 1);
  const ImageSpec image{"fast", "", "vm-500-disk-0"};
  const auto state = clusters.source_images.find(image);
  put_record(clusters.source_images, image, {ReplicaRecord{.source = {"far", 1, "x", 5},
                                                                   .source_image = "p/vm-5-disk-0",
                                                                   .job = "there",
                                                                   .target_vmid = 500,
                                                                   .image_id = state->id,
                                                                   .pool_id = state->pool_id,
                                                                   .state = ReplicaState::complete},
                                                     std::nullopt});
  clusters.clock.time += minutes(1);
  CHECK(only(clusters.run()).vmid == 100);
  // By name it is meant.
  clusters.options.vmid = "500";
  CHECK(only(clusters.run()).outcome == Outcome::ok);
}

TEST_CASE("a guest another run is at is waited for, and looked at again") {
  TwoClusters clusters;
  clusters.add_guest(100);
  const std::string id = clusters.source_images.find(clusters.image_of(100, "scsi0"))->id;
  clusters.leases.occupy(id, "process 7 on e2");
  clusters.options.lock_wait = "10s";
  {
    const GuestReport guest = only(clusters.run());
    CHECK(guest.outcome == Outcome::failed);
    CHECK(guest.error_code == ErrorCode::locked);
    CHECK(contains(guest.error, "another run is at it: process 7 on e2"));
    CHECK(clusters.source_images.find(clusters.image_of(100, "scsi0"))->snapshots.empty());
    CHECK(clusters.source_images.find(clusters.image_of(100, "scsi0"))->metadata.empty());
    CHECK(clusters.replica_images.images().empty());
  }
  int waits = 0;
  clusters.clock.on_wait = [&] {
    if (++waits == 3) clusters.leases.give_back(id);
  };
  CHECK(only(clusters.run()).outcome == Outcome::ok);
  CHECK(waits >= 3);
  CHECK(clusters.leases.held() == 0);
}

TEST_CASE("what another run did between the survey and the lease is seen") {
  for (const int runs_before : {0, 1, 3}) {
    for (const int runs_between : {1, 3}) {
      CAPTURE(runs_before);
      CAPTURE(runs_between);
      TwoClusters clusters;
      clusters.add_guest(100);
      clusters.options.keep_local = "last=1";
      clusters.options.keep_remote = "last=2";
      const auto run = [&] {
        clusters.clock.time += minutes(1);
        return only(clusters.run());
      };
      for (int i = 0; i < runs_before; ++i) REQUIRE(run().outcome == Outcome::ok);
      clusters.leases.before_next = [&] {
        for (int i = 0; i < runs_between; ++i) REQUIRE(run().outcome == Outcome::ok);
      };
      const GuestReport guest = run();
      CHECK_MESSAGE(guest.outcome == Outcome::ok, guest.error);
      CHECK(guest.warnings.empty());
      CHECK(only(clusters.run()).outcome == Outcome::ok);
    }
  }
}

TEST_CASE("a configuration that is changed while the guest waits its turn is seen") {
  TwoClusters clusters;
  clusters.add_guest(100);
  REQUIRE(only(clusters.run()).outcome == Outcome::ok);
  clusters.clock.time += minutes(1);
  clusters.leases.before_next = [&] {
    clusters.source.set_config(100, clusters.source.config(100).value() + "tags: new\n");
  };
  const GuestReport guest = only(clusters.run());
  CHECK_MESSAGE(guest.outcome == Outcome::ok, guest.error);
  REQUIRE(guest.warnings.size() == 1);
  CHECK(contains(guest.warnings[0], "planned again"));
}

TEST_CASE("a run whose lease is lost ends, and the next one goes on") {
  TwoClusters clusters;
  clusters.add_guest(100);
  bool lost = false;
  clusters.events.at = [&](const Event& event) {
    if (event.kind == EventKind::snapshot_created && !std::exchange(lost, true)) clusters.leases.lose();
  };
  const GuestReport guest = only(clusters.run());
  CHECK(lost);
  CHECK(guest.outcome == Outcome::failed);
  CHECK(guest.error_code == ErrorCode::locked);
  CHECK(contains(guest.error, "lease"));
  clusters.events.at = nullptr;
  CHECK(only(clusters.run()).outcome == Outcome::ok);
  CHECK(clusters.leases.held() == 0);
}

TEST_CASE("a sink that throws fails the guest where its next step begins, thawed and unlocked") {
  class Thrower final : public EventSink {
   public:
    explicit Thrower(EventKind kind) : kind_(kind) {}
    void on_event(const Event& event) override {
      if (event.kind == kind_) throw std::runtime_error("no more");
    }

   private:
    EventKind kind_;
  };
  for (const EventKind kind : {EventKind::frozen, EventKind::snapshot_created, EventKind::transfer_started,
                               EventKind::source_locked, EventKind::thawed}) {
    TwoClusters clusters;
    clusters.add_guest(100);
    const std::string config = clusters.source.config(100).value();
    Thrower thrower(kind);
    const GuestReport guest = only(clusters.run(thrower));
    CHECK(guest.outcome == Outcome::failed);
    CHECK(contains(guest.error, "no more"));
    CHECK(clusters.source.config(100) == config);
    CHECK_FALSE(clusters.source.held(100));
    CHECK(only(clusters.run()).outcome == Outcome::ok);
  }
}

TEST_CASE("several guests and disks at once come out as one after the other") {
  TwoClusters clusters;
  for (const std::uint32_t vmid : {100, 101, 102, 103, 104}) clusters.add_guest(vmid, 1 + vmid % 3);
  clusters.options.vmid = "all";
  clusters.options.parallel = "4";
  clusters.options.memory = "64M";
  for (const bool first : {true, false}) {
    const MirrorReport report = clusters.run();
    REQUIRE(report.guests.size() == 5);
    std::uint32_t disks = 0;
    for (std::size_t i = 0; i < report.guests.size(); ++i) {
      CHECK(report.guests[i].vmid == 100 + i);
      CHECK(report.guests[i].outcome == Outcome::ok);
      disks += static_cast<std::uint32_t>(report.guests[i].disks.size());
    }
    CHECK((first ? report.totals.full_ok : report.totals.incremental_ok) == disks);
    CHECK(report.totals.guests_ok == 5);
    CHECK(report.totals.snapshot_ok == disks);
    CHECK(report.totals.freeze_ok == 5);
    clusters.clock.time += minutes(10);
  }
}

TEST_CASE(
    "the source's Ceph is connected while the destination is still being asked, and its images are looked at "
    "after") {
  TwoClusters clusters;
  clusters.add_guest(100);
  clusters.options.dry_run = true;
  Meeting meeting(2);
  clusters.faults.at = [&](const std::string& call) {
    if (call == "destination survey" || call == "source fsid") meeting.attend();
  };
  CHECK(only(clusters.run()).outcome == Outcome::planned);
  CHECK(meeting.held());
  const std::vector<std::string> calls = clusters.faults.calls();
  const auto at = [&calls](const std::string& call) { return std::find(calls.begin(), calls.end(), call); };
  CHECK(at("destination survey #1") < at("source find fast/vm-100-disk-0 #1"));
}

TEST_CASE("a conflict that the survey saw is looked at again if the guest changed since") {
  for (const bool changed : {true, false}) {
    CAPTURE(changed);
    TwoClusters clusters;
    clusters.add_guest(100, 1);
    REQUIRE(only(clusters.run()).outcome == Outcome::ok);
    clusters.clock.time += minutes(1);
    const ImageSpec source = clusters.image_of(100, "scsi0");
    const ImageSpec replica = clusters.replica_of(source, 99100);
    const std::string key(replica_key);
    const std::string record = clusters.replica_images.find(replica)->metadata.at(key);
    ReplicaRecord of_another = image_record(*clusters.replica_images.find(replica)).replica.value();
    of_another.source.image_id = "another";
    clusters.replica_images.set_metadata(replica, key, render_replica(of_another));
    clusters.events.at = [&](const Event& event) {
      if (event.kind != EventKind::guest_started) return;
      clusters.replica_images.set_metadata(replica, key, record);
      if (changed) (void)clusters.source_images.create_snapshot(source, "by-hand");
    };
    const GuestReport guest = only(clusters.run());
    CHECK_MESSAGE(guest.outcome == (changed ? Outcome::ok : Outcome::conflict), guest.error);
  }
}

TEST_CASE("the source keeps its snapshots of a point that the destination could not end") {
  TwoClusters clusters;
  clusters.add_guest(100, 1);
  clusters.run();
  clusters.clock.time += minutes(10);
  const std::string end = "destination remove_metadata backup/vm-99100-disk-0-ssd";
  clusters.faults.arm(end + " #1");
  const GuestReport guest = only(clusters.run());
  CHECK(clusters.faults.happened());
  CHECK(guest.outcome == Outcome::ok);
  CHECK(guest.removed.empty());
  REQUIRE(guest.warnings.size() == 1);
  CHECK(contains(guest.warnings[0], "could not be removed"));
  clusters.faults.arm();
  clusters.clock.time += minutes(10);
  CHECK(only(clusters.run()).removed.size() == 4);
}

TEST_CASE("both sides remove a point's snapshots at once, and are told of in the order of the plan") {
  TwoClusters clusters;
  clusters.add_guest(100);
  clusters.options.parallel = "2";
  clusters.run();
  clusters.clock.time += minutes(10);
  Meeting meeting(4);
  clusters.faults.at = [&](const std::string& call) {
    if (contains(call, " remove_snapshot ")) meeting.attend();
  };
  const GuestReport guest = only(clusters.run());
  CHECK(meeting.held());
  CHECK(guest.removed == std::vector<std::string>{"destination backup/vm-99100-disk-0-ssd@" + first_point,
                                                  "destination backup/vm-99100-disk-1-hdd@" + first_point,
                                                  "source fast/vm-100-disk-0@" + first_point,
                                                  "source slow/vm-100-disk-1@" + first_point});
}

TEST_CASE("zeroes are not written to a new image, and are to one that has something there") {
  TwoClusters clusters;
  clusters.add_guest(100, 1);
  const ImageSpec image = clusters.image_of(100, "scsi0");
  const ImageSpec replica = clusters.replica_of(image, 99100);
  const auto run = [&] {
    const MirrorReport report = clusters.run();
    clusters.clock.time += std::chrono::minutes(10);
    REQUIRE(report.guests.front().outcome == Outcome::ok);
    const bool is_same = clusters.replica_images.content(replica) == clusters.source_images.content(image);
    CHECK(is_same);
  };
  clusters.source_images.zero(image, 4096, 8192);
  run();
  CHECK(clusters.replica_images.calls("zero") == 0);
  clusters.source_images.zero(image, 0, 4096);
  run();
  CHECK(clusters.replica_images.calls("zero") > 0);
}

TEST_CASE("a run of few disks has all of the memory for them where they are written") {
  for (const auto& [disks, parallel, share] :
       {std::tuple{1U, "4", 256U}, {2U, "4", 128U}, {6U, "4", 64U}, {2U, "1", 256U}}) {
    CAPTURE(disks);
    CAPTURE(parallel);
    TwoClusters clusters;
    clusters.options.parallel = parallel;
    clusters.add_guest(100, disks);
    REQUIRE(clusters.run().guests.front().outcome == Outcome::ok);
    CHECK(clusters.far_transfer_memory == std::uint64_t{share} << 20);
  }
}
