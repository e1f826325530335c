/// \file
/// Carrying out one guest's plan.
#pragma once

#include <stop_token>

#include "crossover/report.hpp"
#include "engine/ports.hpp"
#include "engine/transfer_slots.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

/// Walks the plan's steps. What fails is in the report; on every way out the source guest is thawed and unlocked,
/// and a replica whose head is torn stays locked. Disks are worked on side by side, as many as the request allows;
/// each transfer waits for one of `slots`, which all guests of the run share. Adds to `totals`. Throws Cancelled
/// only.
///
/// A plan that resumes a point tells of the guest's beginning and not of its end, unless it fails; the plan that
/// follows gets the point it has `resumed` and does the rest.
GuestReport run_guest(const MirrorRequest& request, const GuestPlan& plan, const Ports& ports, TransferSlots& slots,
                      MirrorTotals& totals, const ResumedPoint* resumed, std::stop_token stop);

}  // namespace crossover
