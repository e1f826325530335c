/// \file
/// What this node's own /etc/pve says of storages.
#pragma once

#include "plan/inventory.hpp"

namespace crossover {

/// The cluster's storages and the names of their files, and nothing else of an inventory, without any command.
/// Throws Error{io} if /etc/pve/storage.cfg cannot be read.
ClusterInventory read_storage_files();

}  // namespace crossover
