/// \file
/// Changes of a guest that wait for its next start. Pure.
#pragma once

#include <string>
#include <vector>

#include "crossover/vm_config.hpp"

namespace crossover {

/// The settings that [PENDING] changes or deletes, in the order of its lines, each once.
std::vector<std::string> pending_keys(const VmConfig& config);

/// Whether one of them is a disk.
bool changes_disks(const std::vector<std::string>& pending);

}  // namespace crossover
