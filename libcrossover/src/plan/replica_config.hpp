/// \file
/// A replica's configuration, made from its source's. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "crossover/report.hpp"
#include "crossover/restriction.hpp"
#include "crossover/rewrite_rule.hpp"
#include "crossover/vm_config.hpp"
#include "plan/guest_disks.hpp"

namespace crossover {

/// What a replica's configuration depends on beside its source's.
struct ReplicaSetting {
  std::uint32_t target_vmid = 0;
  std::string target_storage;                  ///< where cloud-init images are made
  std::map<std::string, std::string> volumes;  ///< key of each replicated disk -> its replica's volume id
  std::set<std::string> snippets;              ///< volume ids of snippets the destination has
  std::set<std::string> storages;              ///< storage ids the destination has
  bool keep_host_devices = false;
  std::optional<Restriction> restriction;  ///< of the destination's agent: what it refuses is left out
};

/// The configuration and what it lacks.
struct ReplicaConfig {
  VmConfig config;
  std::vector<LeftOut> left_out;  ///< settings only; disks are in GuestDisks
};

/// Keeps every line and option but for those that would be wrong there: volumes are the replicas', PVE's snapshots,
/// pending changes, locks and what names things that are not there are dropped, `onboot` is 0. The rules are
/// applied to the lines of that configuration, in order. ErrorCode::usage if a rule changes which volume a disk is.
ReplicaConfig replica_config(const VmConfig& source, const GuestDisks& disks, const ReplicaSetting& setting,
                             const std::vector<RewriteRule>& rules);

/// The same configuration with the lock `value`, and without one.
std::string with_lock(const std::string& config, const std::string& value);
std::string without_lock(const std::string& config);

}  // namespace crossover
