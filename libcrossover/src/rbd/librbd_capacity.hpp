/// \file
/// How much room a pool has.
#pragma once

#include <cstdint>
#include <string>

#include "rbd/librbd_handles.hpp"

namespace crossover::rbd {

/// See LibrbdStore::available_bytes().
std::uint64_t available_bytes(const Cluster& cluster, const std::string& pool);

}  // namespace crossover::rbd
