/// \file
/// The stage of the tests of a migration.
#pragma once

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

#include "plan/migration_record.hpp"
#include "plan/record.hpp"
#include "support/two_clusters.hpp"

namespace crossover::test {

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A guest on the source that is to be moved. Nothing that runs is ever started on the other side.
struct Stage {
  explicit Stage(bool mirrored = true) {
    clusters.marks.bytes = 1;
    clusters.add_guest(100);
    for (const auto& [here, there, vmid] : {std::tuple{&clusters.source, &clusters.destination, 99100U},
                                            std::tuple{&clusters.destination, &clusters.source, 100U}}) {
      here->on_start = [other = there, id = vmid](std::uint32_t) {
        const auto guest = other->inventory.guests.find(id);
        if (guest == other->inventory.guests.end()) return;
        CAPTURE(id);
        REQUIRE(guest->second.power == Power::stopped);
      };
    }
    for (auto& [name, node] : clusters.destination.inventory.nodes) node.bridges = {"vmbr0"};
    if (mirrored) {
      REQUIRE(clusters.run().guests.at(0).outcome == Outcome::ok);
      pass();
    }
    before = config();
  }

  /// Time goes on and the guest writes, where it runs.
  void pass() {
    clusters.clock.time += std::chrono::minutes(10);
    if (power() == Power::running) clusters.write_at_random();
  }

  GuestReport migrate() {
    const MirrorReport report = clusters.migrate();
    REQUIRE(report.guests.size() == 1);
    pass();
    return report.guests.front();
  }

  /// What is left of one that may have died.
  std::optional<GuestReport> try_migrate() {
    std::optional<GuestReport> report;
    try {
      report = clusters.migrate().guests.at(0);
    } catch (const Error& error) {
      thrown = error.what();
    } catch (const Cancelled&) {
      thrown = "cancelled";
    } catch (...) {
      thrown = "with what is no exception of ours";
    }
    pass();
    return report;
  }

  [[nodiscard]] Power power() const { return clusters.source.inventory.guests.at(100).power; }
  [[nodiscard]] Power target_power() const {
    const auto guest = clusters.destination.inventory.guests.find(99100);
    return guest == clusters.destination.inventory.guests.end() ? Power::stopped : guest->second.power;
  }
  [[nodiscard]] std::string config() const { return clusters.source.config(100).value(); }
  GuestState& source_guest() { return clusters.source.inventory.guests.at(100); }

  std::vector<std::vector<std::byte>> content() {
    return {clusters.source_images.content({"fast", "", "vm-100-disk-0"}),
            clusters.source_images.content({"slow", "", "vm-100-disk-1"})};
  }
  std::vector<std::vector<std::byte>> target_content() {
    return {clusters.replica_images.content(first), clusters.replica_images.content(second)};
  }
  std::optional<MigrationRecord> record() {
    return migration_record(*clusters.source_images.find({"fast", "", "vm-100-disk-0"}));
  }

  void check_moved() {
    CHECK(power() == Power::stopped);
    CHECK(is_fenced(config()));
    CHECK(without_fence(config(), "1") == before);
    CHECK(target_content() == content());
    const VmConfig there = parse_vm_config(clusters.destination.config(99100).value());
    CHECK(there.get("onboot") == "1");
    CHECK_FALSE(there.get("lock"));
    CHECK(record().value().step == MigrationStep::done);
    for (const ImageSpec& image : {first, second}) {
      CHECK(image_record(*clusters.replica_images.find(image)).replica.value().promoted);
    }
  }

  /// As it was before anybody thought of it.
  void check_here() {
    CHECK(config() == before);
    CHECK(power() == Power::running);
    CHECK(target_power() == Power::stopped);
    CHECK_FALSE(record());
    for (const ImageSpec& image : {first, second}) {
      const auto state = clusters.replica_images.find(image);
      if (state) CHECK_FALSE(image_record(*state).replica.value().promoted);
    }
  }

  const ImageSpec first{"backup", "", "vm-99100-disk-0-ssd"};
  const ImageSpec second{"backup", "", "vm-99100-disk-1-hdd"};
  TwoClusters clusters;
  std::string before;
  std::string thrown;
};

}  // namespace crossover::test
