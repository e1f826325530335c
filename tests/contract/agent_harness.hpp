/// \file
/// Stores behind an agent under the contract.
#pragma once

#include <memory>
#include <string>

#include "contract/ceph_harness.hpp"
#include "contract/store_harness.hpp"
#include "engine/shell.hpp"

namespace crossover::test {

/// The store in memory behind an agent in this process.
std::unique_ptr<StoreHarness> make_agent_memory_harness();

/// librbd behind an agent in this process.
std::unique_ptr<StoreHarness> make_agent_librbd_harness(LabCluster& cluster);

/// librbd behind `crossover agent`, a process of its own. `command` is the folder of the crossover command.
std::unique_ptr<StoreHarness> make_agent_process_harness(LabCluster& cluster, const std::string& folder);

/// Finds the crossover command in `folder`, on this host.
std::shared_ptr<Shell> make_built_shell(const std::string& folder);

}  // namespace crossover::test
