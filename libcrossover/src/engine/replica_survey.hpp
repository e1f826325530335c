/// \file
/// Asking the cluster that replicas are on.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <stop_token>

#include "engine/ports.hpp"
#include "plan/replica.hpp"

namespace crossover {

/// The cluster replicas are on, which is all there is to touch.
struct ReplicaPorts {
  Hypervisor& hypervisor;
  GuestPower& power;
  ImageStores& images;
  Clock& clock;
  EventSink& events;
};

struct ReplicaSurvey {
  ClusterInventory cluster;
  std::map<std::uint32_t, Replica> replicas;
};

/// Asks the hypervisor, and looks at the images of the VMs of those ids, or without ids of all VMs: those their
/// configurations name, and those the points of these name. VMs that no record says are replicas are left out.
/// Throws Error if the cluster cannot be asked, ErrorCode::not_found for an id it does not have.
ReplicaSurvey survey_replicas(const std::set<std::uint32_t>& vmids, const ReplicaPorts& ports,
                              std::stop_token stop);

/// One replica. ErrorCode::not_found if there is no such VM, or no record says that it is a replica.
Replica find_replica(const ReplicaSurvey& survey, std::uint32_t vmid);

}  // namespace crossover
