#include "plan/freeze_plan.hpp"

#include "plan/guest_agent.hpp"
#include "plan/saved_state.hpp"
#include "plan/stop.hpp"

namespace crossover {

std::string consistency_without_freeze(const std::string& why, bool paused, std::size_t disks) {
  if (paused) return "paused: " + why;
  return "not frozen: " + why + (disks > 1 ? "; its disks may differ by milliseconds" : "");
}

void plan_freeze(const GuestFacts& facts, GuestPlan& plan) {
  const GuestScope& scope = facts.scope;
  plan.no_agent = facts.request.no_agent;
  const bool has_disks = !scope.disks.replicated.empty();
  plan.consistency = !plan.running ? "stopped" : has_disks ? "frozen" : "no disks";
  const bool hibernated = !plan.running && scope.config.get("lock") == suspended_lock;
  if (facts.request.options.no_lock && hibernated && has_disks) {
    plan.warnings.push_back("it is hibernated, and the memory that was saved is not mirrored: the replica boots as "
                            "after a power failure");
  }
  if (!plan.running || !has_disks) return;
  if (!has_guest_agent(scope.config)) {
    plan.not_frozen = "no guest agent is configured";
  } else if (!is_freeze_wanted(scope.config)) {
    plan.not_frozen = "the guest's agent option freeze-fs is off";
  }
  if (plan.not_frozen.empty()) return;
  if (plan.no_agent == NoAgent::fail) {
    stop(ErrorCode::unsupported,
         "VM {}: it cannot be frozen: {}; --no-agent=pause or crash mirrors it all the same", scope.vmid,
         plan.not_frozen);
  }
  const bool pause = plan.no_agent == NoAgent::pause;
  plan.consistency = consistency_without_freeze(plan.not_frozen, pause, scope.disks.replicated.size());
  if (!pause) plan.warnings.push_back(plan.consistency);
}

}  // namespace crossover
