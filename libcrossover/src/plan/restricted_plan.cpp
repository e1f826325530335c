#include "plan/restricted_plan.hpp"

#include <fmt/format.h>

#include "plan/restricted_config.hpp"
#include "plan/stop.hpp"

namespace crossover {

void check_restriction(const GuestFacts& facts) {
  const auto& restriction = facts.inventory.destination.restriction;
  if (!restriction) return;
  const GuestScope& scope = facts.scope;
  const MirrorOptions& options = facts.request.options;
  if (!restriction->allows(scope.target_vmid)) {
    stop(ErrorCode::permission,
         "VM {}: the destination's agent is restricted to {}; choose another target than {} with "
         "--vmid={}:<target> or --prefixid",
         scope.vmid, to_string(*restriction), scope.target_vmid, scope.vmid);
  }
  if (options.adopt || options.reseed) {
    stop(ErrorCode::permission,
         "VM {}: the destination's agent is restricted to receiving, and lets nobody {}; do that once with a key "
         "that is not restricted",
         scope.vmid, options.adopt ? "take over an image (--adopt)" : "replace a replica (--reseed)");
  }
  for (const auto& origin : scope.origins) {
    if (!origin || origin->taken) continue;
    stop(ErrorCode::permission,
         "VM {}: it was promoted from VM {} over there, which could become its replica; but the destination's "
         "agent is restricted to receiving, and lets nobody take over an image; do that once with a key that is "
         "not restricted",
         scope.vmid, scope.target_vmid);
  }
  if (!facts.repair.point.empty()) {
    stop(ErrorCode::permission,
         "VM {}: the destination's agent is restricted to receiving, and lets nobody mark {} as bad; repair it "
         "with a key that is not restricted",
         scope.vmid, facts.repair.point);
  }
  if (scope.replicas.empty()) {
    stop(ErrorCode::permission,
         "VM {}: none of its disks is replicated, and the destination's agent is restricted to guests with disks; "
         "leave it out, or mirror it with a key that is not restricted",
         scope.vmid);
  }
  for (const ImageRef& replica : scope.replicas) {
    if (is_image_of(replica.spec.name, scope.target_vmid)) continue;
    stop(ErrorCode::permission, "VM {}: the destination's agent is restricted to images named vm-{}-..., not {}",
         scope.vmid, scope.target_vmid, to_string(replica.spec));
  }
}

void leave_removals_to_destination(const MirrorRequest& request, GuestPlan& plan) {
  const std::size_t left = std::erase_if(plan.removals, [](const Removal& removal) { return !removal.on_source; });
  if (left == 0) return;
  plan.warnings.push_back(fmt::format(
      "{} snapshots on the destination are not kept by --keepremote={}; its agent is restricted to receiving, so "
      "'crossover prune' has to remove them there",
      left, request.options.keep_remote));
}

}  // namespace crossover
