#include "plan/record_check.hpp"

#include <fmt/format.h>

#include "crossover/snapshot_name.hpp"
#include "plan/adoption.hpp"
#include "plan/foreign_image.hpp"
#include "plan/image_check.hpp"
#include "plan/stop.hpp"
#include "plan/target_identity.hpp"

namespace crossover {

namespace {

/// What was promoted is no replica of its job any more: one of the same name may run from it, the way back.
bool may_share_name(const GuestFacts& facts, const ImageRecord& record) {
  return record.replica->promoted &&
         (goes_back(facts.scope) || (record.source && record.source->jobs.contains(facts.request.job_label)));
}

/// How the disk could go back to the destination, if that is where it came from.
std::string hint_at_way_back(const GuestFacts& facts, const DiskPlan& disk) {
  const ReplicaRecord& record = *disk.source_record.replica;
  if (!record.promoted || record.source.fsid != facts.inventory.replica_fsids.at(disk.replica.access)) return "";
  return fmt::format(". The guest was promoted from VM {} over there: with that as its target it goes back",
                     record.source.guest);
}

}  // namespace

void check_source_record(const GuestFacts& facts, const DiskPlan& disk) {
  const std::uint32_t vmid = facts.scope.vmid;
  const MirrorRequest& request = facts.request;
  const ImageRecord& record = disk.source_record;
  if (record.replica && record.replica->state != ReplicaState::complete) {
    stop_at_conflict(vmid, Conflict::source_unfinished,
                     "{} is itself a replica whose last transfer is not finished; run its own job first",
                     to_string(disk.disk.image.spec));
  }
  if (record.replica && normalize_job(record.replica->job) == request.job_label && !may_share_name(facts, record)) {
    stop_at_conflict(
        vmid, Conflict::job_name_taken,
        "{} is itself a replica of the {}, whose recovery points this job would take for its own; "
        "give it a --jobname that differs in letters and digits{}",
        to_string(disk.disk.image.spec), describe_job(record.replica->job), hint_at_way_back(facts, disk));
  }
  if (!record.source) return;
  const auto job = record.source->jobs.find(request.job_label);
  if (job == record.source->jobs.end()) return;
  if (job->second.job != request.job_name) {
    stop_at_conflict(vmid, Conflict::job_name_taken,
                     "the {} and the {} would share their snapshots' names; rename one so that their letters "
                     "and digits differ",
                     describe_job(job->second.job), describe_job(request.job_name));
  }
  if (job->second.destination_fsid != facts.inventory.replica_fsids.at(disk.replica.access) ||
      job->second.target_vmid != facts.scope.target_vmid) {
    stop_at_conflict(vmid, Conflict::job_name_taken,
                     "the {} mirrors this guest to VM {} on the cluster {}; a second destination needs a "
                     "--jobname of its own",
                     describe_job(request.job_name), job->second.target_vmid, job->second.destination_fsid);
  }
}

void check_replica_record(const GuestFacts& facts, const DiskPlan& disk, const ImageState& image) {
  const MirrorRequest& request = facts.request;
  const std::string name = to_string(disk.replica.spec);
  const auto& record = disk.replica_record.replica;
  if (!record) {
    if (earlier_replica(image) != EarlierReplica::none) stop_at_earlier_replica(facts, name);
    if (const auto names = shell_tool_names(image); !names.empty()) {
      stop_at_conflict(
          facts.scope.vmid, Conflict::image_name_taken,
          "the image {} exists on the destination, and its snapshots ({}) look like the shell tool's; it was not "
          "touched. --adopt takes it over if its content is the source's",
          name, fmt::join(names, ", "));
    }
    stop_at_taken_name(facts, name);
  }
  if (record->source != disk.identity) stop_at_other_source(facts, name, *record, disk.identity);
  if (record->job != request.job_name || record->target_vmid != facts.scope.target_vmid) {
    stop_at_other_job(facts, name, *record);
  }
  if (const auto& source = disk.replica_record.source;
      source && !goes_back(facts.scope) && source->jobs.contains(request.job_label)) {
    stop_at_conflict(facts.scope.vmid, Conflict::job_name_taken,
                     "{} on the destination is mirrored on by the {}, whose recovery points this job would "
                     "take for its own; rename one so that their letters and digits differ, with --jobname",
                     name, describe_job(source->jobs.at(request.job_label).job));
  }
  check_unwatched(facts.scope.vmid, disk.replica, image);
}

}  // namespace crossover
