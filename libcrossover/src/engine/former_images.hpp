/// \file
/// Removing a replica's images whose disks the guest does not have any more.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "crossover/report.hpp"
#include "engine/replica_survey.hpp"

namespace crossover {

struct FormerImages {
  std::vector<std::string> trashed;  ///< "pool/image (id)"
  std::vector<FormerImage> stay;     ///< a recovery point needs them, or `note` was told why
};

/// Looks at the replica as it is now, and moves to RBD's trash those of its former images that no recovery point names.
/// One stays that has a snapshot, is open, is named by any VM's configuration, or is being written by a run meanwhile:
/// `note` is told. A run that takes such a disk up again at that very moment fails, and copies it anew the next time.
/// Throws Error if the cluster cannot be asked, Cancelled when stopped.
FormerImages trash_former_images(std::uint32_t vmid, const ReplicaPorts& ports,
                                 const std::function<void(const std::string&)>& note, const std::stop_token& stop);

}  // namespace crossover
