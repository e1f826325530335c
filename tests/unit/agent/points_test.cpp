// Recovery points that an agent receives: a source's run and both ends of the agent's connections, over clusters in
// memory.
#include <doctest/doctest.h>

#include <algorithm>
#include <future>
#include <memory>

#include "agent/agent_receivers.hpp"
#include "agent/offer_messages.hpp"
#include "agent/server.hpp"
#include "crossover/error.hpp"
#include "engine/give_way.hpp"
#include "plan/record.hpp"
#include "plan/recovery_mark.hpp"
#include "support/no_hypervisor.hpp"
#include "support/records.hpp"
#include "support/socket_shell.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

const ImageSpec first{"backup", "", "vm-99100-disk-0-ssd"};
const ImageSpec second{"backup", "", "vm-99100-disk-1-hdd"};

/// Connections, each with a server of its own at the far end. Nothing but points goes through them.
class FarReceivers final : public Receivers {
 public:
  explicit FarReceivers(Reception& reception)
      : shell_(std::make_shared<SocketShell>([&reception](int in, int out) {
          NoHypervisor hypervisor;
          MemoryImageStore none{"cccccccc-2222-3333-4444-555555555555"};
          OneStore stores(none);
          agent::Server(in, out, {{hypervisor, hypervisor, stores}, &reception}).serve({});
        })),
        pool_(std::make_shared<agent::ConnectionPool>(shell_)),
        receivers_(pool_, {}) {}

  std::unique_ptr<PointReceiver> begin(const PointOffer& offer, const GuestPlan& plan, TakeNote note,
                                       std::stop_token stop) override {
    return receivers_.begin(offer, plan, std::move(note), std::move(stop));
  }

 private:
  std::shared_ptr<SocketShell> shell_;
  std::shared_ptr<agent::ConnectionPool> pool_;
  AgentReceivers receivers_;
};

struct Stage {
  explicit Stage(bool restricted) {
    if (restricted) clusters.restriction = parse_restriction("copy", "99000-99999");
    clusters.options.keep_local = "1d";
    clusters.options.keep_remote = "1d";
    clusters.through = [](Reception& reception) { return std::make_unique<FarReceivers>(reception); };
    clusters.add_guest(100);
  }

  const GuestReport& run() {
    last = clusters.run();
    clusters.clock.time += std::chrono::minutes(10);
    REQUIRE(last.guests.size() == 1);
    return last.guests.front();
  }

  std::string run_well() {
    const GuestReport& guest = run();
    CAPTURE(guest.error);
    REQUIRE(guest.outcome == Outcome::ok);
    for (const ImageSpec& image : {first, second}) {
      const ImageSpec source = clusters.image_of(100, image == first ? "scsi0" : "scsi1");
      CHECK(clusters.replica_images.content(image, guest.recovery_point) ==
            clusters.source_images.content(source, guest.recovery_point));
      CHECK(clusters.replica_images.content(image) == clusters.replica_images.content(image, guest.recovery_point));
    }
    CHECK(clusters.is_let_go());
    CHECK_FALSE(parse_vm_config(clusters.destination.config(99100).value()).get("lock"));
    const auto complete = [&] {
      const ReplicaReport there = clusters.points(99100);
      return std::any_of(there.points.begin(), there.points.end(), [&](const RecoveryPoint& point) {
        return point.name == guest.recovery_point && point.complete && !point.bad;
      });
    };
    CHECK(complete());
    return guest.recovery_point;
  }

  ReplicaRecord record(const ImageSpec& image) {
    return image_record(clusters.replica_images.find(image).value()).replica.value();
  }

  TwoClusters clusters;
  MirrorReport last;
};

}  // namespace

TEST_CASE("points are received through an agent as they are without one") {
  for (const bool restricted : {false, true}) {
    CAPTURE(restricted);
    Stage stage(restricted);
    stage.run_well();
    for (int round = 0; round < 3; ++round) {
      stage.clusters.write_at_random();
      stage.run_well();
    }
    CHECK(stage.clusters.points(99100).points.size() == 4);
    // A disk more, then one less: what the older points have stays theirs.
    stage.clusters.add_disk(100, "scsi2", "hdd", "vm-100-disk-2", 32768);
    stage.run_well();
    VmConfig config = parse_vm_config(stage.clusters.source.config(100).value());
    config.remove("scsi2");
    stage.clusters.source.set_config(100, config.to_bytes());
    stage.run_well();
    const ReplicaReport there = stage.clusters.points(99100);
    CHECK(there.points.size() == 6);
    CHECK(std::all_of(there.points.begin(), there.points.end(),
                      [](const RecoveryPoint& point) { return point.complete; }));
    CHECK(there.former_images.size() == 1);
  }
}

TEST_CASE("a transfer that is cut is gone on with through an agent, wherever it was cut") {
  for (const bool restricted : {false, true}) {
    for (const char* where : {"destination write_diff backup/vm-99100-disk-1-hdd finish #1",
                              "destination write_diff backup/vm-99100-disk-0-ssd size #1",
                              "destination hold backup/vm-99100-disk-1-hdd #2",
                              "destination set_metadata backup/vm-99100-disk-1-hdd #3"}) {
      for (const bool is_first_copy : {true, false}) {
        CAPTURE(restricted);
        CAPTURE(where);
        CAPTURE(is_first_copy);
        Stage stage(restricted);
        if (!is_first_copy) {
          stage.run_well();
          stage.clusters.write_at_random();
        }
        stage.clusters.faults.arm(where, Fault::fails);
        CHECK(stage.run().outcome == Outcome::failed);  // it was cut indeed
        stage.clusters.faults.arm();
        CHECK(stage.clusters.is_let_go());
        stage.run_well();
      }
    }
  }
}

TEST_CASE("what was written to a replica is a conflict through an agent, or is dropped on request, and that is said") {
  for (const bool restricted : {false, true}) {
    CAPTURE(restricted);
    Stage stage(restricted);
    stage.run_well();
    stage.clusters.replica_images.write(second, 0, std::vector<std::byte>(512, std::byte{9}));
    const GuestReport& refused = stage.run();
    CHECK(refused.conflict == Conflict::replica_diverged);
    CHECK_FALSE(parse_vm_config(stage.clusters.destination.config(99100).value()).get("lock"));
    stage.clusters.options.discard_changes = true;
    stage.run_well();
    const auto& warnings = stage.last.guests.front().warnings;
    CHECK(std::any_of(warnings.begin(), warnings.end(), [](const std::string& warning) {
      return warning.find("is rolled back to") != std::string::npos;
    }));
  }
}

TEST_CASE("whoever receives gives way to a recovery, and nothing is received while one is under way") {
  Stage stage(true);
  stage.run_well();
  const auto marked = [&](std::chrono::seconds ago) {
    for (const ImageSpec& image : {first, second}) {
      stage.clusters.replica_images.set_metadata(image, std::string(recovery_key),
                                                 render_recovery_mark(stage.clusters.clock.now() - ago));
    }
  };
  marked(std::chrono::minutes(5));
  const GuestReport& refused = stage.run();
  CHECK(refused.outcome != Outcome::ok);
  CHECK(refused.error.find("is being recovered") != std::string::npos);
  // One that was cut does not keep anybody off for ever, nor does one from a clock that is wrong.
  marked(std::chrono::minutes(11));
  stage.run_well();
  marked(-std::chrono::hours(48));
  stage.run_well();

  // In use already.
  OneStore stores(stage.clusters.replica_images);
  std::promise<void> gave_way;
  GiveWay watch(
      stores, [&] { return stage.clusters.clock.now(); }, [&] { gave_way.set_value(); }, std::chrono::milliseconds(1));
  const std::shared_ptr<void> use = watch.use({{}, first});
  marked(std::chrono::seconds(0));
  CHECK(gave_way.get_future().wait_for(std::chrono::seconds(60)) == std::future_status::ready);
}

TEST_CASE("an offer comes out as it was sent") {
  Stage stage(true);
  std::optional<PointOffer> sent;
  stage.clusters.through = nullptr;
  stage.clusters.tamper = [&sent](PointOffer& offer) { sent = offer; };
  stage.clusters.source.inventory.guests.at(100).firewall = "[RULES]\nIN ACCEPT # \xc3\xbc\xff\n";
  (void)stage.run();
  REQUIRE(sent);
  sent->repair = {"crossover-default-20261123T120000Z", {{sent->source_images.begin()->first, {{0, 4096}}}}};
  sent->request.onboot = "";
  const agent::Json json = agent::render_offer(*sent);
  const PointOffer read = agent::parse_offer(agent::parse_json(agent::render_json(json)));
  CHECK(agent::render_offer(read) == json);
  CHECK(read.request.options == sent->request.options);
  CHECK(read.source.guests.at(100).firewall == sent->source.guests.at(100).firewall);
  CHECK(read.source_images == sent->source_images);
  CHECK(read.now == sent->now);

  for (const auto& [key, value] : json.items()) {
    CAPTURE(key);
    agent::Json without = json;
    without.erase(key);
    CHECK_THROWS_AS(agent::parse_offer(without), Error);
    for (const agent::Json& other :
         {agent::Json("x"), agent::Json(-1), agent::Json::array({1}), agent::Json::object()}) {
      agent::Json wrong = json;
      wrong[key] = other;
      if (key != "onboot" || !other.is_string()) CHECK_THROWS_AS(agent::parse_offer(wrong), Error);
    }
  }
}
