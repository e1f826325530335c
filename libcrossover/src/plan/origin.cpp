#include "plan/origin.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "crossover/error.hpp"
#include "plan/mirror_plan.hpp"
#include "plan/points.hpp"

namespace crossover {

namespace {

/// Whether the disk was promoted after its origin was. Both records name snapshots of the origin, whose ids only
/// grow: no two clocks have to agree.
bool is_newer(const ReplicaRecord& of_disk, const ReplicaRecord& of_origin) {
  std::uint64_t newest_of_disk = 0;
  for (const PointIds& point : of_disk.points) newest_of_disk = std::max(newest_of_disk, point.source_id);
  std::uint64_t newest_of_origin = 0;
  for (const PointIds& point : of_origin.points) newest_of_origin = std::max(newest_of_origin, point.replica_id);
  return newest_of_disk > newest_of_origin;
}

class OriginFinder {
 public:
  OriginFinder(const GuestScope& scope, const Inventory& inventory) : scope_(scope), inventory_(inventory) {}

  std::vector<std::optional<Origin>> find() {
    std::vector<std::optional<Origin>> origins(scope_.disks.replicated.size());
    const auto present = inventory_.destination.guests.find(scope_.target_vmid);
    if (present == inventory_.destination.guests.end()) return origins;
    const VmConfig config = parse_vm_config(present->second.config);
    if (config.get("vmgenid") != scope_.config.get("vmgenid")) return origins;
    const std::vector<GuestDisk> candidates = guest_disks(config, inventory_.destination, true).replicated;
    for (std::size_t i = 0; i < origins.size(); ++i) {
      for (const GuestDisk& candidate : candidates) {
        if (!is_copied_from(i, candidate.image)) continue;
        if (is_promoted_since(i, candidate.image)) {
          return std::vector<std::optional<Origin>>(origins.size());
        }
        origins[i] = origin_of(i, config, candidate);
      }
    }
    return origins;
  }

 private:
  /// The disk's record, if the disk was promoted as one of this guest.
  [[nodiscard]] std::optional<ReplicaRecord> promoted(std::size_t index) const {
    const ImageState* image = find_image(inventory_.source_images, scope_.disks.replicated[index].image);
    if (image == nullptr) return std::nullopt;
    auto record = readable_record(*image).replica;
    if (record && (!record->promoted || record->target_vmid != scope_.vmid)) record.reset();
    return record;
  }

  [[nodiscard]] bool is_copied_from(std::size_t index, const ImageRef& ref) const {
    const auto record = promoted(index);
    const ImageState* image = find_image(inventory_.replica_images, ref);
    const auto fsid = inventory_.replica_fsids.find(ref.access);
    return record && image != nullptr && fsid != inventory_.replica_fsids.end() &&
           record->source.fsid == fsid->second && record->source.pool_id == image->pool_id &&
           record->source.image_id == image->id;
  }

  [[nodiscard]] bool is_promoted_since(std::size_t index, const ImageRef& ref) const {
    const auto record = readable_record(*find_image(inventory_.replica_images, ref)).replica;
    return record && record->promoted && !is_newer(promoted(index).value(), *record);
  }

  /// Nothing if the image is a replica of something else.
  [[nodiscard]] std::optional<Origin> origin_of(std::size_t index, const VmConfig& config,
                                                const GuestDisk& candidate) const {
    const ImageRef& disk = scope_.disks.replicated[index].image;
    const ImageState& source = *find_image(inventory_.source_images, disk);
    const auto record = readable_record(*find_image(inventory_.replica_images, candidate.image)).replica;
    const bool is_replica = record && !record->promoted;
    const SourceIdentity identity{inventory_.source_fsids.at(disk.access), source.pool_id, source.id, scope_.vmid};
    if (is_replica && (record->source != identity || record->target_vmid != scope_.target_vmid)) {
      return std::nullopt;
    }
    const std::string line = config.get(candidate.key).value();
    return Origin{candidate.image,
                  read_drive(candidate.key, line).volume_text(), is_replica};
  }

  const GuestScope& scope_;
  const Inventory& inventory_;
};

}  // namespace

std::vector<std::optional<Origin>> find_origins(const GuestScope& scope, const Inventory& inventory) {
  return OriginFinder(scope, inventory).find();
}

std::optional<CommonSnapshot> newest_common(const ReplicaRecord& promoted, const ImageState& source,
                                            const ImageState& origin, const std::set<std::string>& bad) {
  for (auto point = promoted.points.rbegin(); point != promoted.points.rend(); ++point) {
    const Snapshot* here = find_snapshot(source, point->name, point->replica_id);
    const Snapshot* there = find_snapshot(origin, point->name, point->source_id);
    if (here == nullptr || there == nullptr || bad.contains(point->name)) continue;
    return CommonSnapshot{*here, *there};
  }
  return std::nullopt;
}

std::vector<std::string> lost_on_way_back(const VmConfig& present, std::uint32_t vmid,
                                          const std::vector<std::string>& volumes) {
  std::vector<std::string> lost;
  for (const Drive& drive : drives_of(present)) {
    const std::string& volume = drive.volume_text();
    if (drive.is_cdrom() || drive.is_cloudinit()) continue;
    if (std::find(volumes.begin(), volumes.end(), volume) != volumes.end()) continue;
    lost.push_back(fmt::format(
        "VM {} over there has {} ({}), which the guest has no disk for: the volume stays, but nothing names it",
        vmid, volume, to_string(drive.key())));
  }
  return lost;
}

}  // namespace crossover
