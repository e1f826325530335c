// A mirror run through an agent that is restricted to receiving, and what somebody who has broken into the source
// can do through it: send more, and nothing to what is there.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "agent/messages.hpp"
#include "agent/restricted_hypervisor.hpp"
#include "agent/restricted_power.hpp"
#include "agent/restricted_store.hpp"
#include "plan/guest_disks.hpp"
#include "plan/record.hpp"
#include "plan/restricted_config.hpp"
#include "support/records.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

const ImageSpec first{"backup", "", "vm-99100-disk-0-ssd"};
const ImageSpec second{"backup", "", "vm-99100-disk-1-hdd"};

const GuestReport& only(const MirrorReport& report) {
  REQUIRE(report.guests.size() == 1);
  return report.guests.front();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Two clusters, and a restricted agent on the second.
struct Stage {
  Stage() {
    clusters.restriction = parse_restriction("copy", "99000-99999");
    clusters.options.keep_local = "1d";
    clusters.options.keep_remote = "1d";
    clusters.add_guest(100);
  }

  const GuestReport& run() {
    last = clusters.run();
    clusters.clock.time += std::chrono::minutes(10);
    return only(last);
  }

  std::string run_well() {
    const GuestReport& guest = run();
    CAPTURE(guest.error);
    REQUIRE(guest.outcome == Outcome::ok);
    return guest.recovery_point;
  }

  TwoClusters clusters;
  MirrorReport last;
};

/// The agent alone, in the hands of somebody who speaks its protocol, over a replica with two recovery points.
struct Abuse : Stage {
  Abuse() {
    points.push_back(run_well());
    clusters.write_at_random();
    points.push_back(run_well());
  }

  ImageState state(const ImageSpec& image) { return clusters.replica_images.find(image).value(); }
  Snapshot snapshot(const ImageSpec& image, std::size_t point) {
    const ImageState found = state(image);
    const auto one = std::find_if(found.snapshots.begin(), found.snapshots.end(),
                                  [&](const Snapshot& s) { return s.name == points[point]; });
    REQUIRE(one != found.snapshots.end());
    return *one;
  }
  ImageRecord record(const ImageSpec& image) { return image_record(state(image)); }

  void write_record(const ImageSpec& image, const ImageRecord& changed) {
    hold(image)->set_metadata(std::string(replica_key), render_replica(changed.replica.value()));
  }

  /// As a run does before it sends: the head is not the newest point any more.
  void begin_transfer(const ImageSpec& image) {
    ImageRecord begun = record(image);
    begun.replica->state = ReplicaState::applying;
    begun.replica->end_snapshot = "crossover-default-20261123T150000Z";
    write_record(image, begun);
  }

  /// Error{permission} with `part` in it, and nothing is changed anywhere.
  void refused(const std::string& part, const std::function<void()>& attempt) {
    CAPTURE(part);
    const std::string before = clusters.dump();
    std::optional<Error> refusal;
    try {
      attempt();
    } catch (const Error& error) {
      refusal = error;
    }
    REQUIRE(refusal);
    CHECK(refusal->code() == ErrorCode::permission);
    CHECK_MESSAGE(contains(refusal->what(), part), std::string(refusal->what()));
    CHECK(clusters.dump() == before);
  }

  /// Past the agent, as a program on the destination does.
  void write_record_there(const ImageSpec& image, const ImageRecord& changed) {
    put_record(clusters.replica_images, image, changed);
  }

  /// As what was made for a replica of that guest.
  void claim(const ImageSpec& image, std::uint32_t vmid, std::uint32_t source = 400) {
    ImageRecord claimed = record(first);
    claimed.replica->points.clear();
    claimed.replica->target_vmid = vmid;
    claimed.replica->source.guest = source;
    claimed.replica->image_id = state(image).id;
    claimed.replica->pool_id = state(image).pool_id;
    write_record_there(image, claimed);
  }

  ImageStore& store() { return stores.open(access()); }
  std::unique_ptr<ImageHold> hold(const ImageSpec& image) { return store().hold(image, {}); }
  CephAccess access() {
    return storage_access(clusters.destination.inventory, *clusters.destination.inventory.storages.rbd("copy"));
  }

  std::vector<std::string> points;
  bool is_empty = true;
  OneStore all{clusters.replica_images};
  agent::ReceiveContext context{
      parse_restriction("copy", "99000-99999"), all, [this] { return clusters.destination.inventory; },
      [this](const CephAccess&, const ImageSpec&) { return is_empty; }, [this] { return clusters.clock.now(); }};
  agent::RestrictedStores stores{context};
  agent::RestrictedHypervisor hypervisor{clusters.destination, context};
  agent::RestrictedPower switches{clusters.destination, context};
};

class Nowhere final : public DiffSink {
 public:
  void size(std::uint64_t) override {}
  void data(std::uint64_t, std::span<const std::byte>) override {}
  void zero(std::uint64_t, std::uint64_t) override {}
  void finish() override {}
};

}  // namespace

TEST_CASE("a guest is mirrored through a restricted agent, without what would be root there") {
  Stage stage;
  VmConfig config = parse_vm_config(stage.clusters.source.config(100).value());
  config.set("args", "-device evil");
  config.set("hookscript", "local:snippets/hook.pl");
  config.set("hostpci0", "0000:01:00.0");
  config.set("serial0", "/dev/ttyS0");
  config.set("serial1", "socket");
  stage.clusters.source.set_config(100, config.to_bytes());
  stage.clusters.destination.inventory.snippets.insert("local:snippets/hook.pl");
  stage.clusters.options.keep_host_devices = true;
  stage.run_well();
  const VmConfig replica = parse_vm_config(stage.clusters.destination.config(99100).value());
  std::set<std::string> left_out;
  for (const LeftOut& one : only(stage.last).left_out) left_out.insert(one.key);
  CHECK(left_out == std::set<std::string>{"args", "hookscript", "hostpci0", "serial0"});
  for (const std::string& key : left_out) CHECK_FALSE(replica.get(key));
  CHECK(replica.get("serial1") == "socket");
  CHECK(replica.get("memory") == "512");
  CHECK(refused_settings(replica, 99100, *stage.clusters.restriction).empty());

  // The same guest through an agent that is not restricted keeps them.
  stage.clusters.restriction.reset();
  stage.run_well();
  CHECK(parse_vm_config(stage.clusters.destination.config(99100).value()).get("args") == "-device evil");
}

TEST_CASE("a point that was begun with more than a restricted agent takes is begun again") {
  Stage stage;
  const auto restriction = stage.clusters.restriction;
  stage.clusters.restriction.reset();
  VmConfig config = parse_vm_config(stage.clusters.source.config(100).value());
  config.set("args", "-device evil");
  stage.clusters.source.set_config(100, config.to_bytes());
  SUBCASE("after a point") {
    stage.run_well();
    stage.clusters.write_at_random();
  }
  SUBCASE("as the first copy") {}
  stage.clusters.faults.arm("destination write_diff backup/vm-99100-disk-1-hdd finish #1", Fault::fails);
  REQUIRE(stage.run().outcome == Outcome::failed);
  const std::string begun = image_record(stage.clusters.replica_images.find(second).value()).replica->end_snapshot;
  REQUIRE_FALSE(begun.empty());

  stage.clusters.faults.arm();
  stage.clusters.restriction = restriction;
  CHECK(stage.run_well() != begun);
  CHECK_FALSE(only(stage.last).resumed);
  const auto& warnings = only(stage.last).warnings;
  CHECK(std::any_of(warnings.begin(), warnings.end(), [&](const std::string& warning) {
    return contains(warning, begun + " cannot be completed, the destination's agent refuses args");
  }));
  stage.run_well();
}

TEST_CASE("what the destination's administrator gave a replica does not keep it from being mirrored") {
  Stage stage;
  stage.run_well();
  VmConfig config = parse_vm_config(stage.clusters.destination.config(99100).value());
  config.set("hookscript", "local:snippets/theirs.pl");
  stage.clusters.destination.set_config(99100, config.to_bytes());
  stage.run_well();
}

TEST_CASE("retention leaves the destination of a restricted agent alone, and says so") {
  Stage stage;
  stage.clusters.options.keep_local = "0s";
  stage.clusters.options.keep_remote = "0s";
  for (int i = 0; i < 4; ++i) {
    stage.clusters.write_at_random();
    stage.run_well();
  }
  const auto snapshots = [](MemoryImageStore& store, const ImageSpec& image) {
    return store.find(image)->snapshots.size();
  };
  CHECK(snapshots(stage.clusters.replica_images, first) == 4);
  CHECK(snapshots(stage.clusters.replica_images, second) == 4);
  CHECK(snapshots(stage.clusters.source_images, stage.clusters.image_of(100, "scsi0")) == 1);
  const GuestReport& guest = only(stage.last);
  REQUIRE(guest.warnings.size() == 1);
  CHECK(contains(guest.warnings.front(), "6 snapshots"));
  CHECK(contains(guest.warnings.front(), "'crossover prune'"));
  CHECK(std::none_of(guest.steps.begin(), guest.steps.end(),
                     [](const std::string& step) { return contains(step, "destination backup/"); }));
}

TEST_CASE("what a restricted agent would refuse is a problem of the plan") {
  Stage stage;
  const std::string before = stage.clusters.dump();
  const auto refused = [&](const std::string& part) {
    const GuestReport& guest = stage.run();
    CHECK(guest.outcome == Outcome::failed);
    CHECK(guest.error_code == ErrorCode::permission);
    CHECK_MESSAGE(contains(guest.error, part), guest.error);
    CHECK(stage.clusters.dump() == before);
  };
  stage.clusters.options.prefix_id = "98";
  refused("VMIDs 99000-99999 on copy; choose another target than 98100");

  stage.clusters.options.prefix_id = "99";
  stage.clusters.options.adopt = true;
  refused("lets nobody take over an image (--adopt)");
  stage.clusters.options.adopt = false;
  stage.clusters.options.reseed = true;
  refused("lets nobody replace a replica (--reseed)");
  stage.clusters.options.reseed = false;

  stage.clusters.restriction = parse_restriction("other", "99000-99999");
  try {
    stage.run();
    FAIL("another storage was taken");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::permission);
  }
  CHECK(stage.clusters.dump() == before);
}

TEST_CASE("a point that differs cannot be repaired through a restricted agent, and is found all the same") {
  Stage stage;
  stage.run_well();
  const std::vector<std::byte> rot(512, std::byte{0x55});
  stage.clusters.replica_images.damage(first, 0, rot);
  VerifyOptions what;
  CHECK(stage.clusters.verify(what).guests.front().outcome == VerifyOutcome::differs);
  what.repair = true;
  const std::string before = stage.clusters.dump();
  const VerifiedGuest guest = stage.clusters.verify(what).guests.front();
  CHECK(guest.outcome == VerifyOutcome::differs);
  CHECK(stage.clusters.dump() == before);
}

TEST_CASE_FIXTURE(Abuse,
                  "a point that was found to be bad stays so, on the disks that say it, and nothing starts there") {
  ImageRecord marked = record(second);
  marked.replica->points[1].bad = true;
  write_record_there(second, marked);
  clusters.write_at_random();
  const std::string point = run_well();
  const auto points_of = [&](const ImageSpec& image) { return record(image).replica->points; };
  REQUIRE(points_of(first).size() == 3);
  REQUIRE(points_of(second).size() == 3);
  for (const PointIds& one : points_of(first)) CHECK_FALSE(one.bad);
  CHECK_FALSE(points_of(second)[0].bad);
  CHECK(points_of(second)[1].bad);
  CHECK_FALSE(points_of(second)[2].bad);
  CHECK(clusters.replica_images.content(second, point) ==
        clusters.source_images.content(clusters.image_of(100, "scsi1"), point));
  CHECK(std::any_of(only(last).steps.begin(), only(last).steps.end(), [&](const std::string& step) {
    return contains(step, "roll ") && contains(step, "back to " + points[0]);
  }));
}

TEST_CASE_FIXTURE(Abuse, "what the destination's own retention removed is not known of any more") {
  for (const ImageSpec& image : {first, second}) {
    clusters.replica_images.remove_snapshot(image, snapshot(image, 0));
  }
  clusters.replica_images.remove_metadata(first, std::string(point_key_prefix) + points[0]);
  const std::string point = run_well();
  for (const ImageSpec& image : {first, second}) {
    const std::vector<PointIds> known = record(image).replica->points;
    REQUIRE(known.size() == 2);
    CHECK(known[0].name == points[1]);
    CHECK(known[1].name == point);
  }
}

TEST_CASE_FIXTURE(Abuse, "recovery points cannot be removed, nor the images they are on") {
  for (const ImageSpec& image : {first, second}) {
    for (const std::size_t point : {0, 1}) {
      refused("'crossover prune'", [&] { store().remove_snapshot(image, snapshot(image, point)); });
      const std::string config_key = std::string(point_key_prefix) + points[point];
      refused("'crossover prune'", [&] { store().remove_metadata(image, config_key); });
      refused("'crossover prune'", [&] { hold(image)->remove_metadata(config_key); });
    }
    refused("'crossover prune'", [&] { store().remove_metadata(image, std::string(replica_key)); });
    refused("'crossover prune'", [&] { hold(image)->remove_metadata(std::string(replica_key)); });
    refused("'crossover prune'", [&] { store().remove(image); });
    // Not while something is under way either.
    begin_transfer(image);
    refused("'crossover prune'", [&] { store().remove_snapshot(image, snapshot(image, 0)); });
    refused("'crossover prune'", [&] { store().remove(image); });
  }
}

TEST_CASE_FIXTURE(Abuse, "what is recorded of recovery points stays") {
  const auto change = [&](const ImageSpec& image, const std::function<void(ImageRecord&)>& how) {
    ImageRecord changed = record(image);
    how(changed);
    write_record(image, changed);
  };
  for (const ImageSpec& image : {first, second}) {
    refused("forgotten", [&] { change(image, [](ImageRecord& r) { r.replica->points.clear(); }); });
    refused("forgotten",
            [&] { change(image, [](ImageRecord& r) { r.replica->points.erase(r.replica->points.begin()); }); });
    refused("marked as bad", [&] { change(image, [](ImageRecord& r) { r.replica->points[0].bad = true; }); });
    refused("forgotten", [&] { change(image, [](ImageRecord& r) { r.replica->points[1].replica_id = 999; }); });
    refused("not the recovery point that was sent", [&] {
      change(image, [](ImageRecord& r) {
        r.replica->points.push_back({"crossover-default-20261123T110000Z", 1, 2, false});
      });
    });
    refused("another source", [&] { change(image, [](ImageRecord& r) { r.replica->source.guest = 7; }); });
    refused("another source", [&] { change(image, [](ImageRecord& r) { r.replica->job = "other"; }); });
    refused("not be that of a replica",
            [&] { change(image, [](ImageRecord& r) { r.replica->target_vmid = 99101; }); });
    refused("no promotion is for the client to take back", [&] {
      change(image, [&](ImageRecord& r) {
        r.replica->taken_back = Promotion{points[1], clusters.clock.now() + std::chrono::seconds(2), true};
      });
    });
    refused("no recovery point",
            [&] { change(image, [](ImageRecord& r) { r.replica->end_snapshot = "crossover-x"; }); });
  }
  CHECK_THROWS_AS(hold(first)->set_metadata(std::string(replica_key), "{"), Error);
  refused("has no crossover.promotion",
          [&] { hold(first)->set_metadata(std::string(promotion_key), R"({"version":1})"); });
  refused("has no crossover.source.x", [&] { hold(first)->set_metadata(source_key("x"), R"({"version":1})"); });
  refused("has no crossover.record", [&] { hold(first)->set_metadata(std::string(earlier_record_key), "{}"); });
  refused("has no crossover.progress", [&] { hold(first)->set_metadata("crossover.progress", "x"); });
  // Nor is anything written beside the checks that a hold makes.
  refused("whoever holds it",
          [&] { store().set_metadata(first, std::string(replica_key), render_replica(record(first).replica.value())); });
}

TEST_CASE_FIXTURE(Abuse, "new points come after those that are there, and not from the future") {
  // Retention keeps the newest of a day: a point with a time of its own choice could push a good one out.
  for (const char* name : {"crossover-default-20261123T115959Z", "crossover-default-20251123T120000Z"}) {
    refused("not be newer", [&] {
      ImageRecord changed = record(first);
      changed.replica->end_snapshot = name;
      write_record(first, changed);
    });
  }
  refused("a day ahead", [&] {
    ImageRecord changed = record(first);
    changed.replica->end_snapshot = "crossover-default-20261130T120000Z";
    write_record(first, changed);
  });
  refused("not the recovery point that was sent",
          [&] { hold(first)->create_snapshot("crossover-default-20261123T150000Z"); });
  refused("whoever holds the image", [&] { store().create_snapshot(first, "crossover-default-20261123T150000Z"); });
  begin_transfer(first);
  refused("not the recovery point that was sent",
          [&] { hold(first)->create_snapshot("crossover-default-20261123T150000Z"); });
  refused("whoever holds the image", [&] { store().create_snapshot(first, "crossover-default-20261123T150000Z"); });
}

TEST_CASE_FIXTURE(Abuse, "a recovery point's configuration is neither replaced nor made up") {
  const PointConfig good = parse_point(state(first).metadata.at(std::string(point_key_prefix) + points[1]));
  const auto complete = [&](const std::string& name, const PointConfig& point) {
    hold(first)->set_metadata(std::string(point_key_prefix) + name, render_point(point));
  };
  PointConfig other = good;
  other.config += "name: other\n";
  refused("is complete", [&] { complete(points[1], other); });
  refused("is complete", [&] { complete(points[0], other); });
  complete(points[1], good);  // a commit that is repeated
  const std::string next = "crossover-default-20261123T150000Z";
  refused("not the recovery point that was sent", [&] { complete(next, good); });

  begin_transfer(first);
  ImageRecord applied = record(first);
  applied.replica->state = ReplicaState::applied;
  write_record(first, applied);
  refused("no snapshot", [&] { complete(next, good); });
  hold(first)->create_snapshot(next);
  for (const char* line : {"args: -x\n", "hookscript: local:snippets/a.pl\n", "[PENDING]\nargs: -x\n"}) {
    PointConfig evil = good;
    evil.config += line;
    refused("is refused", [&] { complete(next, evil); });
    refused("is refused", [&] {
      ImageRecord changed = record(first);
      changed.replica->point = evil;
      write_record(first, changed);
    });
  }
  PointConfig evil = good;
  evil.images = {"backup/vm-500-disk-0"};
  refused("none of its images", [&] { complete(next, evil); });
  evil = good;
  evil.target_vmid = 500;
  refused("another VM's", [&] { complete(next, evil); });
  evil = good;
  evil.onboot = "1\nargs: -x";
  refused("onboot", [&] { complete(next, evil); });
  complete(next, good);
}

TEST_CASE_FIXTURE(Abuse, "the head is written and rolled back only where a transfer was begun") {
  Nowhere sink;
  for (const ImageSpec& image : {first, second}) {
    refused("no transfer to it was begun", [&] { hold(image)->roll_back(snapshot(image, 0), {}); });
    refused("no transfer to it was begun", [&] { hold(image)->write_diff({}, {}); });
    refused("not for the client to read", [&] { store().read_diff(image, {}, snapshot(image, 0), 0, sink, {}); });
    refused("not for the client to read", [&] { store().read_ranges(image, snapshot(image, 0), {}, sink, {}); });
  }
}

TEST_CASE_FIXTURE(Abuse, "nothing is moved to the trash, and no record asks for it") {
  refused("'crossover prune'", [&] { store().trash(first, std::chrono::hours(1)); });
  ImageRecord changed = record(first);
  changed.replica->replaces = ImageIdentity{second, state(second).id};
  refused("no other image's place", [&] { write_record(first, changed); });
  // What an unrestricted run left stays or goes; it is not turned against another image.
  ImageRecord left = record(first);
  left.replica->replaces = ImageIdentity{{"backup", "", "vm-99100-disk-7"}, "abc"};
  write_record_there(first, left);
  refused("no other image's place", [&] { write_record(first, changed); });
  write_record(first, left);
  ImageRecord without = left;
  without.replica->replaces.reset();
  write_record(first, without);
}

TEST_CASE_FIXTURE(Abuse, "no other image can be reached, by any operation") {
  for (const ImageSpec& image : {ImageSpec{"backup", "", "vm-500-disk-0"},
                                 {"backup", "", "vm-100000-disk-0"},
                                 {"backup", "", "vm-099100-disk-0"},
                                 {"backup", "", "base-99100-disk-0"},
                                 {"backup", "", "xvm-99100-disk-0"},
                                 {"backup", "", "vm-99100"},
                                 {"backup", "", "vm-99100-"},
                                 {"backup", "ns", "vm-99100-disk-0-ssd"},
                                 {"other", "", "vm-99100-disk-0-ssd"},
                                 {"backup", "", "x/vm-99100-disk-0-ssd"},
                                 {"backup", "", "vm-99100-disk-0-ssd@a"}}) {
    const Snapshot any{1, "crossover-default-20261123T120000Z", 4096};
    Nowhere sink;
    const std::string part = "no image of the VMIDs 99000-99999 on copy";
    refused(part, [&] { store().find(image); });
    refused(part, [&] { store().find_all({&image, 1}); });
    refused(part, [&] { store().create(image, {}); });
    refused(part, [&] { store().remove(image); });
    refused(part, [&] { store().trash(image, std::chrono::hours(1)); });
    refused(part, [&] { store().create_snapshot(image, any.name); });
    refused(part, [&] { store().remove_snapshot(image, any); });
    refused(part, [&] { store().hold(image, {}); });
    refused(part, [&] { store().set_metadata(image, std::string(replica_key), "{}"); });
    refused(part, [&] { store().remove_metadata(image, "crossover.progress"); });
    refused(part, [&] { store().head_unchanged_since(image, any, {}); });
    refused(part, [&] { store().hash_blocks(image, any, {}, [](const BlockHash&) {}, {}); });
  }
  ImageLayout elsewhere;
  elsewhere.data_pool = "other";
  refused("another data pool", [&] { store().create({"backup", "", "vm-99200-disk-0"}, elsewhere); });
  refused("another pool", [&] { store().available_bytes("other"); });
}

TEST_CASE_FIXTURE(Abuse, "no other way into a Ceph can be brought along") {
  const auto with = [&](const std::function<void(CephAccess&)>& change) {
    CephAccess other = access();
    change(other);
    return other;
  };
  for (const CephAccess& other :
       {with([](CephAccess& a) { a.user = "root"; }), with([](CephAccess& a) { a.keyring = "/root/x"; }),
        with([](CephAccess& a) { a.conf = "/tmp/evil.conf"; }),
        with([](CephAccess& a) { a.monitors = {"10.0.0.66"}; }),
        with([](CephAccess& a) { a.with_defaults = true; })}) {
    refused("--destination-user", [&] { stores.open(other); });
  }
}

TEST_CASE_FIXTURE(Abuse, "somebody else's image of an allowed VMID is not claimed, emptied or removed") {
  const ImageSpec theirs{"backup", "", "vm-99300-disk-0"};
  ImageLayout layout;
  layout.size_bytes = 8192;
  clusters.replica_images.create(theirs, layout);
  clusters.replica_images.write(theirs, 0, std::vector<std::byte>(4096, std::byte{1}));
  is_empty = false;
  ImageRecord claim = record(first);
  claim.replica->points.clear();
  claim.replica->target_vmid = 99300;
  claim.replica->image_id = state(theirs).id;
  claim.replica->pool_id = state(theirs).pool_id;
  claim.replica->state = ReplicaState::applying;
  claim.replica->end_snapshot.clear();
  refused("it is not empty", [&] { write_record(theirs, claim); });
  refused("no first copy", [&] { store().remove(theirs); });
  refused("no transfer", [&] { hold(theirs)->write_diff({}, {}); });
  refused("no transfer", [&] { hold(theirs)->roll_back({}, {}); });
  refused("not the recovery point", [&] { hold(theirs)->create_snapshot("crossover-default-20261123T150000Z"); });
  const Snapshot kept = clusters.replica_images.create_snapshot(theirs, "crossover-default-20261101T000000Z");
  clusters.replica_images.write(theirs, 0, std::vector<std::byte>(4096, std::byte{2}));
  refused("'crossover prune'", [&] { store().remove_snapshot(theirs, kept); });
  refused("already", [&] { write_record(theirs, claim); });
  clusters.replica_images.set_metadata(theirs, "crossover.other", "x");
  refused("no record says", [&] { hold(theirs); });
}

TEST_CASE_FIXTURE(Abuse, "a replica that was recovered is no replica any more") {
  const std::string key{point_key_prefix};
  const std::string config = state(first).metadata.at(key + points[1]);
  const std::string present = clusters.destination.config(99100).value();
  for (const ImageSpec& image : {first, second}) {
    const ImageRecord mirrored = record(image);
    // Who holds an image when a recovery begins can do no more than who comes later.
    const std::unique_ptr<ImageHold> held = hold(image);
    for (const ReplicaState how_far : {ReplicaState::applying, ReplicaState::applied, ReplicaState::complete}) {
      ImageRecord promoted = mirrored;
      promoted.replica->promoted = Promotion{points[1], clusters.clock.now()};
      promoted.replica->state = how_far;
      promoted.replica->end_snapshot = "crossover-default-20261123T150000Z";
      write_record_there(image, promoted);
      refused("was recovered", [&] { hold(image); });
      for (const ImageRecord& wanted : {mirrored, promoted}) {
        refused("was recovered", [&] { held->set_metadata(std::string(replica_key), render_replica(wanted.replica.value())); });
      }
      refused("was recovered", [&] { held->set_metadata(key + points[1], config); });
      refused("was recovered", [&] { held->remove_metadata(std::string(progress_key)); });
      refused("was recovered", [&] { held->roll_back(snapshot(image, 0), {}); });
      refused("was recovered", [&] { held->write_diff({}, {}); });
      refused("was recovered", [&] { held->create_snapshot("crossover-default-20261123T150000Z"); });
      refused("'crossover prune'", [&] { store().remove_snapshot(image, snapshot(image, 0)); });
      refused("'crossover prune'", [&] { store().remove(image); });
      // One disk that is promoted makes the guest one of its own.
      refused("was recovered", [&] {
        hypervisor.write_config("w1", 99100, ConfigVersion{present}, present + "tags: x\n", {});
      });
      refused("was recovered", [&] { hypervisor.write_firewall(99100, "x", {}); });
    }
    write_record_there(image, mirrored);
  }
  // A first copy that is promoted is not one to be removed, whatever else its record lacks.
  ImageRecord empty = record(second);
  empty.replica->points.clear();
  empty.replica->state = ReplicaState::applying;
  empty.replica->promoted = Promotion{points[1], clusters.clock.now()};
  write_record_there(second, empty);
  refused("'crossover prune'", [&] { store().remove(second); });
  refused("'crossover prune'", [&] { store().remove_snapshot(second, snapshot(second, 0)); });
}

TEST_CASE_FIXTURE(Abuse, "other guests are only known to be there") {
  clusters.destination.put_guest(500, "w2", "name: secret\ncipassword: x\n", Power::running);
  clusters.destination.inventory.snippets.insert("local:snippets/a");
  clusters.destination.inventory.ceph_files = {"copy.keyring", "other.keyring"};
  const ClusterInventory seen = hypervisor.survey({}, {});
  CHECK(seen.guests.at(500).config.empty());
  CHECK(seen.guests.at(500).node == "w2");
  CHECK(seen.guests.at(500).power == Power::unknown);
  CHECK(seen.guests.at(99100).config == clusters.destination.config(99100));
  CHECK(seen.snippets.empty());
  CHECK(seen.ceph_files == std::set<std::string>{"copy.keyring"});
  CHECK(seen.restriction == context.restriction);
}

TEST_CASE_FIXTURE(Abuse, "no guest is started, stopped, destroyed or given to high availability") {
  clusters.destination.put_guest(500, "w2", "name: theirs\nagent: 1\n", Power::running);
  for (const auto& [vmid, node] : {std::pair(99100U, "w1"), std::pair(500U, "w2")}) {
    refused("no guest is started", [&] { switches.start(node, vmid, {}); });
    for (const bool force : {false, true}) {
      refused("no guest is shut down", [&] { switches.shut_down(node, vmid, std::chrono::seconds(1), force, {}); });
    }
    refused("no guest is suspended", [&] { switches.suspend(node, vmid, "copy", {}); });
    refused("no guest's high availability", [&] { switches.set_ha_state(vmid, "started", {}); });
    refused("no guest is destroyed", [&] { switches.destroy(node, vmid, {}); });
  }
  refused("no volume is removed", [&] { switches.free_volume("w1", "copy:vm-99100-disk-0-ssd", {}); });
  refused("none of the VMIDs", [&] { (void)switches.power("w2", 500, {}); });
  refused("none of the VMIDs", [&] { (void)switches.agent_answers("w2", 500, {}); });
  CHECK(switches.power("w1", 99100, {}) == Power::stopped);
  CHECK_FALSE(switches.agent_answers("w1", 99100, {}));
  clusters.destination.inventory.guests.at(99100).power = Power::running;
  CHECK(switches.power("w1", 99100, {}) == Power::running);
  CHECK(switches.agent_answers("w1", 99100, {}));
}

TEST_CASE_FIXTURE(Abuse, "no other guest is configured, and nothing comes in that is refused") {
  const std::string present = clusters.destination.config(99100).value();
  const ConfigVersion expected{present};
  const auto write = [&](std::uint32_t vmid, const std::optional<ConfigVersion>& before, const std::string& bytes) {
    hypervisor.write_config("w1", vmid, before, bytes, {});
  };
  clusters.destination.put_guest(500, "w1", "name: theirs\n", Power::stopped);
  const ConfigVersion theirs{"name: theirs\n"};
  refused("none of the VMIDs", [&] { write(500, theirs, "name: mine\n"); });
  refused("none of the VMIDs", [&] { hypervisor.read_config("w1", 500, {}); });
  refused("none of the VMIDs", [&] { hypervisor.write_firewall(500, "[OPTIONS]\n", {}); });
  for (const HoldWay way : {HoldWay::freeze, HoldWay::pause}) {
    refused("only a source", [&] { hypervisor.hold_guest(way, "w1", 99100, std::chrono::seconds(1), {}); });
  }
  refused("only a source", [&] { hypervisor.hold_config("w1", 99100, expected, present); });
  for (const char* line : {"args: -device x",
                           "hookscript: local:snippets/a.pl",
                           "hostpci0: 01:00.0",
                           "hostpci1: mapping=gpu",
                           "usb0: host=1234:5678",
                           "usb1: mapping=stick",
                           "usb2: host=spice,mapping=stick",
                           "serial0: /dev/ttyS0",
                           "parallel0: /dev/parport0",
                           "virtiofs0: dirid=etc",
                           "cicustom: user=local:snippets/u.yml",
                           "rng0: source=/dev/hwrng",
                           "ivshmem: size=32",
                           "scsi5: /dev/sda",
                           "scsi5: local-lvm:vm-99100-disk-9",
                           "scsi5: copy:vm-500-disk-0",
                           "scsi5: copy:base-500-disk-0/vm-99100-disk-0",
                           "ide2: local:iso/a.iso,media=cdrom",
                           "ide2: cdrom,media=cdrom",
                           "cdrom: cdrom",
                           "efidisk0: copy:vm-500-disk-0",
                           "unused0: copy:vm-500-disk-0",
                           "vmstate: copy:vm-99100-state-x",
                           "vmstatestorage: local",
                           "onboot: 1",
                           "lock: backup",
                           "nonsense: 1",
                           "running-nets-host-mtu: net0=1",
                           "scsi6: copy:vm-99100-disk-0,import-from=/etc/shadow",
                           "[PENDING]\nargs: -x",
                           "[old]\nmemory: 1",
                           "[special:cloudinit]\nargs: x"}) {
    CAPTURE(line);
    refused("is refused", [&] { write(99100, expected, present + line + "\n"); });
    refused("is refused", [&] { write(99400, std::nullopt, std::string("memory: 1\n") + line + "\n"); });
  }
  // What may be there.
  ImageLayout layout;
  layout.size_bytes = 4096;
  clusters.replica_images.create({"backup", "", "vm-99400-disk-0"}, layout);
  claim({"backup", "", "vm-99400-disk-0"}, 99400);
  write(99400, std::nullopt,
        "memory: 1\nusb0: spice,usb3=1\nserial0: socket\nrng0: source=/dev/urandom\nide2: none,media=cdrom\n"
        "ide0: copy:vm-99400-cloudinit,media=cdrom\nscsi0: copy:vm-99400-disk-0\nnet0: virtio,bridge=vmbr0\n");
}

TEST_CASE_FIXTURE(Abuse, "no volume's name and no setting's value becomes an option of QEMU") {
  const std::string present = clusters.destination.config(99100).value();
  for (const char* line : {"scsi5: copy:vm-99100-x:conf=/tmp/evil",
                           "scsi5: copy:vm-99100-x:id=admin",
                           "scsi5: file=copy:vm-99100-x=y",
                           "scsi5: copy:vm-99100-x@snap",
                           "scsi5: copy:vm-99100-x\\y",
                           "scsi5: copy:vm-99100-x'y",
                           "scsi5: copy:vm-99100-x\"y",
                           "scsi5: copy:vm-99100-x y",
                           "unused0: copy:vm-99100-x:conf=/tmp/evil",
                           "efidisk0: copy:vm-99100-x:conf=/tmp/evil",
                           "scsi5: copy:vm-99100-disk-0-ssd,format=qcow2",
                           "scsi5: copy:vm-99100-disk-0-ssd,serial=a%2Cromfile=x",
                           "scsi5: copy:vm-99100-disk-0-ssd,serial=a%2Cromfile%3Dx",
                           "ide1: copy:vm-99100-disk-0-ssd,model=a%2cx",
                           "scsi5: copy:vm-99100-disk-0-ssd,scsiblock=1",
                           "scsihw: virtio-scsi-pci,romfile=/etc/shadow",
                           "scsihw: x,romfile=/etc/shadow",
                           "vga: std,romfile=/etc/shadow",
                           "vga: type=std,x=y",
                           "watchdog: i6300esb,romfile=/x",
                           "audio0: device=intel-hda,driver=wav",
                           "net5: virtio,bridge=vmbr0,script=/x",
                           "net5: virtio=AA:BB:CC:DD:EE:FF,bridge=../x",
                           "net5: virtio,virtio=AA:BB,model=e1000,model=virtio",
                           "cpu: host,x=y",
                           "cpu: host,flags=+aes;x=y",
                           "machine: q35,accel=x",
                           "machine: q35 -device x",
                           "smbios1: type=1,file=/etc/shadow",
                           "smbios1: uuid=x,file=/etc/shadow",
                           "bios: /etc/shadow",
                           "arch: ../../x",
                           "keyboard: de,x=/y",
                           "vmgenid: x,y=z",
                           "startdate: now,clock=x",
                           "hugepages: /etc",
                           "numa3: cpus=0,mem-path=/etc",
                           "affinity: 0 sh",
                           "name: a,file=/x",
                           "rng0: source=/dev/urandom,filename=x",
                           "memory: 512,mem-path=/x",
                           "ostype: l26,x",
                           "ipconfig0: ip=dhcp,x=y",
                           "agent: 1,path=/x"}) {
    CAPTURE(std::string(line));
    refused("is refused", [&] {
      hypervisor.write_config("w1", 99100, ConfigVersion{present}, present + line + "\n", {});
    });
  }
  for (const char* line : {"scsi5: copy:vm-99100-x\x01y", "tags: a\x1b[2J", "description: a\x1b[2J"}) {
    CAPTURE(std::string(line));
    refused("it has control characters", [&] {
      hypervisor.write_config("w1", 99100, ConfigVersion{present}, present + line + "\n", {});
    });
  }
  for (const char* name : {"vm-99100-x:conf=y", "vm-99100-x,y", "vm-99100-x=y", "vm-99100-x y", "vm-99100-x\\y",
                           "vm-99100-x\ny", "vm-99100-x'y"}) {
    CAPTURE(name);
    refused("no image", [&] { store().create({"backup", "", name}, {}); });
  }
}

TEST_CASE("what guests have is of the grammar that a restricted agent takes") {
  const Restriction restriction = parse_restriction("copy", "99100");
  const VmConfig config = parse_vm_config(
      "#a note\nacpi: 1\naffinity: 0-3,8\nagent: 1,fstrim_cloned_disks=1,guest-fsfreeze=0,type=virtio\n"
      "audio0: device=ich9-intel-hda,driver=spice\nballoon: 512\nbios: ovmf\nboot: order=scsi0;ide2;net0\n"
      "cipassword: $5$abc./d$e\nciuser: anna\ncores: 4\ncpu: x86-64-v2-AES,flags=+aes;-pcid,hidden=1\n"
      "cpulimit: 1.5\nefidisk0: copy:vm-99100-disk-1,efitype=4m,pre-enrolled-keys=1,size=4M\n"
      "hotplug: disk,network,usb\nide2: none,media=cdrom\nipconfig0: ip=10.0.0.2/24,gw=10.0.0.1,ip6=fe80::1/64\n"
      "machine: pc-q35-9.2+pve1,viommu=virtio\nmemory: current=4096\nmeta: creation-qemu=9.2.0,ctime=1700000000\n"
      "name: www.example.org\nnameserver: 10.0.0.1 fd00::1\n"
      "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,tag=5,trunks=2;4-6,rate=12.5\n"
      "net1: model=e1000,macaddr=BC:24:11:00:00:02,bridge=vmbr1.5\nnuma: 1\n"
      "numa0: cpus=0-3,hostnodes=0,memory=1024,policy=bind\nostype: l26\nrng0: source=/dev/urandom,period=1000\n"
      "scsi0: copy:vm-99100-disk-0,cache=writeback,discard=on,iothread=1,mbps_rd=10.5,serial=WD%20Black-1,size=32G\n"
      "scsihw: virtio-scsi-single\nsearchdomain: example.org\nserial0: socket\n"
      "smbios1: uuid=3e9f7c3a-6b5a-4ac0-9d5c-0d5c7d2b7a11,manufacturer=QUNNRQ==,base64=1\nsockets: 1\n"
      "sshkeys: ssh-ed25519%20AAAA%2Fb%20x%40y\nstartup: order=2,up=30\ntablet: 0\ntags: a;b-c_d\n"
      "tpmstate0: copy:vm-99100-disk-2,size=4M,version=v2.0\nusb0: spice,usb3=1\nusb1: host=spice\n"
      "vga: qxl,memory=32\nvmgenid: 5b3b1f1a-3a4b-4bfb-8d8b-4d0a6f3f2d01\nwatchdog: model=i6300esb,action=reset\n");
  REQUIRE(config.warnings().empty());
  for (const RefusedSetting& setting : refused_settings(config, 99100, restriction)) {
    FAIL_CHECK(setting.key << ": " << setting.value << ", " << setting.reason);
  }
}

TEST_CASE("a disk with an option that is refused is mirrored without the option, and the option is named") {
  Stage stage;
  VmConfig config = parse_vm_config(stage.clusters.source.config(100).value());
  config.set("scsi0", config.get("scsi0").value() + ",serial=a%2Cb");
  config.set("scsihw", "lsi,romfile=x");
  stage.clusters.source.set_config(100, config.to_bytes());
  stage.run_well();
  const VmConfig replica = parse_vm_config(stage.clusters.destination.config(99100).value());
  REQUIRE(replica.get("scsi0"));
  CHECK(contains(*replica.get("scsi0"), "vm-99100-disk-0-ssd"));
  CHECK_FALSE(contains(*replica.get("scsi0"), "serial"));
  CHECK_FALSE(replica.get("scsihw"));
  std::set<std::string> left_out;
  for (const LeftOut& one : only(stage.last).left_out) left_out.insert(one.key + ": " + one.value);
  CHECK(left_out.contains("scsi0: serial=a%2Cb"));
  CHECK(left_out.contains("scsihw: lsi,romfile=x"));
}

TEST_CASE_FIXTURE(Abuse, "a guest that is no replica, or that runs, is not configured") {
  const std::string present = clusters.destination.config(99100).value();
  clusters.destination.put_guest(99500, "w1", "scsi0: copy:vm-99500-disk-0\n", Power::stopped);
  ImageLayout layout;
  layout.size_bytes = 4096;
  clusters.replica_images.create({"backup", "", "vm-99500-disk-0"}, layout);
  const auto write = [&](std::uint32_t vmid, const std::string& before) {
    hypervisor.write_config("w1", vmid, ConfigVersion{before}, before + "tags: x\n", {});
  };
  refused("no record", [&] { write(99500, "scsi0: copy:vm-99500-disk-0\n"); });
  refused("no record", [&] { hypervisor.write_firewall(99500, "x", {}); });
  refused("no replica", [&] { write(99500, "scsi0: local-lvm:vm-99500-disk-0\n"); });
  refused("locked (backup)", [&] { write(99100, "lock: backup\n" + present); });
  write(99100, present);
  // A run holds what it writes; of whoever else has it open a guest that runs is the one that counts.
  clusters.replica_images.set_watchers(second, {"10.0.0.9"});
  write(99100, clusters.destination.config(99100).value());
  hypervisor.write_firewall(99100, "x", {});
  for (const Power power : {Power::running, Power::unknown}) {
    clusters.destination.inventory.guests.at(99100).power = power;
    refused("stopped", [&] { write(99100, clusters.destination.config(99100).value()); });
    refused("stopped", [&] { hypervisor.write_firewall(99100, "y", {}); });
    // Nothing says that it has its disks open.
    clusters.replica_images.set_watchers(second, {});
    refused("stopped", [&] { write(99100, clusters.destination.config(99100).value()); });
  }
}

TEST_CASE_FIXTURE(Abuse, "a configuration is made only for replicas that are there, where no guest is") {
  const auto create = [&](std::uint32_t vmid, const std::string& bytes) {
    hypervisor.write_config("w1", vmid, std::nullopt, bytes, {});
  };
  refused("no disk of it is one", [&] { create(99400, "memory: 1\n"); });
  refused("no disk of it is one", [&] { create(99400, "ide2: none,media=cdrom\n"); });
  refused("no record", [&] { create(99400, "scsi0: copy:vm-99400-disk-0\n"); });
  const ImageSpec unclaimed{"backup", "", "vm-99400-disk-0"};
  ImageLayout layout;
  layout.size_bytes = 4096;
  clusters.replica_images.create(unclaimed, layout);
  refused("no record", [&] { create(99400, "scsi0: copy:vm-99400-disk-0\n"); });
  refused("no record", [&] { create(99400, "unused0: copy:vm-99400-disk-0\n"); });
  claim(unclaimed, 99400);
  create(99400, "scsi0: copy:vm-99400-disk-0\n");

  // There is one, on this node, on another, or it is a container.
  refused("the VMID is taken", [&] { create(99400, "scsi0: copy:vm-99400-disk-0\n"); });
  clusters.destination.put_guest(99600, "w2", "name: theirs\n", Power::stopped);
  refused("the VMID is taken", [&] { create(99600, "scsi0: copy:vm-99600-disk-0\n"); });
  clusters.destination.inventory.containers[99700] = "w1";
  refused("the VMID is taken", [&] { create(99700, "scsi0: copy:vm-99700-disk-0\n"); });
  const std::string there = clusters.destination.config(99400).value();
  refused("there is none on w2", [&] {
    hypervisor.write_config("w2", 99400, ConfigVersion{there}, there + "tags: x\n", {});
  });

  // A disk more that is no replica's, or another guest's.
  clusters.replica_images.create({"backup", "", "vm-99400-zz"}, layout);
  const auto replace = [&] {
    hypervisor.write_config("w1", 99400, ConfigVersion{there}, there + "scsi1: copy:vm-99400-zz\n", {});
  };
  refused("no record", replace);
  claim({"backup", "", "vm-99400-zz"}, 99400, 4711);
  refused("another guest", replace);
}

TEST_CASE_FIXTURE(Abuse, "a guest without disks is no replica, and has no configuration to be replaced") {
  clusters.destination.put_guest(99500, "w1", "memory: 512\nonboot: 1\nargs: -x\n", Power::stopped);
  const std::string present = clusters.destination.config(99500).value();
  refused("no disk of it is one", [&] {
    hypervisor.write_config("w1", 99500, ConfigVersion{present}, present + "tags: x\n", {});
  });
  refused("no disk of it is one", [&] { hypervisor.write_firewall(99500, "x", {}); });
}

TEST_CASE("restrictions as they are written") {
  const Restriction restriction = parse_restriction("data,data2", "99000-99999, 500");
  CHECK(to_string(restriction) == "VMIDs 99000-99999, 500 on data, data2");
  CHECK(to_string(restriction.vmids) == "99000-99999,500");
  const Restriction named = parse_restriction("data", "500", "site_A-2");
  CHECK(to_string(named) == "VMIDs 500 on data (source site_A-2)");
  CHECK(restriction.name.empty());
  // What a client is told of it; of an agent that knows no names, too.
  for (const Restriction& told : {restriction, named}) CHECK(agent::Json(told).get<Restriction>() == told);
  CHECK(agent::Json(restriction) == agent::Json::parse(R"({"pools":["data","data2"],"vmids":[{"first":99000,"last":99999},
                                                          {"first":500,"last":500}]})"));
  for (const char* name :
       {"-a", "a b", "a\"", "a\n", "a,b", "a.b", "caf\xc3\xa9", "a23456789012345678901234567890123"}) {
    CAPTURE(name);
    CHECK_THROWS_AS(parse_restriction("data", "500", name), Error);
  }
  for (const char* pool : {"a", "-a", "a-", "da ta", "data\"", "da/ta", "1data"}) {
    CAPTURE(pool);
    CHECK_THROWS_AS(parse_restriction(pool, "500"), Error);
  }
  for (const Vmid vmid : {99000U, 99999U, 500U}) CHECK(restriction.allows(vmid));
  for (const Vmid vmid : {98999U, 100000U, 501U, 100U}) CHECK_FALSE(restriction.allows(vmid));
  for (const char* vmids : {"", "99", "200-100", "100-", "-100", "all", "100-200-300", "0100"}) {
    CAPTURE(vmids);
    CHECK_THROWS_AS(parse_restriction("data", vmids), Error);
  }
  CHECK_THROWS_AS(parse_restriction("", "100"), Error);
  CHECK_THROWS_AS(parse_restriction("data,", "100"), Error);
}
