#include "engine/survey.hpp"

#include <algorithm>
#include <future>
#include <set>

#include "crossover/error.hpp"

namespace crossover {

namespace {

/// Looks at every image once, one round trip for each way into a cluster where the store can do that.
void look_at(const std::set<ImageRef>& images, ImageStores& stores, ImageStates& states,
             std::map<CephAccess, std::string>& fsids) {
  std::map<CephAccess, std::vector<ImageSpec>> by_access;
  for (const ImageRef& image : images) by_access[image.access].push_back(image.spec);
  for (const auto& [access, specs] : by_access) {
    ImageStore& store = stores.open(access);
    fsids[access] = store.fsid();
    const std::vector<std::optional<ImageState>> found = store.find_all(specs);
    for (std::size_t i = 0; i < specs.size(); ++i) states[{access, specs[i]}] = found[i];
  }
}

bool is_replica(const GuestScope& scope, const ImageStates& images) {
  return std::any_of(scope.disks.replicated.begin(), scope.disks.replicated.end(), [&](const GuestDisk& disk) {
    const auto found = images.find(disk.image);
    if (found == images.end() || !found->second) return false;
    try {
      const ImageRecord record = image_record(*found->second);
      return record.replica && record.replica->target_vmid == scope.vmid;
    } catch (const Error&) {
      return false;  // the guest's plan says so, and only that guest fails
    }
  });
}

}  // namespace

Survey survey_guests(const MirrorRequest& request, ClusterInventory source, ClusterInventory destination,
                     const Ports& ports) {
  Survey result;
  result.guests = scope_guests(request, source, destination);
  Inventory& inventory = result.inventory;
  inventory.source = std::move(source);
  inventory.destination = std::move(destination);

  std::set<ImageRef> source_images;
  std::set<ImageRef> replica_images;
  for (const GuestScope& guest : result.guests) {
    for (const GuestDisk& disk : guest.disks.replicated) source_images.insert(disk.image);
    replica_images.insert(guest.replicas.begin(), guest.replicas.end());
    replica_images.insert(guest.target_images.begin(), guest.target_images.end());
  }
  auto looked = std::async(std::launch::async, [&] {
    look_at(replica_images, ports.destination.images, inventory.replica_images, inventory.replica_fsids);
  });
  look_at(source_images, ports.source.images, inventory.source_images, inventory.source_fsids);
  looked.get();

  std::erase_if(result.guests, [&](const GuestScope& guest) {
    return !guest.by_name && is_replica(guest, inventory.source_images);
  });
  return result;
}

Survey survey(const MirrorRequest& request, const Ports& ports, std::stop_token stop) {
  auto destination = std::async(std::launch::async, [&] { return ports.destination.hypervisor.survey(stop); });
  ClusterInventory source = ports.source.hypervisor.survey(stop);
  return survey_guests(request, std::move(source), destination.get(), ports);
}

}  // namespace crossover
