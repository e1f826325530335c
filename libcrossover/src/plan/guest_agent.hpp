/// \file
/// What a guest's configuration says of its QEMU guest agent. Pure.
#pragma once

#include <string>
#include <string_view>

#include "crossover/vm_config.hpp"

namespace crossover {

/// True if there is one. Whether it answers is another question.
bool has_guest_agent(const VmConfig& config);

/// An option of the line `agent`, "1" and "0" if it is a boolean; empty if it is not there. `alias` is its other
/// name.
std::string guest_agent_option(const VmConfig& config, std::string_view name, std::string_view alias);

}  // namespace crossover
