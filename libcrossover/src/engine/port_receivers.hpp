/// \file
/// Receiving in this process, over the destination's ports.
#pragma once

#include "engine/point_receiver.hpp"
#include "engine/ports.hpp"

namespace crossover {

/// Carries out the plan that is given, at the destination. With `parts_apart` the disks' parts, but for the first one's,
/// are taken by other processes, each of which holds its image meanwhile; `leased`: the source has the guest's lease, so nobody else offers
/// a point of it; see PointAtReplica::leave_parts_to_others().
std::unique_ptr<PointReceiver> receive_point(const MirrorRequest& request, const GuestPlan& plan, Side destination,
                                             TakeNote note, std::stop_token stop, bool parts_apart = false,
                                             bool leased = true);

/// Of a source that is in the same process as whoever receives, and has made the plan from what is there.
class PortReceivers final : public Receivers {
 public:
  explicit PortReceivers(Side destination) : destination_(destination) {}

  std::unique_ptr<PointReceiver> begin(const PointOffer& offer, const GuestPlan& plan, TakeNote note,
                                       std::stop_token stop) override {
    return receive_point(offer.request, plan, destination_, std::move(note), std::move(stop));
  }

 private:
  Side destination_;
};

}  // namespace crossover
