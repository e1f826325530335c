// A mirror run through an agent that is restricted to receiving, and what somebody who has broken into the source
// can do through it: send more, and nothing to what is there.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <span>

#include "agent/messages.hpp"
#include "agent/restricted_hypervisor.hpp"
#include "agent/restricted_power.hpp"
#include "agent/restricted_store.hpp"
#include "engine/reception.hpp"
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

  /// The same of an offer: a run ends with an error that has `part` in it.
  void offer_is_refused(const std::string& part) {
    CAPTURE(part);
    const std::string before = clusters.dump_destination();
    const GuestReport& guest = run();
    CHECK(guest.outcome != Outcome::ok);
    CHECK_MESSAGE(contains(guest.error, part), guest.error);
    CHECK(clusters.dump_destination() == before);
  }

  /// The guest of the replica, offered as one of another VMID.
  void as_vmid(Vmid target) {
    clusters.options.vmid = "100:" + std::to_string(target);
    clusters.options.job_name = "other";
  }

  /// A point whose first transfer was cut; returns its id.
  std::string begin_and_cut() {
    clusters.write_at_random();
    clusters.faults.arm("destination write_diff backup/vm-99100-disk-0-ssd size #1", Fault::fails);
    CHECK(run().outcome == Outcome::failed);
    clusters.faults.arm();
    return record(first).replica->transfer;
  }

  static void remove_line(PointOffer& offer, const std::string& key) {
    GuestState& guest = offer.source.guests.at(100);
    VmConfig config = parse_vm_config(guest.config);
    config.remove(key);
    guest.config = config.to_bytes();
  }

  /// Past the agent, as a program on the destination does.
  void write_record_there(const ImageSpec& image, const ImageRecord& changed) {
    put_record(clusters.replica_images, image, changed);
  }

  ImageStore& store() { return stores.open(access()); }
  CephAccess access() {
    return storage_access(clusters.destination.inventory, *clusters.destination.inventory.storages.rbd("copy"));
  }

  std::vector<std::string> points;
  OneStore all{clusters.replica_images};
  agent::ReceiveContext context{parse_restriction("copy", "99000-99999"), all,
                                [this] { return clusters.destination.inventory; }};
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

TEST_CASE_FIXTURE(Abuse, "a client looks, and every write is refused, of its own images too") {
  const Snapshot any = snapshot(first, 0);
  const std::string present = clusters.destination.config(99100).value();
  Nowhere sink;
  const std::string part = "looks at its images and offers recovery points";
  refused(part, [&] { store().create({"backup", "", "vm-99100-zz"}, {}); });
  refused(part, [&] { store().remove(first); });
  refused(part, [&] { store().trash(first, std::chrono::hours(1)); });
  refused(part, [&] { store().create_snapshot(first, "crossover-default-20261123T150000Z"); });
  refused(part, [&] { store().remove_snapshot(first, any); });
  refused(part, [&] { store().hold(first, {}); });
  refused(part, [&] { store().set_metadata(first, std::string(replica_key), "{}"); });
  refused(part, [&] { store().remove_metadata(first, std::string(point_key_prefix) + points[0]); });
  refused(part, [&] { store().replace_metadata(first, std::string(promotion_key), std::nullopt, "{}"); });
  refused(part, [&] { store().head_unchanged_since(first, any, {}); });
  refused(part, [&] { store().read_diff(first, {}, any, 0, sink, {}); });
  refused(part, [&] { store().read_ranges(first, any, {}, sink, {}); });
  for (const auto& expected : {std::optional<ConfigVersion>(), std::optional(ConfigVersion{present})}) {
    refused("made of what is offered",
            [&] { hypervisor.write_config("w1", 99100, expected, present + "tags: x\n", {}); });
  }
  refused("made of what is offered", [&] { hypervisor.write_firewall(99100, "[OPTIONS]\n", {}); });
  refused("none of the VMIDs", [&] { hypervisor.read_config("w1", 500, {}); });
  for (const HoldWay way : {HoldWay::freeze, HoldWay::pause}) {
    refused("only a source", [&] { hypervisor.hold_guest(way, "w1", 99100, std::chrono::seconds(1), {}); });
  }
  refused("only a source", [&] { hypervisor.hold_config("w1", 99100, ConfigVersion{present}, present); });
}

TEST_CASE_FIXTURE(Abuse, "what a replica holds is not found out by hashes of small blocks, nor what is no point of it") {
  const auto hash = [&](const ImageSpec& image, const Snapshot& one, std::uint64_t block_bytes) {
    const BlockSelection blocks{block_bytes, {{0, block_bytes}}};
    store().hash_blocks(image, one, blocks, [](const BlockHash&) {}, {});
  };
  refused("are not hashed", [&] { hash(first, snapshot(first, 0), 4096); });
  refused("are not hashed", [&] { hash(first, snapshot(first, 0), std::uint64_t{128} << 10); });
  hash(first, snapshot(first, 0), std::uint64_t{256} << 10);
  const Snapshot theirs = clusters.replica_images.create_snapshot(first, "monday");
  refused("no recovery point of a replica", [&] { hash(first, theirs, std::uint64_t{4} << 20); });
  ImageRecord promoted = record(first);
  promoted.replica->promoted = Promotion{points[1], clusters.clock.now()};
  write_record_there(first, promoted);
  refused("no recovery point of a replica", [&] { hash(first, snapshot(first, 0), std::uint64_t{4} << 20); });
}

TEST_CASE_FIXTURE(Abuse, "no other image can be looked at") {
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
                                 {"backup", "", "vm-99100-disk-0-ssd@a"},
                                 {"backup", "", "vm-99100-x:conf=y"},
                                 {"backup", "", "vm-99100-x\ny"}}) {
    const Snapshot any{1, "crossover-default-20261123T120000Z", 4096};
    const std::string part = "no image of the VMIDs 99000-99999 on copy";
    refused(part, [&] { store().find(image); });
    refused(part, [&] { store().find_all({&image, 1}); });
    refused(part, [&] { store().hash_blocks(image, any, {}, [](const BlockHash&) {}, {}); });
  }
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
  const ImageSpec theirs{"backup", "", "vm-99300-disk-0-ssd"};
  ImageLayout layout;
  layout.size_bytes = 8192;
  clusters.replica_images.create(theirs, layout);
  clusters.replica_images.write(theirs, 0, std::vector<std::byte>(4096, std::byte{1}));
  as_vmid(99300);
  offer_is_refused("vm-99300-disk-0-ssd");
  clusters.replica_images.create_snapshot(theirs, "crossover-default-20261101T000000Z");
  offer_is_refused("vm-99300-disk-0-ssd");
  clusters.replica_images.set_metadata(theirs, "crossover.other", "x");
  offer_is_refused("vm-99300-disk-0-ssd");
}

TEST_CASE_FIXTURE(Abuse, "a replica that was recovered is no replica any more") {
  const std::string held = begin_and_cut();
  for (const bool one_disk : {false, true}) {
    for (const ImageSpec& image : {first, second}) {
      if (one_disk && image == second) continue;
      ImageRecord promoted = record(image);
      promoted.replica->promoted = Promotion{points[1], clusters.clock.now()};
      write_record_there(image, promoted);
    }
    offer_is_refused("");
    // Who knew the transfer before does not write to it either.
    OneStore stores_there(clusters.replica_images);
    PortReception reception({hypervisor, switches, stores}, {clusters.destination, clusters.destination, stores_there},
                            ReceiveLimits{}, [this] { return clusters.clock.now(); });
    CHECK_THROWS_AS(reception.receive({access(), first}, held, {}), Error);
  }
}

TEST_CASE_FIXTURE(Abuse, "a disk's part is begun by its own transfer alone") {
  const std::string held = begin_and_cut();
  OneStore stores_there(clusters.replica_images);
  PortReception reception({hypervisor, switches, stores}, {clusters.destination, clusters.destination, stores_there},
                          ReceiveLimits{}, [this] { return clusters.clock.now(); });
  for (const char* other : {"", "x"}) {
    CHECK_THROWS_AS(reception.receive({access(), first}, other, {}), Error);
  }
  CHECK_THROWS_AS(reception.receive({access(), {"backup", "", "vm-500-disk-0"}}, held, {}), Error);
  const std::unique_ptr<DiskReceiver> part = reception.receive({access(), first}, held, {});
  CHECK_THROWS_AS(part->make_snapshot(), Error);
  CHECK_THROWS_AS(part->repair({}), Error);
  // A size that a rollback would take days for is refused before the image has it.
  const std::unique_ptr<DiffSink> sink = part->write(0, {});
  const std::uint64_t before = state(first).layout.size_bytes;
  CHECK_THROWS_AS(sink->size(std::uint64_t{900} << 40), Error);
  CHECK(state(first).layout.size_bytes == before);
}

TEST_CASE_FIXTURE(Abuse, "what was written to the head since the point was begun is not written over") {
  const std::string held = begin_and_cut();
  OneStore stores_there(clusters.replica_images);
  PortReception reception({hypervisor, switches, stores}, {clusters.destination, clusters.destination, stores_there},
                          ReceiveLimits{}, [this] { return clusters.clock.now(); });
  CHECK_NOTHROW(reception.receive({access(), first}, held, {})->write(0, {}));
  clusters.replica_images.write(first, 0, std::vector<std::byte>(512, std::byte{3}));
  const std::unique_ptr<DiskReceiver> part = reception.receive({access(), first}, held, {});
  CHECK_THROWS_AS(part->write(0, {}), Error);
  CHECK_THROWS_AS(part->write(4096, {}), Error);
}

TEST_CASE_FIXTURE(Abuse, "whatever is offered, the points that are complete stay what they are") {
  SUBCASE("a disk less") {
    clusters.tamper = [](PointOffer& offer) { remove_line(offer, "scsi1"); };
  }
  SUBCASE("a disk more, with an image of a name like the replica's own") {
    clusters.tamper = [this](PointOffer& offer) {
      const ImageRef known = offer.source_images.begin()->first;
      ImageRef more = known;
      more.spec.name = "vm-100-zz";
      ImageState state = offer.source_images.at(known).value();
      state.id = "zz";
      state.metadata.clear();
      offer.source_images[more] = state;
      GuestState& guest = offer.source.guests.at(100);
      VmConfig config = parse_vm_config(guest.config);
      config.set("scsi5", "ssd:vm-100-zz");
      guest.config = config.to_bytes();
      (void)this;
    };
  }
  SUBCASE("a point with the time of one that is there") {
    clusters.tamper = [](PointOffer& offer) { offer.now -= std::chrono::hours(24 * 365); };
  }
  SUBCASE("snapshots of the source that are none") {
    clusters.tamper = [](PointOffer& offer) {
      for (auto& [ref, state] : offer.source_images) state->snapshots.clear();
    };
  }
  SUBCASE("the images of another source") {
    clusters.tamper = [](PointOffer& offer) {
      for (auto& [ref, state] : offer.source_images) state->id += "x";
    };
  }
  SUBCASE("another job, with control characters in its name") {
    clusters.tamper = [](PointOffer& offer) {
      offer.request.options.job_name = offer.request.job_name = "default\x1b[2J";
    };
  }
  SUBCASE("records on the source's images that speak of the replica") {
    clusters.tamper = [this](PointOffer& offer) {
      for (auto& [ref, state] : offer.source_images) state->metadata = this->state(first).metadata;
    };
  }
  const auto all_points = [this] {
    std::map<std::string, std::vector<std::byte>> held;
    const ReplicaReport there = clusters.points(99100);
    for (const std::string& point : points) {
      for (const ImageSpec& image : {first, second}) {
        held[point + " " + image.name] = clusters.replica_images.content(image, point);
        held[point + " of " + image.name] = {};
        const auto& metadata = state(image).metadata;
        const auto key = metadata.find(std::string(point_key_prefix) + point);
        REQUIRE(key != metadata.end());
        const auto bytes = std::as_bytes(std::span(key->second));
        held[point + " of " + image.name].assign(bytes.begin(), bytes.end());
      }
      CHECK(std::any_of(there.points.begin(), there.points.end(),
                        [&](const RecoveryPoint& one) { return one.name == point && one.complete; }));
    }
    return held;
  };
  const auto before = all_points();
  clusters.write_at_random();
  (void)run();
  (void)run();
  CHECK(all_points() == before);
  // And each of them can be had.
  RecoverOptions how;
  how.point = points[0];
  clusters.tamper = nullptr;
  CHECK(clusters.recover(99100, how).outcome == Outcome::ok);
  CHECK(clusters.replica_images.content(first) == before.at(points[0] + " " + first.name));
}

TEST_CASE_FIXTURE(Abuse, "what is too much, or of another time, is refused before anything is done") {
  SUBCASE("a point of next week") {
    clusters.tamper = [](PointOffer& offer) { offer.now += std::chrono::hours(24 * 7); };
    offer_is_refused("a day ahead");
  }
  SUBCASE("an image of 900 TiB") {
    clusters.tamper = [](PointOffer& offer) {
      GuestState& guest = offer.source.guests.at(100);
      VmConfig config = parse_vm_config(guest.config);
      config.set("scsi5", "ssd:vm-100-huge");
      guest.config = config.to_bytes();
      const ImageRef known = offer.source_images.begin()->first;
      ImageRef more = known;
      more.spec.name = "vm-100-huge";
      ImageState state = offer.source_images.at(known).value();
      state.id = "huge";
      state.snapshots.clear();
      state.metadata.clear();
      state.layout.size_bytes = std::uint64_t{900} << 40;
      offer.source_images[more] = state;
    };
    offer_is_refused("a replica's image 17592186044416 at most");
  }
  SUBCASE("a configuration that fills /etc/pve") {
    clusters.tamper = [](PointOffer& offer) {
      offer.source.guests.at(100).config.insert(0, "#" + std::string(100000, 'x') + "\n");
    };
    offer_is_refused("65536 at most");
  }
  SUBCASE("firewall rules that do") {
    clusters.tamper = [](PointOffer& offer) { offer.source.guests.at(100).firewall = std::string(300000, '#'); };
    offer_is_refused("262144 at most");
  }
  SUBCASE("control characters in a description") {
    clusters.tamper = [](PointOffer& offer) { offer.source.guests.at(100).config.insert(0, "#a\x1b[2J\n"); };
    offer_is_refused("control characters");
  }
  SUBCASE("another VMID") {
    clusters.tamper = [](PointOffer& offer) { offer.request.vmids.guests.at(0).target = 500; };
    offer_is_refused("VMIDs 99000-99999 on copy");
  }
  SUBCASE("a replica in another one's place") {
    clusters.tamper = [](PointOffer& offer) { offer.request.options.reseed = true; };
    offer_is_refused("--reseed");
  }
  SUBCASE("a mark on a point") {
    clusters.tamper = [this](PointOffer& offer) { offer.repair.point = points[1]; };
    offer_is_refused("as bad");
  }
}

TEST_CASE_FIXTURE(Abuse, "a guest that is no replica, that runs, or that has no disks is not configured") {
  SUBCASE("no replica") {
    as_vmid(99500);
    clusters.destination.put_guest(99500, "w1", "memory: 1\nscsi0: copy:vm-99500-disk-9\n", Power::stopped);
    offer_is_refused("VM 99500");
  }
  SUBCASE("without disks") {
    as_vmid(99500);
    clusters.destination.put_guest(99500, "w1", "memory: 512\nonboot: 1\nargs: -x\n", Power::stopped);
    offer_is_refused("VM 99500");
  }
  SUBCASE("of the same vmgenid, without a record") {
    as_vmid(99500);
    clusters.options.overwrite = true;
    clusters.destination.put_guest(99500, "w1", clusters.source.config(100).value(), Power::stopped);
    offer_is_refused("VM 99500");
  }
  SUBCASE("a container") {
    as_vmid(99500);
    clusters.destination.inventory.containers[99500] = "w1";
    offer_is_refused("99500 is a container");
  }
  SUBCASE("that runs") {
    clusters.destination.inventory.guests.at(99100).power = Power::running;
    offer_is_refused("is running");
  }
  SUBCASE("that nobody knows about") {
    clusters.destination.inventory.guests.at(99100).power = Power::unknown;
    offer_is_refused("does not say");
  }
  SUBCASE("that is locked") {
    clusters.destination.set_config(99100, "lock: backup\n" + clusters.destination.config(99100).value());
    offer_is_refused("is locked (backup)");
  }
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

/// A configuration with the line, whatever a client makes of it, as who receives it takes it.
bool is_left_out(const std::string& line) {
  const Restriction restriction = parse_restriction("copy", "99000-99999");
  VmConfig config = parse_vm_config("memory: 1\nscsi0: copy:vm-99100-disk-0-ssd\n" + line + "\n");
  const bool was_refused = !refused_settings(config, 99100, restriction).empty();
  const bool was_removed = !remove_refused(config, 99100, restriction).empty();
  CHECK(refused_settings(config, 99100, restriction).empty());
  CHECK((config.get("memory") == "1" || line.starts_with("memory")));
  CHECK(config.get("scsi0") == "copy:vm-99100-disk-0-ssd");
  return was_refused && was_removed;
}

TEST_CASE("nothing comes into a configuration that is refused") {
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
    CHECK(is_left_out(line));
  }
  for (const char* line : {"usb0: spice,usb3=1", "serial0: socket", "rng0: source=/dev/urandom", "ide2: none,media=cdrom",
                           "ide0: copy:vm-99100-cloudinit,media=cdrom", "net0: virtio,bridge=vmbr0"}) {
    CAPTURE(line);
    CHECK_FALSE(is_left_out(line));
  }
}

TEST_CASE("no volume's name and no setting's value becomes an option of QEMU") {
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
    CHECK(is_left_out(line));
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
