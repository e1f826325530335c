// Waiting ends when the time has passed, whatever somebody does to the clock meanwhile.
#include <doctest/doctest.h>

#include <chrono>

#include "crossover/error.hpp"
#include "engine/wait_until_running.hpp"
#include "support/two_clusters.hpp"

using namespace crossover;
using namespace crossover::test;

TEST_CASE("a guest that does not come up is waited for for a minute") {
  TwoClusters clusters;
  clusters.add_guest(100);
  clusters.source.inventory.guests.at(100).power = Power::stopped;
  SUBCASE("while nobody sets the clock") {}
  SUBCASE("though somebody sets the clock back") {
    clusters.clock.on_wait = [&] { clusters.clock.time -= std::chrono::hours(1); };
  }
  SUBCASE("though somebody sets the clock forward") {
    clusters.clock.on_wait = [&] { clusters.clock.time += std::chrono::hours(1); };
  }
  CHECK_THROWS_WITH_AS(
      wait_until_running(clusters.source, clusters.clock, clusters.source.inventory.entry_node, 100, {}),
      doctest::Contains("it does not run after 60 s"), Error);
  CHECK(clusters.clock.passed.time_since_epoch() == std::chrono::minutes(1));
}
