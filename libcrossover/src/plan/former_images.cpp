#include "plan/former_images.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "plan/points.hpp"
#include "plan/stop.hpp"

namespace crossover {

namespace {

/// As to_string() of an ImageSpec writes it.
std::optional<ImageSpec> parse_spec(const std::string& text) {
  const std::size_t first = text.find('/');
  const std::size_t last = text.rfind('/');
  if (first == std::string::npos || last + 1 == text.size()) return std::nullopt;
  ImageSpec spec{text.substr(0, first), "", text.substr(last + 1)};
  if (first != last) spec.rados_namespace = text.substr(first + 1, last - first - 1);
  return spec;
}

/// Points whose configuration stands on an image; what cannot be read is none.
std::map<std::string, PointConfig> readable_points(const ImageState& image) {
  std::map<std::string, PointConfig> points;
  for (const auto& [key, value] : image.metadata) {
    if (!key.starts_with(point_key_prefix)) continue;
    try {
      points.emplace(key, parse_point(value));
    } catch (const Error&) {  // the point itself will say so
    }
  }
  return points;
}

/// The images that a replica's run is about.
std::set<ImageRef> present_images(const GuestScope& scope) {
  std::set<ImageRef> images(scope.replicas.begin(), scope.replicas.end());
  for (const auto& replaced : scope.replaced) {
    if (replaced) images.insert(*replaced);
  }
  return images;
}

/// Images that others took the place of, and that go to the trash by themselves.
bool is_replaced(const ImageRef& ref, const GuestScope& scope, const ImageStates& images) {
  return std::any_of(scope.replicas.begin(), scope.replicas.end(), [&](const ImageRef& replica) {
    const ImageState* image = find_image(images, replica);
    const auto record = image != nullptr ? readable_record(*image).replica : std::nullopt;
    return record && record->replaces && record->replaces->image == ref.spec;
  });
}

bool is_of_replica(const ReplicaRecord& record, const GuestScope& scope, const MirrorRequest& request,
                   const Inventory& inventory) {
  // Without a disk nothing tells which cluster this is.
  const auto& fsids = inventory.source_fsids;
  const bool is_of_source =
      fsids.empty() || std::any_of(fsids.begin(), fsids.end(),
                                   [&](const auto& fsid) { return fsid.second == record.source.fsid; });
  return is_of_source && record.source.guest == scope.vmid && record.target_vmid == scope.target_vmid &&
         record.job == request.job_name;
}

}  // namespace

std::set<ImageRef> images_named_by(const ImageRef& ref, const ImageState& image, std::uint32_t target_vmid) {
  std::set<ImageRef> images;
  for (const auto& [key, point] : readable_points(image)) {
    if (point.target_vmid != target_vmid) continue;
    for (const std::string& name : point.images) {
      if (auto spec = parse_spec(name)) images.insert({ref.access, *spec});
    }
  }
  const auto record = readable_record(image).replica;
  if (record && record->target_vmid == target_vmid) {
    for (const ImageIdentity& former : record->former) images.insert({ref.access, former.image});
  }
  return images;
}

std::set<std::string> points_that_name(const ImageRef& image, const std::vector<const ImageState*>& replicas) {
  const std::string text = to_string(image.spec);
  std::set<std::string> names;
  for (const ImageState* replica : replicas) {
    for (const auto& [key, point] : readable_points(*replica)) {
      if (std::find(point.images.begin(), point.images.end(), text) != point.images.end()) {
        names.insert(key.substr(point_key_prefix.size()));
      }
    }
  }
  return names;
}

namespace {

/// Why nothing can be told of an image that another one's record names; empty: it can, or it is gone.
std::string why_unknown(const GuestFacts& facts, const ImageRef& ref, const std::string& id) {
  const auto problem = facts.inventory.replica_problems.find(ref);
  if (problem != facts.inventory.replica_problems.end()) return problem->second.text;
  const ImageState* image = find_image(facts.inventory.replica_images, ref);
  const bool is_it = image != nullptr && image->id == id;
  return is_it && !readable_record(*image).replica ? "its record cannot be read" : "";
}

/// What a record says of one that nothing can be told of just now stays.
void plan_unseen(const GuestFacts& facts, GuestPlan& plan) {
  for (const ImageRef& replica : facts.scope.replicas) {
    const ImageState* image = find_image(facts.inventory.replica_images, replica);
    const auto record = image != nullptr ? readable_record(*image).replica : std::nullopt;
    if (!record) continue;
    for (const ImageIdentity& former : record->former) {
      const ImageRef ref{replica.access, former.image};
      const std::string why = why_unknown(facts, ref, former.id);
      if (why.empty()) continue;
      const bool known = std::any_of(plan.former.begin(), plan.former.end(),
                                     [&ref](const FormerReplica& one) { return one.image == ref; });
      if (known) continue;
      plan.former.push_back({ref, former.id, static_cast<std::uint32_t>(points_that_name(ref, {image}).size())});
      plan.warnings.push_back(fmt::format(
          "{} is of a disk that the guest does not have any more, and is left as it is: {}", to_string(ref.spec), why));
    }
  }
}

}  // namespace

std::set<ImageRef> images_beside(const GuestScope& scope, const ImageStates& images) {
  const std::set<ImageRef> present = present_images(scope);
  std::set<ImageRef> beside;
  std::set<ImageRef> replicas = present;
  replicas.insert(scope.target_images.begin(), scope.target_images.end());
  for (const ImageRef& ref : replicas) {
    if (!present.contains(ref)) beside.insert(ref);
    const ImageState* image = find_image(images, ref);
    if (image != nullptr) beside.merge(images_named_by(ref, *image, scope.target_vmid));
  }
  std::erase_if(beside, [&](const ImageRef& ref) { return present.contains(ref) || is_replaced(ref, scope, images); });
  return beside;
}

void find_former_images(GuestScope& scope, const MirrorRequest& request, const Inventory& inventory) {
  for (const ImageRef& ref : images_beside(scope, inventory.replica_images)) {
    const ImageState* image = find_image(inventory.replica_images, ref);
    const auto record = image != nullptr ? readable_record(*image).replica : std::nullopt;
    if (record && is_of_replica(*record, scope, request, inventory)) scope.former.push_back(ref);
  }
}

void plan_former_images(const GuestFacts& facts, GuestPlan& plan) {
  plan_unseen(facts, plan);
  const ImageStates& images = facts.inventory.replica_images;
  std::vector<const ImageState*> replicas;
  for (const auto* refs : {&facts.scope.replicas, &facts.scope.former}) {
    for (const ImageRef& ref : *refs) {
      if (const ImageState* image = find_image(images, ref)) replicas.push_back(image);
    }
  }
  for (const ImageRef& ref : facts.scope.former) {
    const auto points = static_cast<std::uint32_t>(points_that_name(ref, replicas).size());
    plan.former.push_back({ref, find_image(images, ref)->id, points});
    if (!facts.scope.replicas.empty()) continue;
    stop(ErrorCode::conflict,
         "VM {}: none of its disks is replicated any more, and its replica, VM {}, has recovery points of those that "
         "were; without a disk in its configuration nothing would lead to them, so it was not touched. Leave the guest "
         "out (--excludevmids={}), or remove VM {} there if its recovery points are not wanted",
         facts.scope.vmid, facts.scope.target_vmid, facts.scope.vmid, facts.scope.target_vmid);
  }
}

std::vector<FormerImage> former_images(const GuestPlan& plan) {
  std::vector<FormerImage> images;
  for (const FormerReplica& former : plan.former) images.push_back({to_string(former.image.spec), former.points});
  return images;
}

}  // namespace crossover
