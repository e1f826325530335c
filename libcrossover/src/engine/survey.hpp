/// \file
/// Asking both sides everything a plan needs.
#pragma once

#include <future>
#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/ports.hpp"
#include "plan/point_offer.hpp"

namespace crossover {

/// What both sides are, and the guests that are meant.
struct Survey {
  Inventory inventory;
  std::vector<GuestScope> guests;
};

/// Looks at every image once, one round trip for each way into a cluster where the store can do that. A way that
/// fails is a problem of its images; the only way is everybody's, and its Error is thrown.
void look_at(const std::set<ImageRef>& images, ImageStores& stores, ImageStates& states, ImageProblems& problems,
             std::map<CephAccess, std::string>& fsids);

/// Asks both hypervisors at once, then does what survey_guests() does.
Survey survey(const MirrorRequest& request, const Ports& ports, std::stop_token stop);

/// As survey(), tried again where a connection breaks, as often as the request says.
Survey survey_often(const MirrorRequest& request, const Ports& ports, const std::stop_token& stop);

/// As survey(), once nobody has the replicas open any more, or after a minute: a writer that was cut off keeps its
/// image open until its node, or Ceph, has noticed. Who runs a replica is not waited for.
Survey settled_survey(const MirrorRequest& request, const Ports& ports, std::stop_token stop);

/// Looks at the images of the guests that are meant, and at no others. Guests that "all" or a tag swept in but that
/// are themselves replicas of ours are left out, so that two clusters can mirror to each other.
Survey survey_guests(const MirrorRequest& request, ClusterInventory source,
                     std::future<ClusterInventory> destination, const Ports& ports);

/// What the destination is for a point that is offered: asks its hypervisor, then looks at the images that the guest's
/// replica has or is to have; a source that is `believed` saw that already. The source is what the offer says.
Survey survey_offered(const PointOffer& offer, const Side& destination, bool believed, std::stop_token stop);

}  // namespace crossover
