#include "engine/survey.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <future>
#include <set>
#include <span>

#include "crossover/error.hpp"
#include "engine/retry.hpp"
#include "engine/unexpected_error.hpp"
#include "plan/former_images.hpp"

namespace crossover {

namespace {

/// True if asking about another image would fail in the same way.
bool is_about_the_way(const Error& error) {
  return error.code() == ErrorCode::unreachable || error.code() == ErrorCode::timeout ||
         error.code() == ErrorCode::authentication || error.code() == ErrorCode::host_key;
}

/// What images of one cluster are; an image that cannot be looked at does not keep the others from it.
void look_at(std::span<const ImageSpec> specs, const CephAccess& access, ImageStore& store, ImageStates& states,
             ImageProblems& problems) {
  try {
    const std::vector<std::optional<ImageState>> found = store.find_all(specs);
    for (std::size_t i = 0; i < specs.size(); ++i) states[{access, specs[i]}] = found[i];
  } catch (...) {
    const Error error = failure_at_hand();
    if (is_about_the_way(error)) throw;
    if (specs.size() == 1) {
      problems.insert_or_assign({access, specs.front()}, Problem{error.code(), error.what()});
      return;
    }
    const std::size_t half = specs.size() / 2;
    look_at(specs.first(half), access, store, states, problems);
    look_at(specs.subspan(half), access, store, states, problems);
  }
}

}  // namespace

void look_at(const std::set<ImageRef>& images, ImageStores& stores, ImageStates& states, ImageProblems& problems,
             std::map<CephAccess, std::string>& fsids) {
  std::map<CephAccess, std::vector<ImageSpec>> by_access;
  for (const ImageRef& image : images) by_access[image.access].push_back(image.spec);
  std::size_t failed = 0;
  for (const auto& [access, specs] : by_access) {
    try {
      ImageStore& store = stores.open(access);
      fsids[access] = store.fsid();
      look_at(specs, access, store, states, problems);
    } catch (...) {
      const Error error = failure_at_hand();
      if (++failed == by_access.size()) throw;
      for (const ImageSpec& spec : specs) {
        problems.insert_or_assign({access, spec}, Problem{error.code(), error.what()});
      }
    }
  }
}

namespace {

bool is_replica(const GuestScope& scope, const ImageStates& images) {
  return std::any_of(scope.disks.replicated.begin(), scope.disks.replicated.end(), [&](const GuestDisk& disk) {
    const auto found = images.find(disk.image);
    if (found == images.end() || !found->second) return false;
    const auto record = readable_record(*found->second).replica;
    return record && record->target_vmid == scope.vmid && !record->promoted;
  });
}

bool is_running(const ClusterInventory& cluster, std::uint32_t vmid) {
  const auto guest = cluster.guests.find(vmid);
  return guest != cluster.guests.end() && guest->second.power == Power::running;
}

/// Waits until nobody has an image open, as long as `left` allows. Returns whether it waited.
bool wait_until_closed(const Ports& ports, const GuestScope& guest, const ImageRef& image,
                       std::vector<std::string> watchers, std::chrono::seconds& left, const std::stop_token& stop) {
  constexpr std::chrono::seconds interval{1};
  if (watchers.empty() || left.count() == 0) return false;
  ports.events.on_event(
      {.kind = EventKind::warning,
       .vmid = guest.vmid,
       .target_vmid = guest.target_vmid,
       .text = fmt::format("{} is open elsewhere, by {}; waiting for up to {} s, for it may be what "
                           "is left of a run that was cut off",
                           to_string(image.spec), fmt::join(watchers, ", "), left.count())});
  for (; !watchers.empty() && left.count() > 0; left -= interval) {
    ports.clock.wait(interval, stop);
    const auto now = ports.destination.images.open(image.access).find(image.spec);
    watchers = now ? now->watchers : std::vector<std::string>();
  }
  return true;
}

bool wait_until_closed(const Ports& ports, const Survey& found, const std::stop_token& stop) {
  std::chrono::seconds left{60};
  bool waited = false;
  for (const GuestScope& guest : found.guests) {
    if (is_running(found.inventory.destination, guest.target_vmid)) continue;
    std::set<ImageRef> images(guest.replicas.begin(), guest.replicas.end());
    images.insert(guest.target_images.begin(), guest.target_images.end());
    for (const ImageRef& image : images) {
      const auto state = found.inventory.replica_images.find(image);
      if (state == found.inventory.replica_images.end() || !state->second) continue;
      waited = wait_until_closed(ports, guest, image, state->second->watchers, left, stop) || waited;
    }
  }
  return waited;
}

/// Connects to the images' clusters. What goes wrong is for whoever looks at them to meet.
void connect_ahead(const std::set<ImageRef>& images, ImageStores& stores) {
  std::set<CephAccess> accesses;
  for (const ImageRef& image : images) accesses.insert(image.access);
  for (const CephAccess& access : accesses) {
    try {
      (void)stores.open(access).fsid();
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): see above
    }
  }
}

std::set<ImageRef> images_in_place(const std::vector<GuestScope>& guests) {
  std::set<ImageRef> images;
  for (const GuestScope& guest : guests) images.merge(crossover::images_in_place(guest));
  return images;
}

/// Disks may have left a guest since its older points were made. Of most guests nothing more is to be looked at.
void look_at_former_images(Survey& survey, const MirrorRequest& request, ImageStores& stores) {
  Inventory& inventory = survey.inventory;
  std::set<ImageRef> images;
  for (const GuestScope& guest : survey.guests) {
    for (const ImageRef& ref : images_beside(guest, inventory.replica_images)) {
      if (!inventory.replica_images.contains(ref) && !inventory.replica_problems.contains(ref)) images.insert(ref);
    }
  }
  if (!images.empty()) {
    look_at(images, stores, inventory.replica_images, inventory.replica_problems, inventory.replica_fsids);
  }
  for (GuestScope& guest : survey.guests) find_former_images(guest, request, inventory);
}

}  // namespace

Survey survey_guests(const MirrorRequest& request, ClusterInventory source,
                     std::future<ClusterInventory> destination, const Ports& ports) {
  Survey result;
  Inventory& inventory = result.inventory;
  inventory.source = std::move(source);
  inventory.source.ceph_user = request.source_user;
  result.guests = scope_guests(request, inventory.source);
  std::set<ImageRef> source_images;
  for (const GuestScope& guest : result.guests) {
    for (const GuestDisk& disk : guest.disks.replicated) source_images.insert(disk.image);
  }
  {
    const auto connected =
        std::async(std::launch::async, [&] { connect_ahead(source_images, ports.source.images); });
    inventory.destination = destination.get();
  }
  inventory.destination.ceph_user = request.destination_user;
  place_replicas(result.guests, request, inventory.destination);
  const std::set<ImageRef> replica_images = images_in_place(result.guests);
  // Both sides at one moment: another run may be at work.
  auto looked = std::async(std::launch::async, [&] {
    look_at(replica_images, ports.destination.images, inventory.replica_images, inventory.replica_problems,
            inventory.replica_fsids);
  });
  look_at(source_images, ports.source.images, inventory.source_images, inventory.source_problems,
          inventory.source_fsids);
  looked.get();

  for (GuestScope& guest : result.guests) choose_replicas(guest, request, inventory);
  look_at_former_images(result, request, ports.destination.images);
  std::erase_if(result.guests, [&](const GuestScope& guest) {
    return !guest.by_name && is_replica(guest, inventory.source_images);
  });
  return result;
}

Survey survey_offered(const PointOffer& offer, const Side& destination, bool believed, std::stop_token stop) {
  Survey result;
  Inventory& inventory = result.inventory;
  inventory.source = offer.source;
  inventory.source.ceph_user = offer.request.source_user;
  inventory.source_fsids = offer.source_fsids;
  inventory.source_images = offer.source_images;
  result.guests = scope_guests(offer.request, inventory.source);
  inventory.destination =
      believed ? offer.seen.cluster
               : destination.hypervisor.survey({.guests = {{offer.target_vmid()}}}, std::move(stop));
  inventory.destination.ceph_user = offer.request.destination_user;
  place_replicas(result.guests, offer.request, inventory.destination);
  if (believed) {
    inventory.replica_images = offer.seen.images;
    inventory.replica_problems = offer.seen.problems;
    inventory.replica_fsids = offer.seen.fsids;
  } else {
    look_at(images_in_place(result.guests), destination.images, inventory.replica_images, inventory.replica_problems,
            inventory.replica_fsids);
  }
  for (GuestScope& guest : result.guests) choose_replicas(guest, offer.request, inventory);
  look_at_former_images(result, offer.request, destination.images);
  return result;
}

Survey survey(const MirrorRequest& request, const Ports& ports, std::stop_token stop) {
  const NamedGuests named = named_guests(request);
  auto destination = std::async(
      std::launch::async, [&] { return ports.destination.hypervisor.survey({.guests = named.targets}, stop); });
  ClusterInventory source = ports.source.hypervisor.survey({.guests = named.sources}, stop);
  return survey_guests(request, std::move(source), std::move(destination), ports);
}

Survey survey_often(const MirrorRequest& request, const Ports& ports, const std::stop_token& stop) {
  return with_retries(
      request.retries, ports.clock, stop, [&] { return survey(request, ports, stop); },
      [&](const Error& error, std::chrono::milliseconds pause) {
        ports.events.on_event({.kind = EventKind::retrying, .text = error.what(), .elapsed = pause});
      });
}

Survey settled_survey(const MirrorRequest& request, const Ports& ports, std::stop_token stop) {
  Survey found = survey(request, ports, stop);
  if (wait_until_closed(ports, found, stop)) found = survey(request, ports, stop);
  return found;
}

}  // namespace crossover
