/// \file
/// Waiting for a guest to run.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

#include "engine/ports.hpp"

namespace crossover {

/// Waits until a guest that was started runs. ErrorCode::timeout if it does not after a minute.
void wait_until_running(GuestPower& power, Clock& clock, const std::string& node, std::uint32_t vmid,
                        const std::stop_token& stop);

}  // namespace crossover
