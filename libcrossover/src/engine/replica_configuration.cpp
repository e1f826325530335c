#include "engine/replica_configuration.hpp"

#include <algorithm>
#include <utility>

#include "crossover/error.hpp"
#include "engine/unexpected_error.hpp"
#include "plan/replica_changes.hpp"
#include "plan/replica_config.hpp"

namespace crossover {

ReplicaConfiguration::ReplicaConfiguration(const ReplicaWork& work) : work_(work) {
  if (work.plan.replica_config_before) version_ = ConfigVersion{*work.plan.replica_config_before};
}

void ReplicaConfiguration::lock() {
  const std::string bytes = work_.plan.replica_config_before.value_or(work_.plan.replica_config);
  // A replica that was locked before this run is torn or locked on request, and one whose last transfer is
  // unfinished was unlocked by somebody who did not know: it is not for this run to unlock.
  const bool unfinished = std::any_of(work_.plan.disks.begin(), work_.plan.disks.end(), [](const DiskPlan& disk) {
    return disk.replica_record.replica && disk.replica_record.replica->state != ReplicaState::complete;
  });
  if (work_.plan.replica_config_before && without_lock(bytes) == bytes && !unfinished) unlocked_ = bytes;
  version_ = work_.destination.hypervisor.write_config(work_.plan.target_node, work_.plan.target_vmid, version_,
                                                       with_lock(bytes, replica_lock), work_.stop);
  locked_ = true;
}

void ReplicaConfiguration::write() {
  const GuestPlan& plan = work_.plan;
  const bool keep = work_.request.options.keep_destination_lock;
  const std::string bytes = keep ? with_lock(plan.replica_config, replica_lock) : plan.replica_config;
  work_.destination.hypervisor.write_config(plan.target_node, plan.target_vmid, version_,
                                            with_snapshots(bytes, plan.replica_snapshots, plan.replica_parent),
                                            work_.stop);
  locked_ = false;
  if (work_.plan.write_firewall) {
    work_.destination.hypervisor.write_firewall(work_.plan.target_vmid, work_.plan.firewall, work_.stop);
  }
}

void ReplicaConfiguration::undo() {
  if (!std::exchange(locked_, false) || !unlocked_) return;
  try {
    work_.destination.hypervisor.write_config(work_.plan.target_node, work_.plan.target_vmid, version_, *unlocked_,
                                              {});
  } catch (...) {
    work_.note(error_at_hand().what());
  }
}

}  // namespace crossover
