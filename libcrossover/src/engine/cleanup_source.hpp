/// \file
/// Removing what is left of a guest on the cluster it was migrated from.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "crossover/sources.hpp"
#include "engine/replica_survey.hpp"

namespace crossover {

/// See Sources::cleanup(). `leases` are on the images of this cluster.
CleanupReport cleanup_source(std::uint32_t vmid, const std::vector<std::string>& images, bool dry_run,
                             const ConfirmCleanup& confirm, const ReplicaPorts& ports, Leases& leases,
                             const std::stop_token& stop);

}  // namespace crossover
