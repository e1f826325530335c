/// \file
/// What of a guest that was migrated may go from the cluster it came from, and what stays. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plan/inventory.hpp"
#include "plan/migration_record.hpp"

namespace crossover {

/// One volume that a configuration names, wherever it does so.
struct NamedVolume {
  std::string key;                ///< of its line: "scsi0", "unused0", "vmstate"
  std::string volume;             ///< "storage:name"
  std::optional<ImageRef> image;  ///< nothing: it is on no RBD storage
  bool attached = false;          ///< the guest itself has it: not an unused one, nor one of a snapshot
  bool cloudinit = false;         ///< PVE makes it anew at each start

  /// "pool/image", or the volume where there is none.
  [[nodiscard]] std::string name() const { return image ? to_string(image->spec) : volume; }
};

/// All that a configuration names in its main section, its pending changes and its snapshots, each once, without
/// the media of CD drives: what `qm destroy` would look at.
std::vector<NamedVolume> named_volumes(const VmConfig& config, const ClusterInventory& cluster);

/// What goes and what stays.
struct CleanupPlan {
  std::vector<NamedVolume> gone;  ///< the disks that were migrated, what PVE makes anew, and what was asked for
  std::vector<NamedVolume> kept;  ///< all else
  std::string config;             ///< bytes that name what goes and nothing else, so that `qm destroy` removes that
};

/// Goes through what a guest's configuration names. A disk goes if it tells of that very migration; anything else
/// only if `asked` names it ("pool/image"). An image that the configuration does not name is found by its name if
/// it is the guest's. What PVE takes for another guest's it does not remove: it stays. ErrorCode::usage for one
/// that is asked for and not there, or not the guest's.
CleanupPlan plan_cleanup(std::uint32_t vmid, const VmConfig& config, const ClusterInventory& cluster,
                         const ImageStates& images, const MigrationRecord& migration,
                         const std::vector<std::string>& asked);

/// The images that may be meant by a name, on every storage of that pool.
std::vector<NamedVolume> volumes_of_image(const std::string& name, const ClusterInventory& cluster);

}  // namespace crossover
