/// \file
/// Carrying out one guest's plan.
#pragma once

#include <stop_token>

#include "crossover/report.hpp"
#include "engine/ports.hpp"
#include "engine/transfer_slots.hpp"
#include "plan/point_offer.hpp"

namespace crossover {

/// Walks the steps of a plan that has no problem, which was made of what `offer` offers. What fails is in the report; on every way out the source guest
/// goes on and is unlocked, and a replica whose head is torn stays locked. Disks are worked on side by side, as
/// many as the request allows; each transfer waits for one of `slots`, which all guests of the run share. Tells of
/// steps and warnings, not of the guest's beginning and end; adds to `totals` what was done to disks. Throws
/// Cancelled only.
GuestReport run_guest(const PointOffer& offer, const GuestPlan& plan, const Ports& ports, TransferSlots& slots,
                      MirrorTotals& totals, std::stop_token stop);

}  // namespace crossover
