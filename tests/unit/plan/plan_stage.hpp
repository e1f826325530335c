/// \file
/// An inventory of two clusters by hand, and the plan that comes of it: the stage of the planner's tests.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include "crossover/error.hpp"
#include "crossover/snapshot_name.hpp"
#include "plan/mirror_plan.hpp"
#include "support/records.hpp"

namespace crossover::test {

inline constexpr const char* east_fsid = "aaaaaaaa-2222-3333-4444-555555555555";
inline constexpr const char* west_fsid = "bbbbbbbb-2222-3333-4444-555555555555";

inline constexpr std::chrono::sys_seconds noon =
    std::chrono::sys_days(std::chrono::year(2026) / 11 / 23) + std::chrono::hours(12);

inline std::string point_name(std::chrono::sys_seconds time, const std::string& label = "nightly") {
  return to_string(SnapshotName{label, time});
}

/// What a run is about, before the images are looked at.
inline std::vector<GuestScope> scope_both(const MirrorRequest& request, const ClusterInventory& source,
                                          const ClusterInventory& destination) {
  std::vector<GuestScope> scopes = scope_guests(request, source);
  place_replicas(scopes, request, destination);
  return scopes;
}

/// VM 100 "web" with the disks scsi0 on ssd and scsi1 on hdd runs on e1; the job "Nightly" mirrors it to VM 99100
/// in the storage copy of the cluster west, node w1. Nothing was mirrored yet.
class PlanStage {
 public:
  PlanStage() {
    options.vmid = "100";
    options.prefix_id = "99";
    options.destination = "w1";
    options.pool = "copy";
    options.job_name = "Nightly";
    options.online = true;
    inventory.source = cluster("east", {"e1", "e2"}, "rbd: ssd\n\tpool fast\n\nrbd: hdd\n\tpool slow\n");
    inventory.destination = cluster("west", {"w1", "w2"}, "rbd: copy\n\tpool backup\n\nrbd: other\n\tpool more\n");
    put_source(config);
    source_image("scsi0") = image("s0", 1, 32 << 20);
    source_image("scsi1") = image("s1", 2, 8 << 20);
  }

  static ClusterInventory cluster(const std::string& name, const std::vector<std::string>& nodes,
                                  const std::string& storages) {
    ClusterInventory cluster;
    cluster.entry_node = nodes.front();
    cluster.name = name;
    cluster.writable = true;
    for (const std::string& node : nodes) {
      cluster.nodes[node].name = node;
      cluster.nodes[node].address = name + "/" + node;
      cluster.nodes[node].online = true;
    }
    cluster.storages = parse_storage_config(storages);
    return cluster;
  }

  static ImageState image(const std::string& id, std::int64_t pool_id, std::uint64_t size_bytes) {
    ImageState image;
    image.id = id;
    image.pool_id = pool_id;
    image.layout.size_bytes = size_bytes;
    return image;
  }

  void put_source(const std::string& bytes, Power power = Power::running) {
    inventory.source.guests[100] = {.vmid = 100, .node = "e1", .config = bytes, .firewall = {}, .power = power};
  }

  void put_target(const std::string& bytes, Power power = Power::stopped, const std::string& node = "w1") {
    inventory.destination.guests[99100] = {
        .vmid = 99100, .node = node, .config = bytes, .firewall = {}, .power = power};
  }

  std::optional<ImageState>& source_image(const std::string& key) {
    return inventory
        .source_images[ref(key == "scsi0" ? "fast" : "slow", key == "scsi0" ? "vm-100-disk-0" : "vm-100-disk-1")];
  }
  std::optional<ImageState>& replica_image(const std::string& key) {
    return inventory.replica_images[ref("backup", key == "scsi0" ? "vm-99100-disk-0-ssd" : "vm-99100-disk-1-hdd")];
  }

  /// The record of a replica's image; tests change and save it.
  ReplicaRecord record(const std::string& key) { return image_record(*replica_image(key)).replica.value(); }
  void save(const std::string& key, const ReplicaRecord& record) {
    put_record(replica_image(key)->metadata, {record, std::nullopt});
  }

  /// The images of the replica exist with their records, and its configuration with the lock, as after a first copy
  /// that was cut short.
  void begin_replica() {
    put_target(replica_config + "lock: migrate\n");
    for (const std::string key : {"scsi0", "scsi1"}) {
      const ImageState& source = *source_image(key);
      replica_image(key) = image("r" + key.substr(4), 5, source.layout.size_bytes);
      ReplicaRecord record;
      record.source = {east_fsid, source.pool_id, source.id, 100};
      record.source_image = key == "scsi0" ? "fast/vm-100-disk-0" : "slow/vm-100-disk-1";
      record.job = "Nightly";
      record.target_vmid = 99100;
      record.image_id = replica_image(key)->id;
      record.pool_id = 5;
      save(key, record);
      source_record(key, {{"nightly", {"Nightly", west_fsid, 99100}}});
    }
  }

  void source_record(const std::string& key, const std::map<std::string, SourceJob>& jobs) {
    ImageState& source = *source_image(key);
    const SourceRecord record{{east_fsid, source.pool_id, source.id, 100}, jobs};
    put_record(source.metadata, {std::nullopt, record});
  }

  /// A snapshot of an image, with an id of its own.
  Snapshot snapshot(ImageState& image, const std::string& name) {
    image.snapshots.push_back({next_snapshot_++, name, image.layout.size_bytes});
    return image.snapshots.back();
  }

  /// A recovery point that both sides have; the replica is as such a run leaves it.
  std::string add_point(std::chrono::sys_seconds time) {
    if (!replica_image("scsi0")) begin_replica();
    put_target(replica_config);
    const std::string name = point_name(time);
    for (const std::string key : {"scsi0", "scsi1"}) {
      const Snapshot here = snapshot(*source_image(key), name);
      const Snapshot there = snapshot(*replica_image(key), name);
      ReplicaRecord changed = record(key);
      changed.state = ReplicaState::complete;
      changed.end_snapshot = name;
      changed.end_source_id = here.id;
      changed.points.push_back({name, here.id, there.id});
      save(key, changed);
    }
    replica_image("scsi0")->metadata[std::string(point_key_prefix) + name] = render_point({});
    return name;
  }

  /// A replica as the shell tool leaves it, with these snapshots on both sides; the source has had others before.
  void add_shell_tool_replica(const std::vector<std::string>& names) {
    put_target(replica_config);
    for (const std::string key : {"scsi0", "scsi1"}) {
      replica_image(key) = image("r" + key.substr(4), 5, source_image(key)->layout.size_bytes);
      snapshot(*source_image(key), "mirror-20250101000000");
      for (const std::string& name : names) {
        snapshot(*source_image(key), name);
        snapshot(*replica_image(key), name);
      }
    }
  }

  /// VM 100 was VM 99100 in the west, with its disks in two storages there, until it was promoted at the newest of
  /// `names`. What it was is as a migration leaves it.
  void come_from_west(const std::vector<std::string>& names) {
    put_target(origin_config + "lock: migrate\n");
    for (const std::string key : {"scsi0", "scsi1"}) {
      ImageState& source = *source_image(key);
      origin_image(key) = image("o" + key.substr(4), key == "scsi0" ? 5 : 6, source.layout.size_bytes);
      ReplicaRecord record;
      record.source = {west_fsid, origin_image(key)->pool_id, origin_image(key)->id, 99100};
      record.source_image = key == "scsi0" ? "backup/vm-99100-disk-0" : "more/vm-99100-disk-1";
      record.job = "Nightly";
      record.target_vmid = 100;
      record.image_id = source.id;
      record.pool_id = source.pool_id;
      record.state = ReplicaState::complete;
      for (const std::string& name : names) {
        const Snapshot there = snapshot(*origin_image(key), name);
        record.points.push_back({name, there.id, snapshot(source, name).id});
      }
      record.promoted = Promotion{names.back(), noon - std::chrono::hours(1)};
      put_record(source.metadata, {record, std::nullopt});
    }
  }

  std::optional<ImageState>& origin_image(const std::string& key) {
    return inventory
        .replica_images[key == "scsi0" ? ref("backup", "vm-99100-disk-0") : ref("more", "vm-99100-disk-1")];
  }

  /// The image of that name beside a replica's.
  std::optional<ImageState>& beside(const std::string& name) {
    return inventory.replica_images[ref("backup", name)];
  }

  /// A point that was sent and never committed: its snapshots are on the source only.
  std::string add_cut_transfer(std::chrono::sys_seconds time, ReplicaState state) {
    const std::string name = point_name(time);
    put_target(replica_config + "lock: migrate\n");
    for (const std::string key : {"scsi0", "scsi1"}) {
      ReplicaRecord changed = record(key);
      changed.state = state;
      changed.end_snapshot = name;
      changed.end_source_id = snapshot(*source_image(key), name).id;
      save(key, changed);
    }
    return name;
  }

  /// A point that was begun and cut, as records say since they name the diff: the next run can complete it.
  std::string begin_point(std::chrono::sys_seconds time, ReplicaState first, ReplicaState second) {
    const std::string name = add_cut_transfer(time, first);
    for (const std::string key : {"scsi0", "scsi1"}) {
      ReplicaRecord changed = record(key);
      changed.state = key == "scsi0" ? first : second;
      std::optional<Snapshot> base;
      if (!changed.points.empty()) base.emplace().id = changed.points.back().source_id;
      changed.transfer = transfer_id(changed, base, changed.end_source_id);
      if (key == "scsi0") {
        changed.point = PointConfig{99100,
                                    "memory: 256\nname: web\nonboot: 0\n",
                                    "[RULES]\n",
                                    "1",
                                    {"backup/vm-99100-disk-0-ssd", "backup/vm-99100-disk-1-hdd"}};
      }
      save(key, changed);
    }
    return name;
  }

  void set_progress(const std::string& key, const TransferProgress& progress) {
    replica_image(key)->metadata[std::string(progress_key)] = render_progress(progress);
  }

  static void remove_snapshot(ImageState& image, const std::string& name) {
    std::erase_if(image.snapshots, [&](const Snapshot& snapshot) { return snapshot.name == name; });
  }

  GuestPlan plan(std::chrono::sys_seconds now = noon) {
    const MirrorRequest request = parse_options(options);
    const auto scopes = scope_both(request, inventory.source, inventory.destination);
    REQUIRE(scopes.size() == 1);
    for (const GuestDisk& disk : scopes.front().disks.replicated) {
      inventory.source_fsids[disk.image.access] = east_fsid;
      inventory.source_images.try_emplace(disk.image);
    }
    for (const ImageRef& image : scopes.front().replicas) {
      inventory.replica_fsids[image.access] = west_fsid;
      inventory.replica_images.try_emplace(image);
    }
    for (const ImageRef& image : scopes.front().target_images) inventory.replica_images.try_emplace(image);
    for (const auto& spares : scopes.front().spares) {
      for (const ImageRef& image : spares) inventory.replica_images.try_emplace(image);
    }
    GuestScope scope = scopes.front();
    choose_replicas(scope, request, inventory);
    return plan_guest(request, inventory, scope, now);
  }

  /// What people read: why not, or every step in its line.
  static std::string text_of(const GuestPlan& plan) {
    if (plan.problem) {
      CHECK(plan.steps.empty());
      return fmt::format("{}: {}\n", to_string(plan.problem->code), plan.problem->text);
    }
    std::string text;
    for (const Step& step : plan.steps) text += describe(plan, step) + "\n";
    return text;
  }
  std::string text(std::chrono::sys_seconds now = noon) { return text_of(plan(now)); }

  MirrorOptions options;
  Inventory inventory;
  const std::string config =
      "agent: 1\nmemory: 512\nname: web\nonboot: 1\nscsi0: ssd:vm-100-disk-0,size=32M\n"
      "scsi1: hdd:vm-100-disk-1,size=8M\nvmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3c4d\n";
  const std::string replica_config =
      "agent: 1\nmemory: 512\nname: web\nonboot: 0\nscsi0: copy:vm-99100-disk-0-ssd,size=32M\n"
      "scsi1: copy:vm-99100-disk-1-hdd,size=8M\nvmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3c4d\n";
  const std::string origin_config =
      "agent: 1\nmemory: 512\nname: web\nonboot: 0\nscsi0: copy:vm-99100-disk-0,size=32M\n"
      "scsi1: other:vm-99100-disk-1,size=8M\nvmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3c4d\n";

  /// Storages without `monhost` and without a keyring are reached in one way on each side.
  static ImageRef ref(const std::string& pool, const std::string& name) {
    return {CephAccess{.conf = "/etc/pve/ceph.conf", .monitors = {}, .user = "admin", .keyring = {}},
            {pool, "", name}};
  }

 private:
  std::uint64_t next_snapshot_ = 1;
};

}  // namespace crossover::test
