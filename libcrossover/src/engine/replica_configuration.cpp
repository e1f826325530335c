#include "engine/replica_configuration.hpp"

#include <algorithm>

#include "crossover/error.hpp"
#include "engine/unexpected_error.hpp"
#include "plan/replica_config.hpp"

namespace crossover {

namespace {

constexpr const char* replica_lock = "migrate";

}  // namespace

ReplicaConfiguration::ReplicaConfiguration(GuestWork& work) : work_(work) {
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
  version_ = work_.ports.destination.hypervisor.write_config(work_.plan.target_node, work_.plan.target_vmid,
                                                             version_, with_lock(bytes, replica_lock), work_.stop);
  locked_ = true;
  work_.tell({.kind = EventKind::replica_locked, .subject = replica_lock});
}

void ReplicaConfiguration::write() {
  const bool keep = work_.request.options.keep_destination_lock;
  const bool was_locked = locked_;
  work_.ports.destination.hypervisor.write_config(
      work_.plan.target_node, work_.plan.target_vmid, version_,
      keep ? with_lock(work_.plan.replica_config, replica_lock) : work_.plan.replica_config, work_.stop);
  locked_ = false;
  if (work_.plan.write_firewall) {
    work_.ports.destination.hypervisor.write_firewall(work_.plan.target_vmid, work_.plan.firewall, work_.stop);
  }
  work_.tell({.kind = EventKind::config_written});
  if (!keep && was_locked) work_.tell({.kind = EventKind::replica_unlocked});
}

void ReplicaConfiguration::undo() {
  if (!locked_ || !unlocked_) return;
  try {
    work_.ports.destination.hypervisor.write_config(work_.plan.target_node, work_.plan.target_vmid, version_,
                                                    *unlocked_, {});
  } catch (...) {
    work_.note(error_at_hand().what());
  }
}

}  // namespace crossover
