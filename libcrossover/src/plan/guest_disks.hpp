/// \file
/// Which of a guest's disks are replicated, and what their replicas are called. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "crossover/drive.hpp"
#include "crossover/report.hpp"
#include "plan/inventory.hpp"

namespace crossover {

/// A disk that is replicated.
struct GuestDisk {
  std::string key;      ///< "scsi0"
  std::string storage;  ///< its storage on the source
  ImageRef image;

  bool operator==(const GuestDisk&) const = default;
};

/// What becomes of the drive lines of a guest's configuration.
struct GuestDisks {
  std::vector<GuestDisk> replicated;     ///< in the order of their lines
  std::vector<std::string> regenerated;  ///< keys of cloud-init drives: PVE makes their image anew at each start
  std::vector<std::string> emptied;      ///< keys of CD drives that stay, without the medium
  std::vector<std::string> dropped;      ///< keys of lines the replica does not get
  std::vector<LeftOut> left_out;         ///< the same for people, every disk that is not replicated among them
};

/// Every drive on RBD whose volume can be read, whatever else its line says, but CDs and disks with backup=0 (unless
/// `all_disks`).
GuestDisks guest_disks(const VmConfig& config, const ClusterInventory& cluster, bool all_disks);

/// The image that a volume id names; nothing if that is none of the cluster's RBD storages.
std::optional<ImageRef> rbd_image_of(const std::string& volume, const ClusterInventory& cluster);

/// Images on RBD that a configuration names, in the order of their lines.
std::vector<ImageRef> images_of(const VmConfig& config, const ClusterInventory& cluster);

/// Access to an RBD storage's cluster from a node of `cluster`. An external cluster keeps the user its storage
/// names: `ceph_user` is one of the cluster's own Ceph.
CephAccess storage_access(const ClusterInventory& cluster, const RbdStorage& storage);

/// The name of a replica's image: the owner's VMID in it replaced by the target's, the source storage behind it, so
/// that disks of two storages cannot meet: vm-100-disk-0 on "data" becomes vm-99100-disk-0-data.
std::string replica_image_name(const std::string& source_image, const std::string& source_storage,
                               std::uint32_t target_vmid);

}  // namespace crossover
