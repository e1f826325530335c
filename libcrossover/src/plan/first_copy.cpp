#include "plan/first_copy.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "crossover/snapshot_name.hpp"
#include "plan/stop.hpp"

namespace crossover {

namespace {

bool has_only_our_snapshots(const ImageState& image, const std::string& label) {
  return std::all_of(image.snapshots.begin(), image.snapshots.end(), [&](const Snapshot& snapshot) {
    const auto name = parse_snapshot_name(snapshot.name);
    return name && name->job == label;
  });
}

}  // namespace

bool was_just_created(const ImageRecord& source_record, const std::string& job_label, const ImageRef& ref,
                      const ImageState& image) {
  const auto& record = source_record.source;
  if (!record || !record->jobs.contains(job_label)) return false;
  return record->jobs.at(job_label).creating == to_string(ref.spec) && image.metadata.empty() &&
         has_only_our_snapshots(image, job_label);
}

void plan_again(const GuestFacts& facts, const PointNames& names, const ImageState& replica, DiskPlan& disk) {
  const std::uint32_t vmid = facts.scope.vmid;
  if (!has_only_our_snapshots(replica, facts.request.job_label)) {
    std::vector<std::string> present;
    for (const Snapshot& snapshot : replica.snapshots) present.push_back(snapshot.name);
    stop_at_conflict(vmid, Conflict::image_name_taken,
                     "{} is an unfinished first copy, but not all of its snapshots ({}) are ours; remove the "
                     "others, or the image",
                     to_string(disk.replica.spec), fmt::join(present, ", "));
  }
  for (const Snapshot& snapshot : replica.snapshots) {
    if (names.committed.contains(snapshot.name)) {
      stop_at_conflict(vmid, Conflict::no_common_base,
                       "{} has the recovery point {}, but its record says that it has none; it was not touched. "
                       "--reseed makes a new copy beside it",
                       to_string(disk.replica.spec), snapshot.name);
    }
  }
  disk.full = true;
  disk.replace = true;
}

}  // namespace crossover
