#include "plan/cleanup_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "crossover/drive.hpp"
#include "crossover/error.hpp"
#include "plan/guest_disks.hpp"

namespace crossover {

namespace {

/// A line of any section; nothing if it names no volume of a storage, or a CD drive's medium.
std::optional<NamedVolume> named_volume(const VmConfigSection& section, const VmConfigEntry& entry,
                                        const ClusterInventory& cluster) {
  NamedVolume named{.key = entry.key, .volume = entry.value, .image = {}};
  const auto key = parse_drive_key(entry.key);
  const bool is_drive = key || entry.newer;
  if (!is_drive && entry.key != "vmstate") return std::nullopt;
  try {
    if (is_drive) {
      const Drive drive = read_drive(entry.key, entry.value);
      named.cloudinit = drive.is_cloudinit();
      if (drive.is_cdrom() && !named.cloudinit) return std::nullopt;
      named.volume = drive.volume_text();
      named.attached = section.kind == VmSectionKind::main && drive.key().bus != DriveBus::unused;
    }
    const Volume volume = parse_volume(named.volume);
    if (volume.kind != VolumeKind::storage) return std::nullopt;
    named.image = rbd_image_of(named.volume, cluster);
  } catch (const Error&) {
    return std::nullopt;
  }
  return named;
}

bool is_owned(const NamedVolume& volume, std::uint32_t vmid) {
  try {
    return parse_rbd_volume_name(volume.volume.substr(volume.volume.find(':') + 1)).owned_by(vmid);
  } catch (const Error&) {
    // Another kind of storage has names of its own.
    return !volume.image;
  }
}

std::string unused_key(const VmConfig& config) {
  for (int number = 0;; ++number) {
    const std::string key = fmt::format("unused{}", number);
    if (!config.get(key)) return key;
  }
}

bool has(const std::vector<NamedVolume>& volumes, const std::string& volume) {
  return std::any_of(volumes.begin(), volumes.end(), [&](const NamedVolume& one) { return one.volume == volume; });
}

}  // namespace

std::vector<NamedVolume> named_volumes(const VmConfig& config, const ClusterInventory& cluster) {
  std::vector<NamedVolume> found;
  for (const VmConfigSection& section : config.sections()) {
    for (const VmConfigEntry& entry : section.entries) {
      auto named = named_volume(section, entry, cluster);
      if (!named) continue;
      const auto known = std::find_if(found.begin(), found.end(), [&](const NamedVolume& one) {
        return one.image && named->image ? *one.image == *named->image : one.volume == named->volume;
      });
      if (known == found.end()) found.push_back(std::move(*named));
    }
  }
  return found;
}

std::vector<NamedVolume> volumes_of_image(const std::string& name, const ClusterInventory& cluster) {
  std::vector<NamedVolume> found;
  const std::size_t slash = name.rfind('/');
  if (slash == std::string::npos) return found;
  for (const RbdStorage& storage : cluster.storages.rbd_storages()) {
    const ImageSpec spec{storage.pool, storage.rados_namespace, name.substr(slash + 1)};
    if (to_string(spec) != name) continue;
    found.push_back({.key = {},
                     .volume = storage.id + ":" + spec.name,
                     .image = ImageRef{storage_access(cluster, storage), spec}});
  }
  return found;
}

CleanupPlan plan_cleanup(std::uint32_t vmid, const VmConfig& config, const ClusterInventory& cluster,
                         const ImageStates& images, const MigrationRecord& migration,
                         const std::vector<std::string>& asked) {
  CleanupPlan plan;
  std::vector<std::string> missing = asked;
  VmConfig rest = config;
  rest.keep_only_main();
  for (const NamedVolume& volume : named_volumes(config, cluster)) {
    const ImageState* state = volume.image ? find_image(images, *volume.image) : nullptr;
    const auto told = state == nullptr ? std::nullopt : migration_record(*state);
    const bool migrated = volume.attached && told && told->id == migration.id;
    const bool is_asked = std::erase(missing, volume.name()) != 0;
    const bool owned = is_owned(volume, vmid);
    if (is_asked && !owned) {
      throw Error(ErrorCode::usage, "clean up", volume.name(),
                  fmt::format("its name is not VM {}'s, so that Proxmox VE does not remove it with that", vmid));
    }
    const bool goes = owned && (migrated || is_asked || (volume.cloudinit && volume.attached));
    (goes ? plan.gone : plan.kept).push_back(volume);
  }
  for (const std::string& name : missing) {
    const auto candidates = volumes_of_image(name, cluster);
    const auto found = std::find_if(candidates.begin(), candidates.end(), [&](const NamedVolume& one) {
      return is_owned(one, vmid) && find_image(images, *one.image) != nullptr;
    });
    if (found == candidates.end()) {
      throw Error(ErrorCode::usage, "clean up", name,
                  fmt::format("there is no such image of VM {} here; --image takes 'pool/image', as the question "
                              "names it",
                              vmid));
    }
    plan.gone.push_back(*found);
  }
  for (const VmConfigEntry& entry : std::vector<VmConfigEntry>(rest.main().entries)) {
    const auto named = named_volume(rest.main(), entry, cluster);
    if (named && !has(plan.gone, named->volume)) rest.remove(entry.key);
  }
  const std::vector<NamedVolume> left = named_volumes(rest, cluster);
  for (const NamedVolume& volume : plan.gone) {
    if (!has(left, volume.volume)) rest.set(unused_key(rest), volume.volume);
  }
  plan.config = rest.to_bytes();
  return plan;
}

}  // namespace crossover
