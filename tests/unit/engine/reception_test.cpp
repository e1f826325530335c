// Recovery points in the hands of a client that does what it likes between the steps of an honest run.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <functional>
#include <memory>

#include "agent/restricted_hypervisor.hpp"
#include "agent/restricted_power.hpp"
#include "agent/restricted_store.hpp"
#include "engine/reception.hpp"
#include "engine/survey.hpp"
#include "plan/record.hpp"
#include "support/records.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

const ImageSpec first{"backup", "", "vm-99100-disk-0-ssd"};
const ImageSpec second{"backup", "", "vm-99100-disk-1-hdd"};

/// A replica with two points, and what receives more of them.
struct Stage {
  Stage() {
    clusters.restriction = restriction;
    clusters.options.keep_local = "1d";
    clusters.options.keep_remote = "1d";
    clusters.add_guest(100);
    run_well();
    clusters.write_at_random();
    run_well();
  }

  std::string run_well() {
    const MirrorReport report = clusters.run();
    clusters.clock.time += std::chrono::minutes(10);
    CAPTURE(report.guests.front().error);
    REQUIRE(report.guests.front().outcome == Outcome::ok);
    return report.guests.front().recovery_point;
  }

  /// What the source would offer now.
  PointOffer offer() {
    std::optional<PointOffer> offered;
    clusters.tamper = [&offered](PointOffer& one) {
      offered = one;
      throw Error(ErrorCode::usage, "offer", "", "it was only to be seen");
    };
    (void)clusters.run();
    clusters.tamper = nullptr;
    REQUIRE(offered);
    return *offered;
  }

  /// The same of a guest that has one new disk in the place of all others.
  PointOffer offer_of_new_disk() {
    PointOffer offered = offer();
    GuestState& guest = offered.source.guests.at(100);
    VmConfig config = parse_vm_config(guest.config);
    config.remove("scsi0");
    config.remove("scsi1");
    config.set("virtio0", "hdd:vm-100-disk-7");
    guest.config = config.to_bytes();
    ImageRef ref = offered.source_images.begin()->first;
    ImageState state = offered.source_images.begin()->second.value();
    ref.spec = {"slow", "", "vm-100-disk-7"};
    state.id = "77";
    state.snapshots.clear();
    state.metadata.clear();
    offered.source_images = {{ref, state}};
    return offered;
  }

  GuestPlan plan(const PointOffer& offered) {
    const Survey found = survey_offered(offered, seen(), false, {});
    return plan_guest(offered.request, found.inventory, found.guests.at(0), offered.now, offered.repair);
  }

  std::unique_ptr<PointReceiver> begin(const PointOffer& offered) {
    return reception.begin(offered, destination_half(plan(offered)), [](const std::string&) {}, {});
  }

  /// Gives every disk, or the first ones of them, all of its content, and its snapshot.
  void give(const GuestPlan& planned, PointReceiver& point, std::size_t disks = 100) {
    for (std::size_t i = 0; i < std::min(disks, planned.disks.size()); ++i) {
      const auto part =
          i == 0 ? point.receive(0, {}) : reception.receive(planned.disks[i].replica, point.transfers().at(i), {});
      const auto sink = part->write(0, {});
      sink->size(planned.disks[i].layout.size_bytes);
      sink->finish();
      part->applied();
      part->make_snapshot();
    }
  }

  static std::vector<Snapshot> ends_of(const GuestPlan& planned) {
    std::vector<Snapshot> ends;
    for (const DiskPlan& disk : planned.disks) {
      ends.push_back({1000 + ends.size(), planned.snapshot, disk.layout.size_bytes});
    }
    return ends;
  }

  std::optional<std::string> lock() {
    return parse_vm_config(clusters.destination.config(99100).value()).get("lock");
  }

  ErrorCode code_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      what = error.what();
      return error.code();
    }
    FAIL("it was done");
    return {};
  }

  Side seen() { return {hypervisor, power, stores}; }

  Restriction restriction = parse_restriction("copy", "99000-99999");
  TwoClusters clusters;
  OneStore all{clusters.replica_images};
  agent::ReceiveContext context{restriction, all, [this] { return clusters.destination.inventory; }};
  agent::RestrictedStores stores{context};
  agent::RestrictedHypervisor hypervisor{clusters.destination, context};
  agent::RestrictedPower power{clusters.destination, context};
  PortReception reception{seen(), {clusters.destination, clusters.destination, all}, ReceiveLimits{},
                          [this] { return clusters.clock.now(); }};
  std::string what;
};

}  // namespace

TEST_CASE_FIXTURE(Stage, "after a step that failed nothing more is done for a client that goes on") {
  const PointOffer offered = offer();
  const GuestPlan planned = plan(offered);
  const auto point = begin(offered);
  PointReceiver& receiver = *point;
  const auto goes_on = [&](const std::function<void()>& step) {
    const std::string before = clusters.dump_destination();
    CHECK(code_of(step) == ErrorCode::usage);
    CHECK(clusters.dump_destination() == before);
  };
  SUBCASE("because it is not what was planned with any more") {
    receiver.carry_out(StepKind::lock_replica);
    clusters.replica_images.write(second, 0, std::vector<std::byte>(512, std::byte{9}));
    CHECK(code_of([&] { receiver.carry_out(StepKind::check_head); }) == ErrorCode::conflict);
    goes_on([&] { receiver.record_point(ends_of(planned)); });
  }
  SUBCASE("because another run has begun what it had planned") {
    receiver.carry_out(StepKind::lock_replica);
    run_well();
    CHECK(code_of([&] { receiver.carry_out(StepKind::check_head); }) == ErrorCode::conflict);
    goes_on([&] { receiver.carry_out(StepKind::check_head); });
    goes_on([&] { receiver.record_point(ends_of(planned)); });
  }
  SUBCASE("because its disks are not complete") {
    receiver.carry_out(StepKind::lock_replica);
    receiver.carry_out(StepKind::check_head);
    receiver.record_point(ends_of(planned));
    give(planned, receiver, 1);
    CHECK(code_of([&] { receiver.carry_out(StepKind::commit); }) == ErrorCode::conflict);
  }
  SUBCASE("because none of its disks is complete") {
    receiver.carry_out(StepKind::lock_replica);
    receiver.carry_out(StepKind::check_head);
    receiver.record_point(ends_of(planned));
    CHECK_THROWS_AS(receiver.carry_out(StepKind::commit), Error);
  }
  SUBCASE("because it was asked for in another way") {
    receiver.carry_out(StepKind::lock_replica);
    receiver.carry_out(StepKind::check_head);
    CHECK(code_of([&] { receiver.carry_out(StepKind::record_point); }) == ErrorCode::usage);
  }
  goes_on([&] { receiver.carry_out(StepKind::commit); });
  // Which would take the lock from a replica that is torn.
  goes_on([&] { receiver.carry_out(StepKind::write_config); });
}

TEST_CASE_FIXTURE(Stage, "a step that comes out of turn is refused, and the plan goes on") {
  const PointOffer offered = offer();
  const GuestPlan planned = plan(offered);
  const auto point = begin(offered);
  CHECK(code_of([&] { point->carry_out(StepKind::commit); }) == ErrorCode::usage);
  point->carry_out(StepKind::lock_replica);
  point->carry_out(StepKind::check_head);
  CHECK(code_of([&] { point->carry_out(StepKind::write_config); }) == ErrorCode::usage);
  point->record_point(ends_of(planned));
  give(planned, *point);
  point->carry_out(StepKind::commit);
  point->carry_out(StepKind::write_config);
  CHECK_FALSE(lock());
}

TEST_CASE_FIXTURE(Stage, "whoever gives up a point leaves the lock to another one that has begun since") {
  const PointOffer offered = offer();
  const GuestPlan planned = plan(offered);
  const auto given_up = begin(offered);
  given_up->carry_out(StepKind::lock_replica);
  SUBCASE("which has sent some of it") {
    const auto point = begin(offer());
    point->carry_out(StepKind::lock_replica);
    point->carry_out(StepKind::check_head);
    point->record_point(ends_of(planned));
    given_up->abandon();
    CHECK(lock() == "migrate");
    point->abandon();
    CHECK(lock() == "migrate");
  }
  SUBCASE("which nobody has") {
    given_up->abandon();
    CHECK_FALSE(lock());
  }
  CHECK_FALSE(clusters.replica_images.is_held());
  run_well();
  CHECK_FALSE(lock());
}

TEST_CASE_FIXTURE(Stage,
                  "what is beside a replica's points is of the same guest, cluster and job, so that they are found") {
  PointOffer offered = offer_of_new_disk();
  std::string part;
  SUBCASE("of another job") {
    offered.request.options.job_name = offered.request.job_name = offered.request.job_label = "other";
    part = "would be beside one of another";
  }
  SUBCASE("of two clusters, one of which is the replica's") {
    Storage& hdd = offered.source.storages.storages.at(1);
    REQUIRE(hdd.id == "hdd");
    hdd.properties.emplace_back("monhost", "10.0.0.9");
    const CephAccess other = storage_access(offered.source, *offered.source.storages.rbd("hdd"));
    auto image = offered.source_images.extract(offered.source_images.begin());
    image.key().access = other;
    offered.source_images.insert(std::move(image));
    offered.source_fsids[other] = "cccccccc-2222-3333-4444-555555555555";
    part = "would be beside one of another";
  }
  SUBCASE("of names without end") {
    offered.source_images.begin()->second->id = std::string(std::size_t{2} << 20, 'x');
    part = "an image's id has 2097152 bytes";
  }
  const std::string before = clusters.dump_destination();
  CHECK(code_of([&] { (void)begin(offered); }) == ErrorCode::permission);
  CHECK_MESSAGE(what.find(part) != std::string::npos, what);
  CHECK(clusters.dump_destination() == before);
}

TEST_CASE_FIXTURE(Stage, "a point that was begun long ago does not come behind those that were made since") {
  const PointOffer offered = offer_of_new_disk();
  const GuestPlan planned = plan(offered);
  const auto point = begin(offered);
  point->carry_out(StepKind::create_image);
  point->carry_out(StepKind::lock_replica);
  point->record_point(ends_of(planned));
  give(planned, *point);
  SUBCASE("if there are any") {
    clusters.clock.time += std::chrono::hours(24 * 7);
    run_well();
    const std::string before = clusters.dump_destination();
    CHECK(code_of([&] { point->carry_out(StepKind::commit); }) == ErrorCode::permission);
    CHECK_MESSAGE(what.find("would not be newer than") != std::string::npos, what);
    CHECK(clusters.dump_destination() == before);
  }
  SUBCASE("if there are none") {
    point->carry_out(StepKind::commit);
    point->carry_out(StepKind::write_config);
    CHECK(clusters.points(99100).points.size() == 3);
  }
}

TEST_CASE_FIXTURE(Stage, "an image of very many small objects is refused, for nothing could be done to it in time") {
  PointOffer offered = offer_of_new_disk();
  ImageLayout& layout = offered.source_images.begin()->second->layout;
  layout.order = 12;
  layout.size_bytes = std::uint64_t{1} << 40;
  CHECK(code_of([&] { (void)begin(offered); }) == ErrorCode::permission);
  CHECK_MESSAGE(what.find("it would have 268435456 objects") != std::string::npos, what);

  layout.size_bytes = std::uint64_t{1} << 20;
  const GuestPlan planned = plan(offered);
  const auto point = begin(offered);
  CHECK(code_of([&] { (void)point->receive(0, {}); }) == ErrorCode::usage);
  point->carry_out(StepKind::create_image);
  point->carry_out(StepKind::lock_replica);
  CHECK(code_of([&] { (void)point->receive(0, {}); }) == ErrorCode::usage);
  point->record_point(ends_of(planned));
  const auto part = point->receive(0, {});
  CHECK(code_of([&] { (void)part->repair({}); }) == ErrorCode::permission);
  const auto sink = part->write(0, {});
  CHECK(code_of([&] { sink->size(std::uint64_t{1} << 40); }) == ErrorCode::permission);
}

TEST_CASE_FIXTURE(Stage, "what a point under way has made is not removed by another run") {
  clusters.add_guest(101);
  clusters.options.vmid = "101";
  const PointOffer offered = offer();
  const GuestPlan planned = plan(offered);
  const auto point = begin(offered);
  point->carry_out(StepKind::create_image);
  point->carry_out(StepKind::lock_replica);
  point->record_point(ends_of(planned));
  give(planned, *point);
  // The source knows nothing of that point, so it would begin anew.
  const GuestReport other = clusters.run().guests.front();
  CHECK(other.outcome != Outcome::ok);
  CHECK_MESSAGE(other.error.find("another run holds it") != std::string::npos, other.error);
  CHECK_NOTHROW(point->carry_out(StepKind::commit));
  CHECK(clusters.points(99101).points.size() == 1);
}

TEST_CASE_FIXTURE(Stage, "a replica whose recovery was cut is not taken back by a record that a client makes up") {
  const ImageState there = clusters.replica_images.find(second).value();
  ImageRecord promoted = image_record(there);
  promoted.replica->promoted = Promotion{run_well(), clusters.clock.now(), true};
  PointOffer offered = offer();
  put_record(clusters.replica_images, second, promoted);
  // The first disk alone, as if it had been promoted on the source from its own replica.
  GuestState& guest = offered.source.guests.at(100);
  VmConfig config = parse_vm_config(guest.config);
  config.remove("scsi1");
  guest.config = config.to_bytes();
  std::erase_if(offered.source_images, [](const auto& image) { return image.first.spec.pool == "slow"; });
  ImageState& disk = offered.source_images.begin()->second.value();
  const ImageState origin = clusters.replica_images.find(first).value();
  ReplicaRecord made_up;
  made_up.source = {clusters.replica_images.fsid(), origin.pool_id, origin.id, 99100};
  made_up.job = "back";
  made_up.target_vmid = 100;
  made_up.image_id = disk.id;
  made_up.pool_id = disk.pool_id;
  made_up.state = ReplicaState::complete;
  made_up.promoted = Promotion{"crossover-back-20261123T120000Z", {}, true};
  put_record(disk.metadata, ImageRecord{made_up, std::nullopt});
  const std::string before = clusters.dump_destination();
  CHECK(code_of([&] { (void)begin(offered); }) == ErrorCode::conflict);
  CHECK_MESSAGE(what.find("replica promoted") != std::string::npos, what);
  CHECK(clusters.dump_destination() == before);
}
