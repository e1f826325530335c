#include "plan/mirror_plan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "model/text.hpp"
#include "plan/disk_plan.hpp"
#include "plan/former_images.hpp"
#include "plan/freeze_plan.hpp"
#include "plan/guest_facts.hpp"
#include "plan/image_check.hpp"
#include "plan/mirror_steps.hpp"
#include "plan/new_point.hpp"
#include "plan/points.hpp"
#include "plan/removals.hpp"
#include "plan/replica_changes.hpp"
#include "plan/restricted_plan.hpp"
#include "plan/resumption.hpp"
#include "plan/shared_disks.hpp"
#include "plan/snapshot_limit.hpp"
#include "plan/source_check.hpp"
#include "plan/start_check.hpp"
#include "plan/stop.hpp"
#include "plan/target_check.hpp"
#include "plan/target_config.hpp"
#include "plan/way_back.hpp"

namespace crossover {

namespace {

/// A line that is odd, or that this version does not know all of.
std::string warning_of(const GuestScope& scope, const VmConfigWarning& warning) {
  const auto& entries = scope.config.main().entries;
  const auto entry = std::find_if(entries.begin(), entries.end(),
                                  [&](const VmConfigEntry& one) { return one.line == warning.line && one.newer; });
  if (entry == entries.end()) return text::one_line(to_string(warning, scope.vmid));
  return fmt::format("not everything in the line of {} is known to this version, which keeps it as it is: {}",
                     entry->key, text::one_line(warning.reason));
}

/// What is said of a guest whatever stands in its way.
GuestPlan begin_plan(const GuestFacts& facts) {
  const GuestScope& scope = facts.scope;
  const GuestState& guest = facts.inventory.source.guests.at(scope.vmid);
  GuestPlan plan;
  plan.vmid = scope.vmid;
  plan.target_vmid = scope.target_vmid;
  plan.name = scope.name;
  plan.job_name = facts.request.job_name;
  plan.repaired = facts.repair.point;
  plan.discards = facts.request.options.discard_changes;
  plan.source_node = guest.node;
  plan.target_node = facts.inventory.destination.entry_node;
  plan.source_config = guest.config;
  plan.onboot = facts.request.onboot.value_or(scope.config.get("onboot").value_or(""));
  plan.left_out = scope.disks.left_out;
  for (const VmConfigWarning& warning : scope.config.warnings()) {
    plan.warnings.push_back(warning_of(scope, warning));
  }
  return plan;
}

void plan_both_sides(const GuestFacts& facts, GuestPlan& plan) {
  if (facts.scope.problem) throw Stop{*facts.scope.problem};
  plan_shared_disks(facts.scope, facts.inventory.source_images, plan);
  check_restriction(facts);
  require_all_looked_at(facts);
  check_promoted(facts);
  plan_source(facts, plan);
  plan_freeze(facts, plan);
  Target target = choose_target(facts);
  plan.target_node = std::move(target.node);
  plan.replica_config_before = std::move(target.config);
}

void plan_point(const GuestFacts& facts, std::chrono::sys_seconds now, GuestPlan& plan) {
  plan_former_images(facts, plan);
  std::vector<ImageRef> replicas = facts.scope.replicas;
  replicas.insert(replicas.end(), facts.scope.former.begin(), facts.scope.former.end());
  const PointNames names = point_names(facts.inventory.replica_images, replicas);
  for (std::size_t i = 0; i < facts.scope.disks.replicated.size(); ++i) plan_disk(facts, names, i, plan);
  check_origins(facts, plan);
  plan_resumption(facts, names, plan);
  if (!plan.resumes) plan.snapshot = new_point_name(facts, plan.disks, now);
  plan_config(facts, plan);
  if (plan.resumes) plan_config_of_point(facts, plan);
  plan_replica_changes(facts, plan);
  if (!plan.resumes) {
    plan.removals = plan_removals(facts.request, facts.inventory, plan, names, now);
    if (facts.inventory.destination.restriction) leave_removals_to_destination(facts.request, plan);
  }
  if (!plan.resumes) check_snapshot_limit(facts, plan);
  for (std::string& finding : start_findings(facts.inventory, facts.scope, plan)) {
    plan.warnings.push_back(std::move(finding));
  }
  plan.steps = mirror_steps(plan, facts.request.options);
}

}  // namespace

GuestPlan plan_guest(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
                     std::chrono::sys_seconds now, const Repair& repair) {
  const GuestFacts facts{request, inventory, scope, repair};
  GuestPlan plan = begin_plan(facts);
  try {
    plan_both_sides(facts, plan);
    plan_point(facts, now, plan);
  } catch (const Stop& stopped) {
    plan.problem = stopped.problem;
  } catch (const Error& error) {
    plan.problem = Problem{error.code(), error.what()};
  } catch (const std::exception& error) {
    plan.problem = Problem{ErrorCode::io, std::string("unexpectedly: ") + error.what()};
  }
  return plan;
}

}  // namespace crossover
