/// \file
/// Asking both sides everything a plan needs.
#pragma once

#include <stop_token>
#include <vector>

#include "engine/ports.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

/// What both sides are, and the guests that are meant.
struct Survey {
  Inventory inventory;
  std::vector<GuestScope> guests;
};

/// Asks both hypervisors at once, then does what survey_guests() does.
Survey survey(const MirrorRequest& request, const Ports& ports, std::stop_token stop);

/// As survey(), once nobody has the replicas open any more, or after a minute: a writer that was cut off keeps its
/// image open until its node, or Ceph, has noticed. Who runs a replica is not waited for.
Survey settled_survey(const MirrorRequest& request, const Ports& ports, std::stop_token stop);

/// Looks at the images of the guests that are meant, and at no others. Guests that "all" or a tag swept in but that
/// are themselves replicas of ours are left out, so that two clusters can mirror to each other.
Survey survey_guests(const MirrorRequest& request, ClusterInventory source, ClusterInventory destination,
                     const Ports& ports);

}  // namespace crossover
