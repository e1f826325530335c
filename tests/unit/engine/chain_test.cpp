// A to B and B to C: what one link writes is never written back by the other, and a torn B is never sent on.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "crossover/error.hpp"
#include "plan/record.hpp"
#include "support/records.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

const std::string from_a = "crossover-first-20261123T110000Z";

/// The clusters are B and C. B's guest is the replica of a guest in A, by the job "first".
struct Chain {
  Chain() {
    clusters.options.job_name = "second";
    clusters.add_guest(100, 1);
    image = clusters.image_of(100, "scsi0");
    save([&](ReplicaRecord& record) {
      const ImageState state = clusters.source_images.find(image).value();
      record = {.source = {"cccccccc-2222-3333-4444-555555555555", 1, "x", 5},
                .source_image = "p/vm-5-disk-0",
                .job = "first",
                .target_vmid = 100,
                .image_id = state.id,
                .pool_id = state.pool_id,
                .state = ReplicaState::complete,
                .end_snapshot = from_a};
    });
  }

  ReplicaRecord record() {
    return image_record(clusters.source_images.find(image).value()).replica.value_or(ReplicaRecord{});
  }
  /// As the far side of A to B, or whoever promotes B, writes it.
  void save(const std::function<void(ReplicaRecord&)>& change) {
    ReplicaRecord now = record();
    change(now);
    for (const auto& [key, value] : record_keys({now, std::nullopt})) {
      clusters.source_images.set_metadata(image, key, value);
    }
  }

  GuestReport run() {
    clusters.write_at_random();
    clusters.clock.time += std::chrono::minutes(10);
    return clusters.run().guests.at(0);
  }

  /// A run during whose step of that number something else happens. False if there is no such step.
  bool run_with(std::size_t step, const std::function<void()>& something) {
    std::size_t steps = 0;
    clusters.events.at = [&](const Event& event) {
      if (event.kind == EventKind::debug && steps++ == step) something();
    };
    guest = run();
    clusters.events.at = nullptr;
    return steps > step;
  }

  TwoClusters clusters;
  ImageSpec image;
  GuestReport guest;
};

PointIds point_of_a() {
  return {from_a, 7, 8};
}

}  // namespace

TEST_CASE("what A to B records while B to C runs stays, at whichever step") {
  for (std::size_t step = 0;; ++step) {
    CAPTURE(step);
    Chain chain;
    const bool there_is = chain.run_with(step, [&] {
      chain.save([](ReplicaRecord& record) { record.points.push_back(point_of_a()); });
    });
    if (!there_is) {
      CHECK(step > 8);
      break;
    }
    CHECK(chain.record().points == std::vector<PointIds>{point_of_a()});
    CAPTURE(chain.guest.error);
    if (chain.guest.outcome != Outcome::ok) CHECK(chain.guest.retryable);
    REQUIRE(chain.run().outcome == Outcome::ok);
    CHECK(chain.record().points == std::vector<PointIds>{point_of_a()});
  }
}

TEST_CASE("B is recovered while B to C runs, and stays so") {
  for (std::size_t step = 0;; ++step) {
    CAPTURE(step);
    Chain chain;
    const Promotion promotion{from_a, chain.clusters.clock.now(), true};
    const bool there_is = chain.run_with(step, [&] {
      chain.save([&](ReplicaRecord& record) { record.promoted = promotion; });
    });
    if (!there_is) break;
    CHECK(chain.record().promoted == promotion);
    REQUIRE(chain.run().outcome == Outcome::ok);
    CHECK(chain.record().promoted == promotion);
  }
}

TEST_CASE("another job of B records what it is for while this one runs") {
  const SourceJob other{"third", "dddd", 7};
  for (std::size_t step = 0;; ++step) {
    CAPTURE(step);
    Chain chain;
    const bool there_is = chain.run_with(step, [&] {
      const ReplicaRecord record = chain.record();
      chain.clusters.source_images.set_metadata(
          chain.image, source_key("third"),
          render_source_job({chain.clusters.source_images.fsid(), record.pool_id, record.image_id, 100}, other));
    });
    if (!there_is) break;
    REQUIRE(chain.guest.outcome == Outcome::ok);
    const auto source = image_record(chain.clusters.source_images.find(chain.image).value()).source;
    CHECK(source.value().jobs.at("third") == other);
    CHECK(source.value().jobs.at("second").creating.empty());
  }
}

TEST_CASE("what B's far side writes while C's first link writes on the same image stays") {
  // The clusters are A and B here; B to C writes on B's images meanwhile.
  const SourceJob next{"next", "dddd", 7};
  for (std::size_t step = 0;; ++step) {
    CAPTURE(step);
    TwoClusters clusters;
    clusters.add_guest(100, 1);
    REQUIRE(clusters.run().guests.at(0).outcome == Outcome::ok);
    clusters.write_at_random();
    clusters.clock.time += std::chrono::minutes(10);
    const ImageSpec replica = clusters.replica_of(clusters.image_of(100, "scsi0"), 99100);
    std::size_t steps = 0;
    clusters.events.at = [&](const Event& event) {
      if (event.kind != EventKind::debug || steps++ != step) return;
      const ImageState state = clusters.replica_images.find(replica).value();
      clusters.replica_images.set_metadata(
          replica, source_key("next"),
          render_source_job({clusters.replica_images.fsid(), state.pool_id, state.id, 99100}, next));
    };
    const GuestReport guest = clusters.run().guests.at(0);
    if (steps <= step) break;
    REQUIRE_MESSAGE(guest.outcome == Outcome::ok, guest.error);
    const auto source = image_record(clusters.replica_images.find(replica).value()).source;
    REQUIRE(source);
    CHECK(source->jobs.at("next") == next);
  }
}

TEST_CASE("B's own job begins to write to it right before it is to be sent on: that is no point") {
  for (const ReplicaState state : {ReplicaState::applying, ReplicaState::applied, ReplicaState::complete}) {
    CAPTURE(static_cast<int>(state));
    Chain chain;
    chain.clusters.events.at = [&](const Event& event) {
      const bool is_snapshot = event.kind == EventKind::debug && event.text.starts_with("make the snapshot");
      if (!is_snapshot) return;
      chain.save([&](ReplicaRecord& record) {
        record.state = state;
        record.end_snapshot = "crossover-first-20261123T120000Z";
      });
    };
    // It is looked at again, and then there is nothing to wait for if B is whole.
    const GuestReport guest = chain.run();
    const std::vector<Snapshot> snapshots = chain.clusters.source_images.find(chain.image)->snapshots;
    if (state == ReplicaState::complete) {
      CHECK(guest.outcome == Outcome::ok);
      CHECK(snapshots.size() == 1);
      continue;
    }
    CHECK(guest.conflict == Conflict::source_unfinished);
    CHECK(snapshots.empty());
    chain.clusters.events.at = nullptr;
    chain.save([](ReplicaRecord& record) { record.state = ReplicaState::complete; });
    CHECK(chain.run().outcome == Outcome::ok);
  }
}

TEST_CASE("B cannot be looked at once its snapshots are made: they go") {
  Chain chain;
  int failures = 0;
  chain.clusters.faults.at = [&](const std::string& call) {
    if (call != "source find fast/vm-100-disk-0") return;
    if (chain.clusters.source_images.find(chain.image)->snapshots.empty()) return;
    ++failures;
    throw Error(ErrorCode::timeout, "find", to_string(chain.image), "no answer");
  };
  const GuestReport guest = chain.run();
  chain.clusters.faults.at = nullptr;
  CHECK(failures > 0);
  CHECK(guest.outcome == Outcome::failed);
  CHECK(chain.clusters.source_images.find(chain.image)->snapshots.empty());
  CHECK(chain.run().outcome == Outcome::ok);
}
