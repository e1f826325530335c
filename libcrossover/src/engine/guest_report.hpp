/// \file
/// A guest's report before anything is done.
#pragma once

#include <chrono>
#include <cstdint>

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

/// A guest that is ok, or planned to be, is incomplete if data of it that nobody excluded is left out.
void require_complete(GuestReport& report);

/// What a mirror run sent of a guest.
struct SentBytes {
  std::uint64_t bytes = 0;            ///< of the diff streams, those of a point that was resumed included
  std::chrono::milliseconds took{0};  ///< the longest transfer of a disk
};

SentBytes sent(const GuestReport& report);

}  // namespace crossover
