#include "plan/source_check.hpp"

#include "plan/stop.hpp"

namespace crossover {

void plan_source(const GuestFacts& facts, GuestPlan& plan) {
  const std::uint32_t vmid = facts.scope.vmid;
  const ClusterInventory& source = facts.inventory.source;
  const GuestState& guest = source.guests.at(vmid);
  const auto node = source.nodes.find(guest.node);
  if (node == source.nodes.end()) {
    stop(ErrorCode::unreachable, "VM {} is on {}, which is not a node of the cluster any more", vmid, guest.node);
  }
  if (!node->second.unreachable.empty()) {
    stop(ErrorCode::unreachable, "VM {} is on {}, which cannot be asked: {}", vmid, guest.node,
         node->second.unreachable);
  }
  if (guest.power == Power::unknown) {
    stop(ErrorCode::command, "VM {}: 'qm list' on {} does not say whether it runs", vmid, guest.node);
  }
  plan.running = guest.power == Power::running;
  if (plan.running && !facts.request.options.online) {
    stop(ErrorCode::usage, "VM {} is running; --online mirrors running guests", vmid);
  }
  if (!source.writable && !facts.request.options.no_lock) {
    stop(ErrorCode::unsupported, "VM {}: the source cluster has no quorum, so the guest cannot be locked", vmid);
  }
}

}  // namespace crossover
