/// \file
/// A guest's report before anything is done.
#pragma once

#include "crossover/error.hpp"
#include "crossover/report.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

/// Problems a human has to decide about; trying again does not help.
bool is_conflict(ErrorCode code);

/// Says in a report what kept the guest from being mirrored.
void set_error(GuestReport& report, const Error& error);

/// The report of a plan nothing was done for yet: what is planned, or why it cannot be.
GuestReport report_of(const GuestPlan& plan);

}  // namespace crossover
