#include "plan/image_check.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "model/image_access.hpp"
#include "plan/stop.hpp"
#include "plan/target_identity.hpp"

namespace crossover {

void require_looked_at(std::uint32_t vmid, const ImageProblems& problems, const ImageRef& ref) {
  const auto found = problems.find(ref);
  if (found == problems.end()) return;
  stop(found->second.code, "VM {}: {}: {}", vmid, to_string(ref.spec), found->second.text);
}

namespace {

/// An image that Ceph lets nobody write to, or of which it does not tell what changed.
void require_usable(std::uint32_t vmid, const ImageStates& images, const ImageRef& ref) {
  const ImageState* image = find_image(images, ref);
  if (image == nullptr) return;
  const std::uint64_t features = image->layout.features;
  for (const std::string& why : {why_unwritable(ref.spec, features), why_unlisted(ref.spec, features)}) {
    if (!why.empty()) stop(ErrorCode::conflict, "VM {}: {}: {}", vmid, to_string(ref.spec), why);
  }
}

}  // namespace

void require_all_looked_at(const GuestFacts& facts) {
  const GuestScope& scope = facts.scope;
  const Inventory& inventory = facts.inventory;
  for (const GuestDisk& disk : scope.disks.replicated) {
    require_looked_at(scope.vmid, inventory.source_problems, disk.image);
    require_usable(scope.vmid, inventory.source_images, disk.image);
  }
  const auto require_replica = [&](const ImageRef& ref) {
    require_looked_at(scope.vmid, inventory.replica_problems, ref);
    require_usable(scope.vmid, inventory.replica_images, ref);
  };
  for (const ImageRef& ref : scope.replicas) require_replica(ref);
  for (const ImageRef& ref : scope.target_images) require_replica(ref);
  for (const auto& ref : scope.replaced) {
    if (ref) require_replica(*ref);
  }
}

void check_promoted(const GuestFacts& facts) {
  const GuestScope& scope = facts.scope;
  std::vector<ImageRef> images = scope.replicas;
  // Through a restricted agent nothing is taken back; that something was is known by the source's word alone.
  if (!goes_back(scope) || facts.inventory.destination.restriction) {
    images.insert(images.end(), scope.target_images.begin(), scope.target_images.end());
  }
  for (const auto& ref : scope.replaced) {
    if (ref) images.push_back(*ref);
  }
  for (const ImageRef& ref : images) {
    if (is_origin(scope, ref)) continue;
    const ImageState* image = find_image(facts.inventory.replica_images, ref);
    if (image == nullptr) continue;
    if (earlier_replica(*image) == EarlierReplica::promoted) {
      stop_at_conflict(scope.vmid, Conflict::replica_promoted,
                       "{} belongs to a guest that was recovered or migrated with an earlier build of crossover, and was "
                       "not touched, whatever was asked for. Take VM {} out of this job, or choose another target VMID",
                       to_string(ref.spec), scope.vmid);
    }
    const auto record = image_record(*image).replica;
    if (!record || !record->promoted || record->target_vmid != scope.target_vmid) continue;
    stop_at_conflict(
        scope.vmid, Conflict::replica_promoted,
        "VM {} was made a guest of its own at {}, on {:%Y-%m-%dT%H:%M:%SZ}, and was not "
        "touched. If it is to stay, take VM {} out of this job; if it is to be a replica again, remove it with "
        "its disks ('qm destroy {}' over there), and the next run makes a new copy",
        scope.target_vmid, record->promoted->point, record->promoted->time, scope.vmid, scope.target_vmid);
  }
}

void check_unwatched(std::uint32_t vmid, const ImageRef& ref, const ImageState& image) {
  if (image.watchers.empty()) return;
  stop_at_conflict(
      vmid, Conflict::image_in_use,
      "{} on the destination is open elsewhere, by {}; it was not touched. End what uses it there, and run again",
      to_string(ref.spec), fmt::join(image.watchers, ", "));
}

}  // namespace crossover
