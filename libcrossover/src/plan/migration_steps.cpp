#include "plan/migration_steps.hpp"

#include <fmt/format.h>

#include "plan/migration_check.hpp"

namespace crossover {

std::vector<std::string> migration_steps(const MigrateRequest& request, const GuestPlan& plan,
                                         const std::string& ha_state, const std::string& state_storage) {
  std::vector<std::string> steps;
  if (plan.running) {
    steps.push_back(
        fmt::format("do so again, up to {} times in all, until little is left", request.precopy_rounds));
  }
  const std::string guest = fmt::format("VM {}", plan.vmid);
  if (!ha_state.empty() && ha_state != "ignored") {
    steps.push_back(fmt::format("take {} out of high availability's hands (ignored)", guest));
  }
  const bool suspended = is_suspended(request, plan);
  if (suspended) {
    steps.push_back(fmt::format("suspend {} to disk, on {}", guest, state_storage));
  } else if (plan.running) {
    steps.push_back(fmt::format("shut {} down, within {} s{}", guest, request.shutdown_timeout.count(),
                                request.options.force_stop ? ", or end it" : ""));
  }
  steps.push_back(fmt::format("fence {} on {} (lock: migrate, onboot: 0)", guest, plan.source_node));
  steps.push_back(
      fmt::format("send what is left{} to VM {}", suspended ? ", and its memory," : "", plan.target_vmid));
  steps.push_back(fmt::format("make VM {} on {} the guest{}", plan.target_vmid, plan.target_node,
                              request.options.no_start ? ""
                              : suspended              ? " and let it go on"
                                                       : " and start it"));
  if (request.options.ha) steps.push_back(fmt::format("give VM {} to high availability", plan.target_vmid));
  return steps;
}

}  // namespace crossover
