#include "plan/snapshot_limit.hpp"

#include <algorithm>
#include <string>

#include "plan/stop.hpp"

namespace crossover {

namespace {

void check(const GuestPlan& plan, const ImageRef& ref, const ImageStates& images, bool on_source,
           std::vector<std::string>& warnings) {
  const ImageState* const image = find_image(images, ref);
  if (image == nullptr) return;
  const auto removed = std::count_if(plan.removals.begin(), plan.removals.end(), [&](const Removal& removal) {
    return removal.on_source == on_source && removal.image == ref;
  });
  const std::size_t then = image->snapshots.size() + 1 - static_cast<std::size_t>(removed);
  const char* const whose = on_source ? "the guest" : "the replica";
  if (then > krbd_snapshots) {
    stop(ErrorCode::unsupported,
         "VM {}: {} would have {} snapshots, and its storage maps images with the kernel's client, which maps none with "
         "more than {}: {} could not be started any more. Keep fewer recovery points (--keep{}), or remove snapshots "
         "that are not needed",
         plan.vmid, to_string(ref.spec), then, krbd_snapshots, whose, on_source ? "local" : "remote");
  }
  if (then < many_snapshots) return;
  warnings.push_back(fmt::format(
      "{} will have {} snapshots, and with more than {} {} cannot be started (its storage maps images with the kernel's "
      "client); keep fewer recovery points (--keep{})",
      to_string(ref.spec), then, krbd_snapshots, whose, on_source ? "local" : "remote"));
}

bool is_krbd(const ClusterInventory& cluster, const std::string& storage) {
  const auto rbd = cluster.storages.rbd(storage);
  return rbd && rbd->krbd;
}

}  // namespace

void check_snapshot_limit(const GuestFacts& facts, GuestPlan& plan) {
  const bool there = is_krbd(facts.inventory.destination, facts.request.pool);
  for (const DiskPlan& disk : plan.disks) {
    if (is_krbd(facts.inventory.source, disk.disk.storage)) {
      check(plan, disk.disk.image, facts.inventory.source_images, true, plan.warnings);
    }
    if (there) check(plan, disk.replica, facts.inventory.replica_images, false, plan.warnings);
  }
}

}  // namespace crossover
