#include "plan/guest_disks.hpp"

#include <fmt/format.h>

#include "crossover/error.hpp"

namespace crossover {

namespace {

/// Why a drive is not replicated though it holds data; empty if it is.
std::string why_not(const Drive& drive, const std::string& bios, const ClusterInventory& cluster, bool all_disks) {
  const Volume volume = drive.volume();
  if (volume.kind == VolumeKind::path) return "it is a device of the host";
  if (drive.key().bus == DriveBus::efidisk && bios != "ovmf") return "the guest does not use it (bios is not ovmf)";
  if (!all_disks && !drive.in_backup(bios))
    return "it is excluded from backups (backup=0); --all-disks includes it";
  if (volume.kind != VolumeKind::storage) return "it has no volume";
  const Storage* storage = cluster.storages.find(volume.storage);
  if (storage == nullptr) return fmt::format("the source has no storage '{}'", volume.storage);
  if (storage->type != "rbd") {
    return fmt::format("its storage '{}' is of type {}, not rbd", volume.storage, storage->type);
  }
  try {
    (void)parse_rbd_volume_name(volume.name);
  } catch (const Error& error) {
    return error.cause();
  }
  return "";
}

}  // namespace

std::vector<ImageRef> images_of(const VmConfig& config, const ClusterInventory& cluster) {
  std::vector<ImageRef> images;
  for (const GuestDisk& disk : guest_disks(config, cluster, true).replicated) images.push_back(disk.image);
  return images;
}

CephAccess storage_access(const ClusterInventory& cluster, const RbdStorage& storage) {
  return ceph_access(storage, cluster.ceph_files.contains(storage.id + ".keyring"),
                     cluster.ceph_files.contains(storage.id + ".conf"));
}

GuestDisks guest_disks(const VmConfig& config, const ClusterInventory& cluster, bool all_disks) {
  GuestDisks disks;
  const std::string bios = config.get("bios").value_or("");
  for (const Drive& drive : drives_of(config)) {
    const std::string key = to_string(drive.key());
    if (drive.key().bus == DriveBus::unused) {
      disks.dropped.push_back(key);
      disks.left_out.push_back({key, drive.volume_text(), "it is not attached to the guest", true});
    } else if (drive.is_cloudinit()) {
      disks.regenerated.push_back(key);
      disks.left_out.push_back(
          {key, drive.volume_text(), "a cloud-init image is made anew when the replica starts", false});
    } else if (drive.is_cdrom()) {
      if (drive.volume().kind == VolumeKind::none) continue;
      disks.emptied.push_back(key);
      disks.left_out.push_back({key, drive.volume_text(), "the medium of a CD drive is not replicated", false});
    } else if (const std::string reason = why_not(drive, bios, cluster, all_disks); !reason.empty()) {
      disks.dropped.push_back(key);
      disks.left_out.push_back({key, drive.volume_text(), reason, true});
    } else {
      const Volume volume = drive.volume();
      const RbdStorage storage = *cluster.storages.rbd(volume.storage);
      disks.replicated.push_back(
          {key, volume.storage, {storage_access(cluster, storage), image_spec(storage, volume.name)}});
    }
  }
  for (const auto& [key, reason] : dropped_drives(config)) {
    disks.dropped.push_back(key);
    disks.left_out.push_back({key, "", "PVE does not accept its line: " + reason, true});
  }
  return disks;
}

std::string replica_image_name(const std::string& source_image, const std::string& source_storage,
                               std::uint32_t target_vmid) {
  const RbdVolumeName name = parse_rbd_volume_name(source_image);
  // The owner is the first number of the name: "vm-100-disk-0" and "base-100-disk-0" alike.
  const std::size_t at = name.image.find("-" + name.owner + "-") + 1;
  return fmt::format("{}{}{}-{}", name.image.substr(0, at), target_vmid, name.image.substr(at + name.owner.size()),
                     source_storage);
}

}  // namespace crossover
