#include "plan/target_check.hpp"

#include <algorithm>

#include "plan/foreign_image.hpp"
#include "plan/foreign_lock.hpp"
#include "plan/stop.hpp"
#include "plan/target_identity.hpp"

namespace crossover {

namespace {

/// True if the destination is the cluster the guest is in: the same Ceph, or (for a guest without disks) the same
/// node by address and host key.
bool is_same_cluster(const GuestFacts& facts) {
  const Inventory& inventory = facts.inventory;
  for (const auto& [access, fsid] : inventory.source_fsids) {
    for (const auto& [other, replica_fsid] : inventory.replica_fsids) {
      if (fsid == replica_fsid) return true;
    }
  }
  const std::string& name = inventory.source.guests.at(facts.scope.vmid).node;
  const auto here = inventory.source.nodes.find(name);
  const auto there = inventory.destination.nodes.find(name);
  if (here == inventory.source.nodes.end() || there == inventory.destination.nodes.end()) return false;
  const NodeState& node = here->second;
  return !(node.address.empty() && node.known_hosts.empty()) && node.address == there->second.address &&
         node.known_hosts == there->second.known_hosts;
}

/// Of a configuration that no record says to be a replica's.
void check_overwrite(const GuestFacts& facts, const GuestState& present, const VmConfig& config) {
  const GuestScope& scope = facts.scope;
  const MirrorOptions& options = facts.request.options;
  const auto& restriction = facts.inventory.destination.restriction;
  const bool same_guest = is_same_guest(scope, config);
  const bool allowed = options.overwrite || options.adopt || options.reseed;
  const bool may_replace = allowed && !restriction;
  // A guest without disks has no image that could carry a record; its vmgenid is all that tells it apart.
  if (same_guest && (may_replace || scope.disks.replicated.empty())) return;
  for (const ImageRef& ref : scope.target_images) {
    const ImageState* image = find_image(facts.inventory.replica_images, ref);
    if (same_guest && !restriction && image != nullptr && earlier_replica(*image) != EarlierReplica::none) {
      stop_at_earlier_replica(facts, to_string(ref.spec));
    }
  }
  if (same_guest && restriction) {
    stop_at_conflict(scope.vmid, Conflict::target_vmid_taken,
                     "VM {} ({}) is on the destination's node {} already and no record says that it is a replica; "
                     "the destination's agent is restricted to receiving and does not replace it",
                     scope.target_vmid, config.display_name(scope.target_vmid), present.node);
  }
  if (same_guest) {
    stop_at_conflict(
        scope.vmid, Conflict::target_vmid_taken,
        "VM {} ({}) is on the destination's node {} already and no record says that it is a replica; its "
        "vmgenid is this guest's, so --overwrite may replace it, and --adopt may take it over if the shell "
        "tool made it",
        scope.target_vmid, config.display_name(scope.target_vmid), present.node);
  }
  stop_at_conflict(
      scope.vmid, Conflict::target_vmid_taken,
      "VM {} ({}) on the destination's node {} is another guest (its vmgenid differs and no record says that "
      "it is a replica); choose another target with --vmid={}:<target> or --prefixid",
      scope.target_vmid, config.display_name(scope.target_vmid), present.node, scope.vmid);
}

void check_state(const GuestFacts& facts, const GuestState& present, const std::string& lock, bool ours) {
  const GuestScope& scope = facts.scope;
  const ClusterInventory& destination = facts.inventory.destination;
  const auto node = destination.nodes.find(present.node);
  if (node == destination.nodes.end() || !node->second.unreachable.empty()) {
    stop(ErrorCode::unreachable, "VM {}: its replica {} is on {}, which cannot be asked{}", scope.vmid,
         scope.target_vmid, present.node, node == destination.nodes.end() ? "" : ": " + node->second.unreachable);
  }
  if (present.power == Power::running) {
    stop_at_conflict(
        scope.vmid, Conflict::replica_running,
        "its replica {} is running on {}; it was not touched. Shut it down if it is not wanted there, and give "
        "--discard-changes to drop what it wrote",
        scope.target_vmid, present.node);
  }
  if (present.power == Power::unknown) {
    stop(ErrorCode::command, "VM {}: 'qm list' on {} does not say whether its replica {} runs", scope.vmid,
         present.node, scope.target_vmid);
  }
  if (lock == "destroyed") {
    stop(ErrorCode::locked,
         "VM {}: VM {} on {} is being removed ({}); nothing was touched. 'crossover cleanup-source {}', or 'qm "
         "destroy', run again there ends that",
         scope.vmid, scope.target_vmid, present.node, lock, scope.target_vmid);
  }
  // Our own lock is left from a run that was cut short, or was asked for with --keep-dlock.
  if (!lock.empty() && !(ours && lock == "migrate")) {
    stop(ErrorCode::locked, "VM {}: its replica {} on {} is {}", scope.vmid, scope.target_vmid, present.node,
         foreign_lock_of_replica(lock, scope.target_vmid, present.node));
  }
}

void check_present(const GuestFacts& facts, const GuestState& present) {
  const GuestScope& scope = facts.scope;
  const VmConfig config = parse_vm_config(present.config);
  // It is the images it names that make a configuration ours, not images that lie beside it.
  const bool ours = goes_back(scope) || is_unfinished_replica(scope, config) ||
                    std::any_of(scope.target_images.begin(), scope.target_images.end(),
                                [&](const ImageRef& ref) { return is_our_replica(facts, ref); });
  if (!ours) check_overwrite(facts, present, config);
  check_state(facts, present, config.get("lock").value_or(""), ours);
}

}  // namespace

Target choose_target(const GuestFacts& facts) {
  const GuestScope& scope = facts.scope;
  const ClusterInventory& destination = facts.inventory.destination;
  if (scope.target_vmid == scope.vmid && is_same_cluster(facts)) {
    stop(ErrorCode::usage,
         "VM {}: it would be mirrored onto itself, for source and destination are one cluster; give it another "
         "VMID with --vmid={}:<target> or --prefixid",
         scope.vmid, scope.vmid);
  }
  if (!destination.writable) {
    stop(ErrorCode::unsupported, "VM {}: the destination cluster has no quorum, so nothing can be configured there",
         scope.vmid);
  }
  const auto container = destination.containers.find(scope.target_vmid);
  if (container != destination.containers.end()) {
    stop_at_conflict(
        scope.vmid, Conflict::target_vmid_taken,
        "VMID {} is a container on the destination's node {}; choose another target with --vmid={}:<target> or "
        "--prefixid",
        scope.target_vmid, container->second, scope.vmid);
  }
  const auto present = destination.guests.find(scope.target_vmid);
  if (present == destination.guests.end()) return {destination.entry_node, std::nullopt};
  check_present(facts, present->second);
  return {present->second.node, present->second.config};
}

}  // namespace crossover
