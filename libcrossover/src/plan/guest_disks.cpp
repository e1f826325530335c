#include "plan/guest_disks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "crossover/error.hpp"
#include "model/text.hpp"

namespace crossover {

namespace {

/// Why a drive's data cannot be replicated; empty if it can.
std::string why_not(const Volume& volume, const ClusterInventory& cluster) {
  if (volume.kind == VolumeKind::path) return "it is a device of the host";
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

/// Lines of a drive that are not the one that counts.
void leave_out_other_lines(const VmConfig& config, const Drive& drive, GuestDisks& disks) {
  const std::string key = to_string(drive.key());
  const auto& entries = config.main().entries;
  const auto counts = std::find_if(entries.rbegin(), entries.rend(),
                                   [&](const VmConfigEntry& entry) { return entry.key == key && !entry.dropped; });
  for (const VmConfigEntry& entry : entries) {
    if (entry.key != key || entry.dropped || &entry == &*counts) continue;
    const std::string volume = read_drive(key, entry.value).volume_text();
    if (volume == drive.volume_text()) continue;
    // Proxmox VE would take the other line if it does not know all of the last one either.
    disks.left_out.push_back({key, volume,
                              fmt::format("line {} says it, and line {} of the same drive counts; take one of the "
                                          "two out of the configuration",
                                          entry.line, counts->line),
                              counts->newer, false});
  }
}

/// What is no disk that could be replicated; true if the drive was one of these.
bool leave_out(const Drive& drive, const ClusterInventory& cluster, bool all_disks, GuestDisks& disks) {
  const std::string key = to_string(drive.key());
  const Volume volume = drive.volume();
  const auto name = [&](std::string reason, bool is_disk, bool excluded) {
    disks.left_out.push_back({key, drive.volume_text(), std::move(reason), is_disk, excluded});
    return true;
  };
  const bool is_unused = drive.key().bus == DriveBus::unused;
  if (drive.is_cloudinit() && !is_unused) {
    disks.regenerated.push_back(key);
    return name("a cloud-init image is made anew when the replica starts", false, false);
  }
  if (drive.is_cdrom() && !is_unused) {
    if (volume.kind == VolumeKind::none) return true;
    disks.emptied.push_back(key);
    return name("the medium of a CD drive is not replicated", false, false);
  }
  const bool has_data = volume.kind == VolumeKind::storage || volume.kind == VolumeKind::path;
  const bool is_excluded = !all_disks && !drive.flag("backup", true);
  std::string reason = is_unused  ? "it is not attached to the guest"
                       : has_data ? why_not(volume, cluster)
                                  : "it has no volume";
  if (reason.empty() && is_excluded) reason = "it is excluded from backups (backup=0); --all-disks includes it";
  if (reason.empty()) return false;
  disks.dropped.push_back(key);
  return name(std::move(reason), has_data, is_unused || is_excluded);
}

}  // namespace

std::optional<ImageRef> rbd_image_of(const std::string& volume, const ClusterInventory& cluster) {
  try {
    const Volume named = parse_volume(volume);
    const auto storage = cluster.storages.rbd(named.storage);
    if (!storage) return std::nullopt;
    return ImageRef{storage_access(cluster, *storage), image_spec(*storage, named.name)};
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::vector<ImageRef> images_of(const VmConfig& config, const ClusterInventory& cluster) {
  std::vector<ImageRef> images;
  for (const GuestDisk& disk : guest_disks(config, cluster, true).replicated) images.push_back(disk.image);
  return images;
}

CephAccess storage_access(const ClusterInventory& cluster, const RbdStorage& storage) {
  CephAccess access = ceph_access(storage, cluster.ceph_files.contains(storage.id + ".keyring"),
                                  cluster.ceph_files.contains(storage.id + ".conf"));
  if (cluster.ceph_user && !storage.external) {
    access.user = cluster.ceph_user->name;
    access.keyring = cluster.ceph_user->keyring;
  }
  return access;
}

GuestDisks guest_disks(const VmConfig& config, const ClusterInventory& cluster, bool all_disks) {
  GuestDisks disks;
  for (const Drive& drive : drives_of(config)) {
    leave_out_other_lines(config, drive, disks);
    if (leave_out(drive, cluster, all_disks, disks)) continue;
    const Volume volume = drive.volume();
    const RbdStorage storage = *cluster.storages.rbd(volume.storage);
    disks.replicated.push_back({to_string(drive.key()), volume.storage,
                                {storage_access(cluster, storage), image_spec(storage, volume.name)}});
  }
  for (const auto& [key, reason] : dropped_drives(config)) {
    disks.dropped.push_back(key);
    // Where another line of the same drive counts, it is all there is.
    const std::string why = "its line cannot be read: " + text::one_line(reason);
    disks.left_out.push_back({key, "", why, !config.get(key), false});
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
