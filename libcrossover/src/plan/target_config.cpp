#include "plan/target_config.hpp"

#include "plan/replica_config.hpp"

namespace crossover {

namespace {

ReplicaSetting setting_of(const GuestFacts& facts) {
  const ClusterInventory& destination = facts.inventory.destination;
  ReplicaSetting setting;
  setting.target_vmid = facts.scope.target_vmid;
  setting.target_storage = facts.request.pool;
  for (std::size_t i = 0; i < facts.scope.volumes.size(); ++i) {
    setting.volumes[facts.scope.disks.replicated[i].key] = facts.scope.volumes[i];
  }
  setting.snippets = destination.snippets;
  for (const Storage& storage : destination.storages.storages) setting.storages.insert(storage.id);
  setting.keep_host_devices = facts.request.options.keep_host_devices;
  setting.restriction = destination.restriction;
  return setting;
}

bool firewall_differs(const GuestFacts& facts, const std::optional<std::string>& firewall) {
  const auto& guests = facts.inventory.destination.guests;
  const auto present = guests.find(facts.scope.target_vmid);
  return present == guests.end() ? firewall.has_value() : firewall != present->second.firewall;
}

}  // namespace

void plan_config(const GuestFacts& facts, GuestPlan& plan) {
  const GuestScope& scope = facts.scope;
  ReplicaConfig replica = replica_config(scope.config, scope.disks, setting_of(facts), facts.request.rewrite);
  plan.replica_config = replica.config.to_bytes();
  plan.left_out.insert(plan.left_out.end(), replica.left_out.begin(), replica.left_out.end());
  plan.firewall = facts.inventory.source.guests.at(scope.vmid).firewall;
  plan.write_firewall = firewall_differs(facts, plan.firewall);
  if (plan.disks.empty()) {
    plan.warnings.push_back("the guest has no disk that is replicated: only its configuration is mirrored");
  }
}

void plan_config_of_point(const GuestFacts& facts, GuestPlan& plan) {
  const VmConfig present = parse_vm_config(plan.replica_config);
  for (const DiskPlan& disk : plan.disks) {
    const auto& point = disk.replica_record.replica->point;
    if (!point) continue;
    VmConfig config = parse_vm_config(point->config);
    // Records do not hold it.
    if (const auto password = present.get("cipassword")) config.set("cipassword", *password);
    plan.replica_config = config.to_bytes();
    plan.firewall = point->firewall;
    plan.onboot = point->onboot;
  }
  plan.write_firewall = firewall_differs(facts, plan.firewall);
}

}  // namespace crossover
