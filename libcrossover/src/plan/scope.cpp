#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "plan/mirror_plan.hpp"
#include "plan/replica_config.hpp"
#include "plan/shared_disks.hpp"

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

}  // namespace

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
  find_shared_disks(scopes, source, request.options.all_disks);
  return scopes;
}

std::vector<LeftOutContainer> left_out_containers(const MirrorRequest& request, const ClusterInventory& source) {
  std::vector<LeftOutContainer> containers;
  if (!request.vmids.all) return containers;
  for (const auto& [vmid, node] : source.containers) {
    if (request.excluded.contains(vmid)) continue;
    const std::string tag = request.tag.empty() ? "" : "; whether it has the tag was not looked at";
    containers.push_back({vmid, node, "only VMs are mirrored so far" + tag});
  }
  return containers;
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
