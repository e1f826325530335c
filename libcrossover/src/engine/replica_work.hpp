/// \file
/// What is done to a replica for one point: what the parts of that share.
#pragma once

#include <cstddef>
#include <functional>
#include <stop_token>

#include "engine/point_receiver.hpp"
#include "engine/ports.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

/// What a point makes of a replica, and through what; the source has no part in it. What it refers to outlives it.
struct ReplicaWork {
  const MirrorRequest& request;
  const GuestPlan& plan;
  Side destination;
  TakeNote note;
  std::stop_token stop;

  [[nodiscard]] ImageStore& store(const DiskPlan& disk) const;
  /// Works on all disks, as many side by side as the request allows.
  void for_disks(const std::function<void(const DiskPlan& disk, std::size_t index)>& work) const;
};

}  // namespace crossover
