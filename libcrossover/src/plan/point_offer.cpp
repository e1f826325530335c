#include "plan/point_offer.hpp"

#include <fmt/format.h>

#include "plan/former_images.hpp"

namespace crossover {

namespace {

/// What the guest's plan is made from, of all that the source's cluster is.
ClusterInventory part_of(const ClusterInventory& cluster, std::uint32_t vmid) {
  const GuestState& guest = cluster.guests.at(vmid);
  ClusterInventory part;
  part.entry_node = cluster.entry_node;
  part.name = cluster.name;
  part.writable = cluster.writable;
  if (const auto node = cluster.nodes.find(guest.node); node != cluster.nodes.end()) part.nodes.insert(*node);
  part.storages = cluster.storages;
  part.ceph_files = cluster.ceph_files;
  part.guests.emplace(vmid, guest);
  part.ceph_user = cluster.ceph_user;
  return part;
}

SeenDestination seen_of(const Inventory& inventory, const GuestScope& scope, const PointOffer& offer) {
  SeenDestination seen;
  seen.cluster = inventory.destination;
  std::erase_if(seen.cluster.guests, [&scope](const auto& guest) { return guest.first != scope.target_vmid; });
  std::erase_if(seen.cluster.containers, [&scope](const auto& guest) { return guest.first != scope.target_vmid; });
  seen.fsids = inventory.replica_fsids;
  // Among which the replicas are chosen, and what was.
  std::vector<GuestScope> placed = scope_guests(offer.request, offer.source);
  place_replicas(placed, offer.request, seen.cluster);
  std::set<ImageRef> images = images_in_place(placed.at(0));
  images.merge(images_in_place(scope));
  images.insert(scope.former.begin(), scope.former.end());
  images.merge(images_beside(scope, inventory.replica_images));
  for (const ImageRef& image : images) {
    const auto state = inventory.replica_images.find(image);
    if (state != inventory.replica_images.end()) seen.images.insert(*state);
    const auto problem = inventory.replica_problems.find(image);
    if (problem != inventory.replica_problems.end()) seen.problems.insert(*problem);
  }
  return seen;
}

std::string id_of(const std::optional<Snapshot>& snapshot) {
  return snapshot ? fmt::format("{}:{}", snapshot->id, snapshot->name) : "-";
}

}  // namespace

std::uint32_t PointOffer::target_vmid() const {
  return request.vmids.guests.at(0).target.value_or(vmid());
}

PointOffer offer_point(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
                       std::chrono::sys_seconds now, const Repair& repair) {
  PointOffer offer;
  offer.request = request;
  offer.request.vmids = {.all = false, .guests = {{scope.vmid, scope.target_vmid}}};
  offer.request.excluded.clear();
  offer.request.tag.clear();
  offer.source = part_of(inventory.source, scope.vmid);
  offer.source_fsids = inventory.source_fsids;
  for (const GuestDisk& disk : scope.disks.replicated) {
    const auto state = inventory.source_images.find(disk.image);
    if (state != inventory.source_images.end()) offer.source_images.insert(*state);
  }
  offer.seen = seen_of(inventory, scope, offer);
  offer.repair = repair;
  offer.now = now;
  return offer;
}

std::string destination_half(const GuestPlan& plan) {
  if (plan.problem) return "problem: " + plan.problem->text + "\n";
  std::string half = fmt::format("point {} of VM {} as VM {}{}\n", plan.snapshot, plan.vmid, plan.target_vmid,
                                 plan.resumes ? ", resumed" : "");
  for (const Step& step : plan.steps) {
    if (is_at_replica(step.kind)) half += fmt::format("step {} {}\n", static_cast<int>(step.kind), step.disk);
  }
  for (const DiskPlan& disk : plan.disks) {
    half += fmt::format("disk {} from {} to {}, replaces {}, base {} {}, newest {}, ends {} {}, offset {}{}{}{}{}{}\n",
                        disk.disk.key, to_string(disk.disk.image.spec), to_string(disk.replica.spec),
                        disk.replaces ? disk.replaces->id : "-", id_of(disk.source_base), id_of(disk.replica_base),
                        id_of(disk.replica_newest), id_of(disk.source_end), id_of(disk.replica_end), disk.offset,
                        disk.full ? ", full" : "", disk.adopt ? ", adopt" : "", disk.take_back ? ", take back" : "",
                        disk.replace ? ", replace" : "", disk.applied ? ", applied" : "");
  }
  return half;
}

}  // namespace crossover
