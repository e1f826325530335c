/// \file
/// One guest's part of a run.
#pragma once

#include <stop_token>

#include "crossover/report.hpp"
#include "engine/ports.hpp"
#include "engine/transfer_slots.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

/// Plans a guest's run and carries it out. Where a run was cut in the middle of a recovery point, that point is
/// completed first; then the guest is looked at again and gets a new one as always. In a dry run it only plans. See
/// run_guest().
GuestReport mirror_guest(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
                         const Ports& ports, TransferSlots& slots, MirrorTotals& totals, std::stop_token stop);

}  // namespace crossover
