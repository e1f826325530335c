#include "plan/adoption.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "crossover/snapshot_name.hpp"
#include "plan/stop.hpp"
#include "plan/target_identity.hpp"

namespace crossover {

namespace {

const Snapshot* snapshot_named(const ImageState& image, const std::string& name) {
  const auto found = std::find_if(image.snapshots.begin(), image.snapshots.end(),
                                  [&](const Snapshot& snapshot) { return snapshot.name == name; });
  return found == image.snapshots.end() ? nullptr : &*found;
}

std::string names_or_none(const std::vector<std::string>& names) {
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

/// The newest snapshot of the shell tool that both sides have of every disk whose replica it made; with the disks
/// that were taken over by a run that was cut, it is theirs. Empty: there is none.
std::string shell_tool_base(const GuestFacts& facts) {
  const GuestScope& scope = facts.scope;
  std::optional<std::set<std::string>> common;
  for (std::size_t i = 0; i < scope.disks.replicated.size(); ++i) {
    const ImageState* source = find_image(facts.inventory.source_images, scope.disks.replicated[i].image);
    const ImageState* replica = find_image(facts.inventory.replica_images, scope.replicas[i]);
    if (source == nullptr || replica == nullptr) continue;
    std::set<std::string> names;
    if (const auto record = image_record(*replica).replica) {
      for (const PointIds& point : record->points) {
        if (point.adopted) names.insert(point.name);
      }
      if (names.empty()) continue;
    } else {
      for (const std::string& name : shell_tool_names(*replica)) {
        if (snapshot_named(*source, name) != nullptr) names.insert(name);
      }
    }
    if (common) std::erase_if(*common, [&](const std::string& name) { return !names.contains(name); });
    if (!common) common = names;
  }
  return !common || common->empty() ? "" : *common->rbegin();
}

}  // namespace

std::vector<std::string> shell_tool_names(const ImageState& image) {
  std::vector<std::string> names;
  for (const Snapshot& snapshot : image.snapshots) {
    if (parse_shell_tool_snapshot_name(snapshot.name)) names.push_back(snapshot.name);
  }
  return names;
}

void plan_adoption(const GuestFacts& facts, const ImageState& source, const ImageState& replica, DiskPlan& disk,
                   std::vector<std::string>& warnings) {
  const std::uint32_t vmid = facts.scope.vmid;
  const std::string here = to_string(disk.disk.image.spec);
  const std::string there = to_string(disk.replica.spec);
  if (!is_named_by_this_guest(facts, disk.replica)) {
    stop_at_conflict(
        vmid, Conflict::another_source,
        "nothing says that {} is this guest's: VM {} on the destination does not have its vmgenid and name the "
        "image. It was not touched; remove or rename it, or choose another target VMID",
        there, facts.scope.target_vmid);
  }
  const std::string name = shell_tool_base(facts);
  if (name.empty()) {
    stop_at_conflict(
        vmid, Conflict::no_common_base,
        "no snapshot of the shell tool is on both sides of every disk: {} has {}, {} has {}. Nothing was "
        "touched; --reseed makes a new copy beside the old one",
        here, names_or_none(shell_tool_names(source)), there, names_or_none(shell_tool_names(replica)));
  }
  const Snapshot& source_base = *snapshot_named(source, name);
  const Snapshot& replica_base = *snapshot_named(replica, name);
  if (source_base.size_bytes != replica_base.size_bytes) {
    stop_at_conflict(
        vmid, Conflict::size_mismatch,
        "{} of {} has {} bytes, of {} {}. Nothing was touched; --reseed makes a new copy beside the old one", name,
        here, source_base.size_bytes, there, replica_base.size_bytes);
  }
  disk.adopt = true;
  disk.source_base = source_base;
  disk.replica_base = replica_base;
  disk.replica_newest = replica_base;
  disk.points = {{name, source_base.id, replica_base.id, false, true}};
  warnings.push_back(
      fmt::format("the shell tool's snapshots are left as they are: {} of {}, {} of {}; once this run is through "
                  "they can be removed",
                  names_or_none(shell_tool_names(source)), here, names_or_none(shell_tool_names(replica)), there));
}

}  // namespace crossover
