#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "plan/mirror_plan.hpp"
#include "plan/points.hpp"
#include "plan/replica_config.hpp"

namespace crossover {

namespace {

/// The guests "all" stands for: those with the tag, if one is asked for, and no templates.
std::set<Vmid> swept_guests(const MirrorRequest& request, const ClusterInventory& source) {
  std::set<Vmid> swept;
  for (const auto& [vmid, guest] : source.guests) {
    const VmConfig config = parse_vm_config(guest.config);
    if (config.flag("template", false)) continue;
    if (!request.tag.empty() && !config.has_tag(request.tag)) continue;
    swept.insert(vmid);
  }
  return swept;
}

void check_named(const MirrorRequest& request, const ClusterInventory& source) {
  for (const VmidPair& guest : request.vmids.guests) {
    if (source.guests.contains(guest.source) || request.excluded.contains(guest.source)) continue;
    const auto container = source.containers.find(guest.source);
    if (container != source.containers.end()) {
      throw Error(ErrorCode::unsupported, "mirror", fmt::format("VM {}", guest.source),
                  fmt::format("it is a container on {}; only VMs are mirrored so far", container->second));
    }
    throw Error(ErrorCode::not_found, "mirror", fmt::format("VM {}", guest.source),
                "the source cluster has no such guest; 'qm list' on its nodes shows what there is");
  }
}

RbdStorage target_storage(const MirrorRequest& request, const ClusterInventory& destination) {
  const Storage* entry = destination.storages.find(request.pool);
  if (entry == nullptr) {
    std::string known;
    for (const RbdStorage& storage : destination.storages.rbd_storages()) {
      known += (known.empty() ? "" : ", ") + storage.id;
    }
    if (destination.restriction) {
      throw Error(ErrorCode::permission, "use storage", request.pool,
                  fmt::format("the destination's agent is restricted to {}", to_string(*destination.restriction)));
    }
    throw Error(ErrorCode::not_found, "use storage", request.pool,
                fmt::format("the destination has no storage of that id; --pool can be one of its RBD storages: {}",
                            known.empty() ? "(it has none)" : known));
  }
  const auto storage = destination.storages.rbd(request.pool);
  if (!storage) {
    throw Error(
        ErrorCode::usage, "use storage", request.pool,
        fmt::format("on the destination it is of type {}, and replicas need type rbd; choose another --pool",
                    entry->type));
  }
  if (!is_available(*storage, destination.entry_node)) {
    throw Error(ErrorCode::usage, "use storage", request.pool,
                fmt::format("the destination's node {} cannot use it (disabled, or limited to other nodes)",
                            destination.entry_node));
  }
  return *storage;
}

/// The configurations this run replaces must be told apart before any of them is written.
void find_collisions(std::vector<GuestScope>& scopes) {
  std::map<ImageRef, GuestScope*> by_image;
  for (GuestScope& scope : scopes) {
    for (std::size_t i = 0; i < scope.replicas.size(); ++i) {
      const auto [taken, first] = by_image.emplace(scope.replicas[i], &scope);
      if (!first) {
        scope.problem =
            Problem{ErrorCode::conflict,
                    fmt::format("VM {}: {}: {} and a disk of VM {} would both become {}; rename one of the volumes",
                                scope.vmid, to_string(Conflict::image_name_taken), scope.disks.replicated[i].key,
                                taken->second->vmid, to_string(scope.replicas[i].spec)),
                    Conflict::image_name_taken};
      }
    }
  }
}

constexpr int first_spare = 2;
constexpr int last_spare = 9;

/// A record that cannot be read is the plan's to complain of.
std::optional<ReplicaRecord> replica_record(const ImageState& image) {
  try {
    return image_record(image).replica;
  } catch (const Error&) {
    return std::nullopt;
  }
}

/// Chooses the images of one guest's replica.
class ReplicaChooser {
 public:
  ReplicaChooser(GuestScope& scope, const MirrorRequest& request, const Inventory& inventory)
      : scope_(scope), request_(request), inventory_(inventory) {}

  void choose() {
    const std::size_t count = scope_.replicas.size();
    scope_.replaced.assign(count, std::nullopt);
    scope_.origins = find_origins(scope_, inventory_);
    for (std::size_t i = 0; i < count; ++i) {
      if (const auto& origin = scope_.origins[i]) {
        scope_.replicas[i] = origin->image;
        scope_.volumes[i] = origin->volume;
      } else {
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
      const auto record = replica_record(*image);
      if (!record || !is_of(index, *record)) continue;
      take(index, ref);
      if (record->replaces) scope_.going_on = true;
      return;
    }
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
    const auto record = replica_record(*image);
    if (!record) return is_being_created(*here, *image, spare);
    if (!is_of(index, *record) || record->job != request_.job_name) return false;
    // A copy that was complete once, and is of no use any more, is in the way of nothing.
    return record->points.empty() ||
           std::any_of(record->points.begin(), record->points.end(), [&](const PointIds& point) {
             return find_snapshot(*here, point.name, point.source_id) != nullptr &&
                    find_snapshot(*image, point.name, point.replica_id) != nullptr;
           });
  }

  /// A run that is cut right after it created an image leaves one that says nothing.
  bool is_being_created(const ImageState& source, const ImageState& image, const ImageRef& ref) const {
    try {
      const auto record = image_record(source).source;
      return image.metadata.empty() && record && record->jobs.contains(request_.job_label) &&
             record->jobs.at(request_.job_label).creating == to_string(ref.spec);
    } catch (const Error&) {
      return false;
    }
  }

  GuestScope& scope_;
  const MirrorRequest& request_;
  const Inventory& inventory_;
};

}  // namespace

void choose_replicas(GuestScope& scope, const MirrorRequest& request, const Inventory& inventory) {
  ReplicaChooser(scope, request, inventory).choose();
}

NamedGuests named_guests(const MirrorRequest& request) {
  NamedGuests named;
  if (request.vmids.all) return named;
  named.sources.emplace();
  named.targets.emplace();
  for (const VmidPair& guest : assign_targets(request.vmids, {}, request.excluded, request.prefix)) {
    named.sources->insert(guest.source);
    named.targets->insert(guest.target.value_or(guest.source));
  }
  return named;
}

std::vector<GuestScope> scope_guests(const MirrorRequest& request, const ClusterInventory& source) {
  std::vector<GuestScope> scopes;
  check_named(request, source);
  std::set<Vmid> named;
  for (const VmidPair& guest : request.vmids.guests) named.insert(guest.source);
  for (const VmidPair& guest :
       assign_targets(request.vmids, swept_guests(request, source), request.excluded, request.prefix)) {
    const Vmid vmid = guest.source;
    GuestScope scope;
    scope.vmid = vmid;
    scope.by_name = named.contains(vmid);
    scope.config = parse_vm_config(source.guests.at(vmid).config);
    if (!request.tag.empty() && !scope.config.has_tag(request.tag)) continue;
    scope.name = scope.config.display_name(vmid);
    scope.target_vmid = guest.target.value_or(vmid);
    scope.disks = guest_disks(scope.config, source, request.options.all_disks);
    scopes.push_back(std::move(scope));
  }
  return scopes;
}

void place_replicas(std::vector<GuestScope>& scopes, const MirrorRequest& request,
                    const ClusterInventory& destination) {
  const RbdStorage storage = target_storage(request, destination);
  const CephAccess access = storage_access(destination, storage);
  for (GuestScope& scope : scopes) {
    for (const GuestDisk& disk : scope.disks.replicated) {
      const std::string name = replica_image_name(disk.image.spec.name, disk.storage, scope.target_vmid);
      scope.replicas.push_back({access, image_spec(storage, name)});
      scope.volumes.push_back(storage.id + ":" + name);
      scope.spares.emplace_back();
      for (int number = first_spare; request.options.reseed && number <= last_spare; ++number) {
        scope.spares.back().push_back({access, image_spec(storage, fmt::format("{}-r{}", name, number))});
      }
    }
    const auto present = destination.guests.find(scope.target_vmid);
    if (present != destination.guests.end()) {
      scope.target_images = images_of(parse_vm_config(present->second.config), destination);
    }
  }
  find_collisions(scopes);
}

}  // namespace crossover
