/// \file
/// A recovery point as the source offers it: all that the destination's half of its plan is made from. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "plan/mirror_plan.hpp"

namespace crossover {

/// What the source saw of the destination when it planned a point.
struct SeenDestination {
  ClusterInventory cluster;  ///< of its guests this one's replica alone
  std::map<CephAccess, std::string> fsids;
  ImageStates images;
  ImageProblems problems;
};

/// One guest's point. The source's inventory has this guest and what its plan needs beside it.
struct PointOffer {
  MirrorRequest request;  ///< for this guest alone, by its VMID
  ClusterInventory source;
  std::map<CephAccess, std::string> source_fsids;
  ImageStates source_images;
  SeenDestination seen;  ///< spares a look of who receives it, if that believes the source
  Repair repair;
  std::chrono::sys_seconds now{};  ///< when the source planned it

  [[nodiscard]] std::uint32_t vmid() const { return request.vmids.guests.at(0).source; }
  [[nodiscard]] std::uint32_t target_vmid() const;
};

/// The offer of the point that plan_guest() plans with the same arguments.
PointOffer offer_point(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
                       std::chrono::sys_seconds now, const Repair& repair);

/// What a plan makes of a replica, in lines that are equal where two plans mean the same: the destination's steps, and
/// of each disk its image, where its diff begins, and what is there.
std::string destination_half(const GuestPlan& plan);

}  // namespace crossover
