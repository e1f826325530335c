/// \file
/// What must hold after every run, whatever went wrong in it.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "crossover/snapshot_name.hpp"
#include "plan/guest_disks.hpp"
#include "plan/record.hpp"
#include "plan/replica_config.hpp"
#include "support/two_clusters.hpp"

namespace crossover::test {

/// Remembers what the guest's disks held at each moment a run could have made a point of, and compares.
class PointKeeper {
 public:
  PointKeeper(TwoClusters& clusters, std::uint32_t vmid, std::uint32_t target_vmid)
      : clusters_(clusters), vmid_(vmid), target_vmid_(target_vmid) {}

  /// Call it after a run and before the guest writes again.
  void remember() {
    for (const auto& [source, replica] : disks()) {
      for (const std::string& name : ours(clusters_.source_images, source)) {
        history_[usual(replica)].try_emplace(name, clusters_.source_images.content(source));
      }
    }
  }

  /// Names of the recovery points on the destination.
  [[nodiscard]] std::set<std::string> points() const {
    std::set<std::string> points;
    for (const ImageSpec& replica : clusters_.replica_images.images()) {
      const auto state = clusters_.replica_images.find(replica);
      for (const auto& [key, value] : state->metadata) {
        if (!key.starts_with(point_key_prefix)) continue;
        // With an image that was moved to the trash went its points.
        const PointConfig config = parse_point(value);
        const bool is_whole = std::all_of(config.images.begin(), config.images.end(), [&](const std::string& name) {
          return clusters_.replica_images.find({"backup", "", name.substr(name.find('/') + 1)}).has_value();
        });
        if (is_whole) points.insert(key.substr(point_key_prefix.size()));
      }
    }
    return points;
  }

  /// Points that both sides have of every disk of the guest: one of them is the next base.
  [[nodiscard]] std::set<std::string> bases() const {
    std::set<std::string> bases = points();
    for (const auto& [source, replica] : disks()) {
      const std::vector<std::string> here = ours(clusters_.source_images, source);
      const std::vector<std::string> there = ours(clusters_.replica_images, replica);
      std::erase_if(bases, [&](const std::string& name) {
        return std::find(here.begin(), here.end(), name) == here.end() ||
               std::find(there.begin(), there.end(), name) == there.end();
      });
    }
    return bases;
  }

  /// The point that every disk's record says was begun and is not complete, and that the source still has; empty if
  /// there is none: what the next run has to complete.
  [[nodiscard]] std::string begun() const {
    std::set<std::string> names;
    for (const auto& [source, replica] : disks()) {
      const auto state = clusters_.replica_images.find(replica);
      const auto record = state ? image_record(*state).replica : std::nullopt;
      if (!record || record->state == ReplicaState::complete || record->transfer.empty()) return "";
      const std::vector<std::string> here = ours(clusters_.source_images, source);
      if (std::find(here.begin(), here.end(), record->end_snapshot) == here.end()) return "";
      names.insert(record->end_snapshot);
    }
    return names.size() != 1 || points().contains(*names.begin()) ? "" : *names.begin();
  }

  /// Every point is whole and right; a replica that could be started holds one.
  void check_replica() const {
    const std::set<std::string> known = points();
    for (const std::string& point : known) {
      CAPTURE(point);
      const PointConfig config = point_config(point);
      CHECK(config.target_vmid == target_vmid_);
      CHECK_FALSE(config.images.empty());
      for (const std::string& name : config.images) {
        const ImageSpec replica{"backup", "", name.substr(name.find('/') + 1)};
        CAPTURE(name);
        const auto remembered = history_.find(usual(replica));
        REQUIRE(remembered != history_.end());
        REQUIRE(remembered->second.contains(point));
        // The same bytes, size included.
        CHECK(clusters_.replica_images.content(replica, point) == remembered->second.at(point));
      }
    }
    const auto config = clusters_.destination.config(target_vmid_);
    if (!config || without_lock(*config) != *config) return;
    for (const GuestDisk& disk :
         guest_disks(parse_vm_config(*config), clusters_.destination.inventory, true).replicated) {
      const ImageSpec& replica = disk.image.spec;
      CAPTURE(to_string(replica));
      const std::vector<std::byte> head = clusters_.replica_images.content(replica);
      const auto before = as_it_was_.find(replica);
      if (before != as_it_was_.end() && before->second == head) continue;
      std::string newest;
      for (const std::string& point : known) {
        const std::vector<std::string> images = point_config(point).images;
        if (std::find(images.begin(), images.end(), to_string(replica)) != images.end()) newest = point;
      }
      REQUIRE_FALSE(newest.empty());
      const bool is_newest = head == history_.at(usual(replica)).at(newest);
      CHECK(is_newest);
    }
  }

  /// What the replica's heads hold now may stay there until a run makes a point: it is not for every run to change.
  void keep_as_it_was() {
    for (const ImageSpec& replica : clusters_.replica_images.images()) {
      as_it_was_[replica] = clusters_.replica_images.content(replica);
    }
  }

  void check_source(const std::string& config_before) const {
    CHECK_FALSE(clusters_.source.held(vmid_));
    CHECK(clusters_.source.config(vmid_) == config_before);
  }

  /// After a run that went well: the newest point is what the guest holds, and nothing is left lying about.
  void check_in_step() const {
    REQUIRE_FALSE(points().empty());
    const std::string newest = *points().rbegin();
    CAPTURE(newest);
    CHECK(bases().contains(newest));
    for (const auto& [source, replica] : disks()) {
      CHECK(clusters_.replica_images.content(replica, newest) == clusters_.source_images.content(source));
      CHECK(clusters_.replica_images.content(replica) == clusters_.source_images.content(source));
      const auto record = image_record(*clusters_.replica_images.find(replica)).replica;
      REQUIRE(record);
      CHECK(record->state == ReplicaState::complete);
      CHECK(record->transfer.empty());
      CHECK_FALSE(record->point);
      CHECK_FALSE(clusters_.replica_images.find(replica)->metadata.contains(std::string(progress_key)));
      for (const std::string& name : ours(clusters_.replica_images, replica)) {
        CAPTURE(name);
        CHECK(points().contains(name));
      }
    }
    const std::string config = clusters_.destination.config(target_vmid_).value();
    CHECK(without_lock(config) == config);
    CHECK(parse_vm_config(config).get("onboot") == "0");
  }

 private:
  /// Source and replica of each disk.
  [[nodiscard]] std::vector<std::pair<ImageSpec, ImageSpec>> disks() const {
    std::vector<std::pair<ImageSpec, ImageSpec>> disks;
    const VmConfig config = parse_vm_config(clusters_.source.config(vmid_).value());
    for (const GuestDisk& disk : guest_disks(config, clusters_.source.inventory, true).replicated) {
      disks.emplace_back(disk.image.spec, replica_of(disk));
    }
    return disks;
  }

  /// What the replica's configuration names for the disk, else the image of the usual name. While a new copy is
  /// made beside it, that.
  [[nodiscard]] ImageSpec replica_of(const GuestDisk& disk) const {
    const ImageSpec usual_name = clusters_.replica_of(disk.image.spec, target_vmid_);
    const auto config = clusters_.destination.config(target_vmid_);
    if (!config) return usual_name;
    for (const GuestDisk& named :
         guest_disks(parse_vm_config(*config), clusters_.destination.inventory, true).replicated) {
      if (named.key != disk.key || usual(named.image.spec) != usual_name) continue;
      if (!clusters_.options.reseed || named.image.spec != usual_name) return named.image.spec;
      return {usual_name.pool, "", usual_name.name + "-r2"};
    }
    return usual_name;
  }

  /// A copy's name without what tells it from the image it was made beside.
  static ImageSpec usual(ImageSpec image) {
    if (image.name.size() > 3 && image.name.substr(image.name.size() - 3, 2) == "-r") {
      image.name.resize(image.name.size() - 3);
    }
    return image;
  }

  static std::vector<std::string> ours(MemoryImageStore& store, const ImageSpec& image) {
    std::vector<std::string> names;
    const auto state = store.find(image);
    if (!state) return names;
    for (const Snapshot& snapshot : state->snapshots) {
      if (parse_snapshot_name(snapshot.name)) names.push_back(snapshot.name);
    }
    return names;
  }

  [[nodiscard]] PointConfig point_config(const std::string& point) const {
    const std::string key = std::string(point_key_prefix) + point;
    for (const ImageSpec& replica : clusters_.replica_images.images()) {
      const auto state = clusters_.replica_images.find(replica);
      if (state->metadata.contains(key)) return parse_point(state->metadata.at(key));
    }
    return {};
  }

  TwoClusters& clusters_;
  std::uint32_t vmid_;
  std::uint32_t target_vmid_;
  std::map<ImageSpec, std::map<std::string, std::vector<std::byte>>> history_;  // by the replicas' usual names
  std::map<ImageSpec, std::vector<std::byte>> as_it_was_;
};

}  // namespace crossover::test
