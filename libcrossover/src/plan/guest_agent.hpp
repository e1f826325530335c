/// \file
/// What a guest's configuration says of its QEMU guest agent. Pure.
#pragma once

#include "crossover/vm_config.hpp"

namespace crossover {

/// True if there is one. Whether it answers is another question.
bool has_guest_agent(const VmConfig& config);

/// True unless the line `agent` says that the guest's file systems are not to be frozen.
bool is_freeze_wanted(const VmConfig& config);

}  // namespace crossover
