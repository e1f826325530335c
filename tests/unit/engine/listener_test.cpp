// What only listens decides nothing: a sink that throws, whatever it throws and whenever, ends at most the guest at hand, in
// order.
#include <doctest/doctest.h>

#include <stdexcept>

#include "migrate_stage.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

struct NoException {};

/// Throws at the event of that number, and from then on.
class FailingSink final : public EventSink {
 public:
  FailingSink(int at, bool foreign) : at_(at), foreign_(foreign) {}

  void on_event(const Event& /*event*/) override {
    if (count++ < at_) return;
    if (foreign_) throw NoException{};
    throw std::runtime_error("No space left on device");
  }

  int count = 0;

 private:
  int at_;
  bool foreign_;
};

void two_guests(TwoClusters& clusters) {
  clusters.add_guest(100);
  clusters.add_guest(101);
  clusters.options.vmid = "all";
}

bool runs(MemoryHypervisor& cluster, std::uint32_t vmid) {
  const auto guest = cluster.inventory.guests.find(vmid);
  return guest != cluster.inventory.guests.end() && guest->second.power == Power::running;
}

void check_at_ease(TwoClusters& clusters, std::uint32_t vmid) {
  const VmConfig config = parse_vm_config(clusters.source.config(vmid).value());
  CHECK_FALSE(config.get("lock"));
  CHECK(runs(clusters.source, vmid));
}

}  // namespace

TEST_CASE("a sink that throws at any event of a mirror run ends at most the guests at hand, thawed and unlocked") {
  int events = 0;
  {
    TwoClusters clusters;
    two_guests(clusters);
    FailingSink sink(1 << 20, false);
    REQUIRE(clusters.run(sink).guests.size() == 2);
    events = sink.count;
  }
  REQUIRE(events > 20);
  for (int at = 0; at < events; ++at) {
    for (const bool foreign : {false, true}) {
      CAPTURE(at);
      CAPTURE(foreign);
      TwoClusters clusters;
      two_guests(clusters);
      FailingSink sink(at, foreign);
      const MirrorReport report = clusters.run(sink);
      REQUIRE(report.guests.size() == 2);
      for (const GuestReport& guest : report.guests) {
        if (guest.outcome == Outcome::ok) {
          CHECK_FALSE(guest.recovery_point.empty());
        } else {
          CHECK(guest.error.find("whoever listens to them failed") != std::string::npos);
        }
      }
      for (const std::uint32_t vmid : {100U, 101U}) check_at_ease(clusters, vmid);
      for (const GuestReport& guest : clusters.run().guests) CHECK_MESSAGE(guest.outcome == Outcome::ok, guest.error);
    }
  }
}

TEST_CASE("a sink that throws at any event of a migration leaves the guest running on one side, and its record in order") {
  int events = 0;
  {
    Stage stage;
    stage.clusters.events.at = [&events](const Event&) { ++events; };
    REQUIRE(stage.migrate().outcome == Outcome::ok);
  }
  REQUIRE(events > 20);
  int moved = 0;
  int stayed = 0;
  for (int at = 0; at < events; ++at) {
    for (const bool foreign : {false, true}) {
      CAPTURE(at);
      CAPTURE(foreign);
      Stage stage;
      int count = 0;
      stage.clusters.events.at = [&](const Event&) {
        if (count++ < at) return;
        if (foreign) throw NoException{};
        throw std::runtime_error("No space left on device");
      };
      const GuestReport report = stage.migrate();
      if (report.outcome == Outcome::ok) {
        stage.check_moved();
        ++moved;
        continue;
      }
      CHECK(report.error.find("whoever listens to them failed") != std::string::npos);
      stage.check_here();
      ++stayed;
      stage.clusters.events.at = nullptr;
      CHECK(stage.migrate().outcome == Outcome::ok);
      stage.check_moved();
    }
  }
  CHECK(moved > 0);
  CHECK(stayed > 0);
}

TEST_CASE("a sink that throws does not keep a recovery from its end") {
  TwoClusters clusters;
  clusters.add_guest(100);
  const std::string point = clusters.run().guests.at(0).recovery_point;
  clusters.events.at = [](const Event&) { throw NoException{}; };
  const RecoverReport report = clusters.recover(99100, {.start = true});
  CHECK_MESSAGE(report.outcome == Outcome::ok, report.error);
  CHECK(report.point == point);
  CHECK(runs(clusters.destination, 99100));
}
