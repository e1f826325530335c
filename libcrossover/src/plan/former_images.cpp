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

bool is_same_cluster(const CephAccess& one, const CephAccess& other) {
  return one.conf == other.conf && one.monitors == other.monitors;
}

void add_named(std::set<ImageRef>& images, const ImageRef& named) {
  ImageRef added = named;
  for (const ImageRef& ref : images) {
    if (!is_same_cluster(ref.access, named.access) || ref.spec.pool != named.spec.pool ||
        ref.spec.rados_namespace != named.spec.rados_namespace) {
      continue;
    }
    if (ref.spec == named.spec) return;
    added.access = ref.access;
  }
  images.insert(std::move(added));
}

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
    // What a cut run has begun: a disk that left since may have no other point.
    for (const std::string& name : record->point ? record->point->images : std::vector<std::string>()) {
      if (auto spec = parse_spec(name)) images.insert({ref.access, *spec});
    }
  }
  return images;
}

namespace {

std::set<std::string> names_of_points(const ImageSpec& image, const std::vector<const ImageState*>& replicas) {
  const std::string text = to_string(image);
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

/// Why nothing can be told of an image that another one's record names; empty: it can, or it is gone.
std::string why_unknown(const GuestFacts& facts, const ImageRef& named, const std::string& id) {
  const auto is_it = [&named](const ImageRef& ref) {
    return ref.spec == named.spec && is_same_cluster(ref.access, named.access);
  };
  for (const auto& [ref, problem] : facts.inventory.replica_problems) {
    if (is_it(ref)) return problem.text;
  }
  for (const auto& [ref, image] : facts.inventory.replica_images) {
    if (is_it(ref) && image && image->id == id && !readable_record(*image).replica) return "its record cannot be read";
  }
  return "";
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
      const std::set<std::string> points = names_of_points(former.image, {image});
      plan.former.push_back({ref, former.id, static_cast<std::uint32_t>(points.size()), false});
      plan.warnings.push_back(fmt::format(
          "{} is of a disk that the guest does not have any more, and is left as it is: {}", to_string(ref.spec), why));
    }
  }
}

}  // namespace

std::set<std::string> points_that_name(const ImageRef& image, const ImageState& state,
                                       const std::vector<const ImageState*>& replicas) {
  std::set<std::string> names = names_of_points(image.spec, replicas);
  std::erase_if(names, [&state](const std::string& name) {
    return std::none_of(state.snapshots.begin(), state.snapshots.end(),
                        [&name](const Snapshot& snapshot) { return snapshot.name == name; });
  });
  return names;
}

std::set<ImageRef> images_beside(const GuestScope& scope, const ImageStates& images) {
  const std::set<ImageRef> present = present_images(scope);
  std::set<ImageRef> beside = present;
  for (const ImageRef& ref : scope.target_images) add_named(beside, ref);
  for (const ImageRef& ref : std::set<ImageRef>(beside)) {
    const ImageState* image = find_image(images, ref);
    if (image == nullptr) continue;
    for (const ImageRef& named : images_named_by(ref, *image, scope.target_vmid)) add_named(beside, named);
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
    const ImageState& image = *find_image(images, ref);
    const auto points = static_cast<std::uint32_t>(points_that_name(ref, image, replicas).size());
    plan.former.push_back({ref, image.id, points});
    if (!facts.scope.replicas.empty()) continue;
    stop(ErrorCode::conflict,
         "VM {}: none of its disks is replicated any more, and its replica, VM {}, has recovery points of those that "
         "were; without a disk in its configuration nothing would lead to them, so it was not touched. Take a disk in "
         "again (--all-disks takes those with backup=0), leave the guest out (--excludevmids={}), or remove VM {} there if "
         "its recovery points are not wanted",
         facts.scope.vmid, facts.scope.target_vmid, facts.scope.vmid, facts.scope.target_vmid);
  }
}

std::vector<FormerImage> former_images(const GuestPlan& plan) {
  std::vector<FormerImage> images;
  for (const FormerReplica& former : plan.former) images.push_back({to_string(former.image.spec), former.points});
  return images;
}

}  // namespace crossover
