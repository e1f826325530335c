/// \file
/// One guest's whole run, from its plan to its report.
#pragma once

#include <stop_token>
#include <vector>

#include "crossover/report.hpp"
#include "engine/ports.hpp"
#include "engine/transfer_slots.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

/// Plans the guest from what the run's survey found, takes the lease on its disks, and carries the plan out. A
/// point that an earlier run began is completed first, and a new one made after that. Where a connection breaks the
/// guest is looked at again and gone on with, as often as the request says. Every failure is in the report. Tells
/// of the guest's beginning and end, and adds to `totals`. Throws Cancelled only.
GuestReport mirror_guest(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
                         const Ports& ports, TransferSlots& slots, MirrorTotals& totals, std::stop_token stop,
                         const Repair& repair = {});

/// The same of a guest whose disks the caller has leased; `leased` is triggered when it loses them, too. What
/// retention is to remove is left to the caller, in `removals`: there is no hurry with that.
GuestReport mirror_leased_guest(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
                                const Ports& ports, TransferSlots& slots, MirrorTotals& totals,
                                std::vector<Removal>& removals, std::stop_token leased);

}  // namespace crossover
