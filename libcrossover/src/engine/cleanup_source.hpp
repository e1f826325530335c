/// \file
/// Removing what is left of a guest on the cluster it was migrated from.
#pragma once

#include <cstdint>
#include <stop_token>

#include "crossover/sources.hpp"
#include "engine/replica_survey.hpp"

namespace crossover {

/// See Sources::cleanup().
CleanupReport cleanup_source(std::uint32_t vmid, bool dry_run, const ConfirmCleanup& confirm,
                             const ReplicaPorts& ports, const std::stop_token& stop);

}  // namespace crossover
