/// \file
/// Whether somebody's rights on a storage are enough to receive there.
#pragma once

#include <cstdint>
#include <stop_token>

#include "crossover/storage_config.hpp"
#include "engine/image_store.hpp"

namespace crossover {

/// Does on a storage what receiving does: makes an image, writes to it, makes a snapshot and removes both. The
/// image is called "crossover-probe-" and `number`, which is to be a random one; Proxmox VE takes it for nobody's.
/// Throws the Error of what did not work; the image is gone again then, unless that is what did not work: it is
/// named.
void try_storage(ImageStore& store, const RbdStorage& storage, std::uint64_t number, const std::stop_token& stop);

}  // namespace crossover
