#include <fmt/format.h>

#include <algorithm>

#include "plan/first_copy.hpp"
#include "plan/mirror_plan.hpp"
#include "plan/points.hpp"

namespace crossover {

namespace {

/// Chooses the images of one guest's replica.
class ReplicaChooser {
 public:
  ReplicaChooser(GuestScope& scope, const MirrorRequest& request, const Inventory& inventory)
      : scope_(scope), request_(request), inventory_(inventory) {}

  void choose() {
    const std::size_t count = scope_.replicas.size();
    scope_.replaced.assign(count, std::nullopt);
    scope_.origins = find_origins(scope_, inventory_);
    const bool is_promoted = std::any_of(scope_.target_images.begin(), scope_.target_images.end(),
                                         [this](const ImageRef& ref) { return is_promoted_replica(ref); });
    for (std::size_t i = 0; i < count; ++i) {
      if (const auto& origin = scope_.origins[i]) {
        scope_.replicas[i] = origin->image;
        scope_.volumes[i] = origin->volume;
      } else if (!is_promoted || !take_configured(i)) {
        take_named(i);
      }
    }
    if (!request_.options.reseed || scope_.going_on) return;
    for (std::size_t i = 0; i < count && !scope_.problem; ++i) {
      if (find_image(inventory_.replica_images, scope_.replicas[i]) != nullptr) take_spare(i);
    }
  }

 private:
  const ImageState* source(std::size_t index) const {
    return find_image(inventory_.source_images, scope_.disks.replicated[index].image);
  }

  /// True if the record says that its image is the replica of this very disk.
  bool is_of(std::size_t index, const ReplicaRecord& record) const {
    const ImageState* image = source(index);
    const auto fsid = inventory_.source_fsids.find(scope_.disks.replicated[index].image.access);
    if (image == nullptr || fsid == inventory_.source_fsids.end()) return false;
    return record.target_vmid == scope_.target_vmid &&
           record.source == SourceIdentity{fsid->second, image->pool_id, image->id, scope_.vmid};
  }

  void take(std::size_t index, const ImageRef& ref) {
    scope_.replicas[index] = ref;
    scope_.volumes[index] = request_.pool + ":" + ref.spec.name;
  }

  /// One in another storage was made for another --pool.
  void take_named(std::size_t index) {
    for (const ImageRef& ref : scope_.target_images) {
      const ImageRef& usual = scope_.replicas[index];
      const ImageState* image = find_image(inventory_.replica_images, ref);
      if (image == nullptr || ref.access != usual.access || ref.spec.pool != usual.spec.pool ||
          ref.spec.rados_namespace != usual.spec.rados_namespace) {
        continue;
      }
      const auto record = readable_record(*image).replica;
      if (!record || !is_of(index, *record)) continue;
      take(index, ref);
      if (record->replaces) scope_.going_on = true;
      return;
    }
  }

  /// Of any disk of this guest.
  bool is_promoted_replica(const ImageRef& ref) const {
    const ImageState* image = find_image(inventory_.replica_images, ref);
    const auto record = image != nullptr ? readable_record(*image).replica : std::nullopt;
    if (!record || !record->promoted) return false;
    for (std::size_t i = 0; i < scope_.replicas.size(); ++i) {
      if (is_of(i, *record)) return true;
    }
    return false;
  }

  /// A replica that was made a guest of its own, be it of one disk yet, is what its migration goes on with, whichever
  /// --pool is asked for; other runs are refused because of it.
  bool take_configured(std::size_t index) {
    const auto present = inventory_.destination.guests.find(scope_.target_vmid);
    if (present == inventory_.destination.guests.end()) return false;
    const VmConfig config = parse_vm_config(present->second.config);
    for (const GuestDisk& disk : guest_disks(config, inventory_.destination, true).replicated) {
      const ImageState* image = find_image(inventory_.replica_images, disk.image);
      const auto record = image != nullptr ? readable_record(*image).replica : std::nullopt;
      if (!record || !is_of(index, *record)) continue;
      scope_.replicas[index] = disk.image;
      scope_.volumes[index] = disk.storage + ":" + disk.image.spec.name;
      return true;
    }
    return false;
  }

  void take_spare(std::size_t index) {
    const ImageRef old = scope_.replicas[index];
    for (const ImageRef& spare : scope_.spares[index]) {
      if (!is_usable(index, spare)) continue;
      scope_.replaced[index] = old;
      take(index, spare);
      return;
    }
    scope_.problem = Problem{ErrorCode::conflict,
                             fmt::format("VM {}: {}: there is no free name for a new copy of {}, up to {}; remove "
                                         "what is not needed",
                                         scope_.vmid, to_string(Conflict::image_name_taken), to_string(old.spec),
                                         to_string(scope_.spares[index].back().spec)),
                             Conflict::image_name_taken};
  }

  bool is_usable(std::size_t index, const ImageRef& spare) const {
    const auto is_spare = [&spare](const ImageRef& ref) { return ref == spare; };
    if (std::any_of(scope_.replicas.begin(), scope_.replicas.end(), is_spare)) return false;
    if (std::any_of(scope_.target_images.begin(), scope_.target_images.end(), is_spare)) return false;
    if (inventory_.replica_problems.contains(spare)) return false;
    const ImageState* image = find_image(inventory_.replica_images, spare);
    if (image == nullptr) return true;
    const ImageState* here = source(index);
    if (here == nullptr) return false;
    const auto record = readable_record(*image).replica;
    if (!record) return was_just_created(readable_record(*here), request_.job_label, spare, *image);
    if (!is_of(index, *record) || record->job != request_.job_name) return false;
    // A copy that was complete once, and is of no use any more, is in the way of nothing.
    return record->points.empty() ||
           std::any_of(record->points.begin(), record->points.end(), [&](const PointIds& point) {
             return find_snapshot(*here, point.name, point.source_id) != nullptr &&
                    find_snapshot(*image, point.name, point.replica_id) != nullptr;
           });
  }

  GuestScope& scope_;
  const MirrorRequest& request_;
  const Inventory& inventory_;
};

}  // namespace

std::set<ImageRef> images_in_place(const GuestScope& scope) {
  std::set<ImageRef> images(scope.replicas.begin(), scope.replicas.end());
  images.insert(scope.target_images.begin(), scope.target_images.end());
  for (const std::vector<ImageRef>& spares : scope.spares) images.insert(spares.begin(), spares.end());
  return images;
}

void choose_replicas(GuestScope& scope, const MirrorRequest& request, const Inventory& inventory) {
  ReplicaChooser(scope, request, inventory).choose();
}

}  // namespace crossover
