/// \file
/// Images that new copies take the place of.
#pragma once

#include <memory>
#include <vector>

#include "engine/replica_work.hpp"

namespace crossover {

/// Keeps them from everybody else. ErrorCode::in_use if somebody has one open.
std::vector<std::unique_ptr<ImageHold>> hold_replaced(const ReplicaWork& work);

/// Moves them to the trash, and out of the new copies' records, which `records` are as they stand. What cannot be
/// moved is left to the next run.
void retire_replaced(const ReplicaWork& work, std::vector<std::optional<ReplicaRecord>>& records);

}  // namespace crossover
