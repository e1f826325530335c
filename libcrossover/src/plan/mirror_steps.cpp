#include "plan/mirror_steps.hpp"

#include <algorithm>

namespace crossover {

namespace {

/// The step for each disk that needs it.
template <typename Wanted>
void add_each(std::vector<Step>& steps, StepKind kind, const std::vector<DiskPlan>& disks, Wanted wanted) {
  for (std::size_t i = 0; i < disks.size(); ++i) {
    if (wanted(disks[i])) steps.push_back({kind, i});
  }
}

std::vector<Step> steps_of_resumption(const GuestPlan& plan) {
  std::vector<Step> steps;
  // What a new copy is made beside stays as it is, its configuration included.
  if (!plan.reseeds) steps.push_back({StepKind::lock_replica});
  add_each(steps, StepKind::check_cut, plan.disks, [](const DiskPlan&) { return true; });
  add_each(steps, StepKind::transfer, plan.disks, [](const DiskPlan& disk) { return !disk.applied; });
  steps.push_back({StepKind::commit});
  steps.push_back({StepKind::write_config});
  return steps;
}

/// Everything that has to be true, or to be recorded, before the source's point is made.
void add_preparation(std::vector<Step>& steps, const GuestPlan& plan) {
  add_each(steps, StepKind::verify_content, plan.disks, [](const DiskPlan& disk) { return disk.adopt; });
  add_each(steps, StepKind::check_origin, plan.disks,
           [&plan](const DiskPlan& disk) { return disk.take_back && !plan.discards; });
  steps.push_back({StepKind::record_source});
  add_each(steps, StepKind::create_image, plan.disks, [](const DiskPlan& disk) { return disk.full; });
  // What a new copy is made beside stays as it is, its configuration included.
  if (!plan.reseeds) steps.push_back({StepKind::lock_replica});
  add_each(steps, StepKind::adopt, plan.disks, [](const DiskPlan& disk) { return disk.adopt || disk.take_back; });
  add_each(steps, StepKind::check_head, plan.disks,
           [](const DiskPlan& disk) { return disk.replica_newest.has_value(); });
  add_each(steps, StepKind::roll_back, plan.disks, [](const DiskPlan& disk) {
    return disk.replica_base && (!disk.replica_newest || disk.replica_newest->id != disk.replica_base->id);
  });
}

std::vector<Step> steps_of_new_point(const GuestPlan& plan, const MirrorOptions& options) {
  std::vector<Step> steps;
  add_preparation(steps, plan);
  const bool lock = !options.no_lock;
  if (lock) steps.push_back({StepKind::lock_source});
  const bool freeze = plan.running && plan.not_frozen.empty();
  const bool pause = plan.running && !freeze && plan.no_agent == NoAgent::pause;
  if (freeze) steps.push_back({StepKind::freeze});
  if (pause) steps.push_back({StepKind::pause});
  steps.push_back({StepKind::snapshot});
  if (freeze || pause) steps.push_back({StepKind::let_go});
  if (lock && !options.keep_source_lock) steps.push_back({StepKind::unlock_source});
  steps.push_back({StepKind::record_point});
  add_each(steps, StepKind::transfer, plan.disks, [](const DiskPlan&) { return true; });
  steps.push_back({StepKind::commit});
  steps.push_back({StepKind::write_config});
  if (lock && options.keep_source_lock) steps.push_back({StepKind::unlock_source});
  if (!plan.removals.empty()) steps.push_back({StepKind::remove});
  // Last: a run that is tried again after this would copy everything once more.
  if (std::any_of(plan.disks.begin(), plan.disks.end(),
                  [](const DiskPlan& disk) { return disk.replaces.has_value(); })) {
    steps.push_back({StepKind::retire});
  }
  return steps;
}

}  // namespace

std::vector<Step> mirror_steps(const GuestPlan& plan, const MirrorOptions& options) {
  if (plan.resumes) return steps_of_resumption(plan);
  if (plan.disks.empty()) return {Step{StepKind::write_config}};
  return steps_of_new_point(plan, options);
}

}  // namespace crossover
