#include "agent/restricted_hypervisor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "crossover/drive.hpp"
#include "crossover/error.hpp"
#include "plan/guest_disks.hpp"
#include "plan/restricted_config.hpp"

namespace crossover::agent {

namespace {

std::string subject_of(std::uint32_t vmid) {
  return fmt::format("VM {}", vmid);
}

}  // namespace

void RestrictedHypervisor::require_allowed(std::uint32_t vmid) const {
  if (context_.restriction.allows(vmid)) return;
  throw refusal(subject_of(vmid), fmt::format("it is none of the {}", to_string(context_.restriction)));
}

void RestrictedHypervisor::require_replicas(std::uint32_t vmid, const std::string& bytes,
                                            bool some_may_be_gone) const {
  const auto refuse = [vmid](const std::string& cause) { throw refusal(subject_of(vmid), cause); };
  const ClusterInventory cluster = context_.storages();
  std::optional<ReplicaRecord> known;
  for (const Drive& drive : drives_of(parse_vm_config(bytes))) {
    if (drive.is_cdrom() || drive.is_cloudinit()) continue;
    const Volume volume = drive.volume();
    const bool is_own = volume.kind == VolumeKind::storage && context_.restriction.pools.contains(volume.storage) &&
                        is_image_of(volume.name, vmid);
    const auto storage = is_own ? cluster.storages.rbd(volume.storage) : std::nullopt;
    if (!storage) refuse(fmt::format("it is no replica, {} is {}", to_string(drive.key()), drive.volume_text()));
    const ImageSpec image = image_spec(*storage, volume.name);
    const auto state = context_.stores.open(storage_access(cluster, *storage)).find(image);
    if (!state && some_may_be_gone) continue;
    const auto record = state ? image_record(*state).replica : std::nullopt;
    if (!record || record->target_vmid != vmid) {
      refuse(fmt::format("it is no replica, no record says so of {}", to_string(image)));
    }
    require_not_promoted(record, to_string(image));
    if (known && (known->source.guest != record->source.guest || known->job != record->job)) {
      refuse(fmt::format("it is no replica, {} is one of another guest or job than its other disks",
                         to_string(image)));
    }
    known = record;
  }
  if (!known) refuse("it is no replica, no disk of it is one");
}

void RestrictedHypervisor::require_replica(const ClusterInventory& cluster, const std::string& node,
                                           std::uint32_t vmid, const std::string& bytes) const {
  const auto refuse = [vmid](const std::string& cause) { throw refusal(subject_of(vmid), cause); };
  const auto guest = cluster.guests.find(vmid);
  if (guest == cluster.guests.end() || guest->second.node != node) {
    refuse(fmt::format("there is none on {}", node));
  }
  if (const auto lock = parse_vm_config(bytes).get("lock"); lock && lock != "migrate") {
    refuse("it is locked (" + *lock + ")");
  }
  require_replicas(vmid, bytes, true);
  // The guest that runs is one that somebody uses, whatever its disks' records say.
  if (guest->second.power != Power::stopped) refuse("nobody says that it is stopped");
}

ClusterInventory RestrictedHypervisor::survey(const SurveyScope& scope, std::stop_token stop) {
  ClusterInventory cluster = inner_.survey(scope, std::move(stop));
  const Restriction& restriction = context_.restriction;
  cluster.restriction = restriction;
  std::erase_if(cluster.storages.storages,
                [&](const Storage& storage) { return !restriction.pools.contains(storage.id); });
  cluster.storages.warnings.clear();
  std::erase_if(cluster.ceph_files, [&](const std::string& name) {
    return std::none_of(restriction.pools.begin(), restriction.pools.end(), [&name](const std::string& pool) {
      return name == pool + ".keyring" || name == pool + ".conf";
    });
  });
  cluster.snippets.clear();
  for (auto& [vmid, guest] : cluster.guests) {
    if (restriction.allows(vmid)) continue;
    GuestState taken;
    taken.vmid = vmid;
    taken.node = guest.node;
    guest = std::move(taken);
  }
  return cluster;
}

std::optional<ConfigVersion> RestrictedHypervisor::read_config(const std::string& node, std::uint32_t vmid,
                                                               std::stop_token stop) {
  require_allowed(vmid);
  return inner_.read_config(node, vmid, std::move(stop));
}

ConfigVersion RestrictedHypervisor::write_config(const std::string& node, std::uint32_t vmid,
                                                 const std::optional<ConfigVersion>& expected,
                                                 const std::string& bytes, std::stop_token stop) {
  require_allowed(vmid);
  const ClusterInventory cluster = inner_.survey({.guests = {{vmid}}}, stop);
  if (!expected && (cluster.guests.contains(vmid) || cluster.containers.contains(vmid))) {
    throw refusal(subject_of(vmid), "the VMID is taken");
  }
  // What is expected is compared with what is there when it is replaced.
  const std::string present = expected ? expected->bytes : "";
  if (expected) require_replica(cluster, node, vmid, present);
  ReceivePolicy(context_.restriction, {}, vmid).check_config(bytes, present);
  require_replicas(vmid, bytes, false);
  return inner_.write_config(node, vmid, expected, bytes, std::move(stop));
}

std::unique_ptr<ConfigHold> RestrictedHypervisor::hold_config(const std::string& /*node*/, std::uint32_t vmid,
                                                              const ConfigVersion& /*expected*/,
                                                              const std::string& /*bytes*/) {
  throw refusal(subject_of(vmid), "only a source's configuration is held");
}

void RestrictedHypervisor::write_firewall(std::uint32_t vmid, const std::optional<std::string>& bytes,
                                          std::stop_token stop) {
  require_allowed(vmid);
  if (bytes) check_firewall(vmid, *bytes);
  const ClusterInventory cluster = inner_.survey({.guests = {{vmid}}}, stop);
  const auto guest = cluster.guests.find(vmid);
  if (guest == cluster.guests.end()) throw refusal(subject_of(vmid), "there is none");
  require_replica(cluster, guest->second.node, vmid, guest->second.config);
  inner_.write_firewall(vmid, bytes, std::move(stop));
}

std::unique_ptr<GuestHold> RestrictedHypervisor::hold_guest(HoldWay /*way*/, const std::string& /*node*/,
                                                            std::uint32_t vmid,
                                                            std::chrono::milliseconds /*deadline*/,
                                                            std::stop_token /*stop*/) {
  throw refusal(subject_of(vmid), "only a source's guest is frozen or paused");
}

}  // namespace crossover::agent
