/// \file
/// The store in memory under the contract.
#pragma once

#include <memory>

#include "contract/store_harness.hpp"

namespace crossover::test {

std::unique_ptr<StoreHarness> make_memory_harness();

}  // namespace crossover::test
