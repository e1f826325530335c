#include "engine/source_record.hpp"

namespace crossover {

namespace {

/// The source's record, with the image that is being created, unless that is what `present` says already.
void save(const GuestWork& work, const DiskPlan& disk, const std::string& creating,
          const std::optional<RollbackTargets>& older, const ImageRecord& present) {
  ImageRecord record = disk.source_record;
  if (!record.source) record.source = SourceRecord{disk.identity, {}};
  record.source->jobs[work.request.job_label] = {work.request.job_name, work.destination(disk).fsid(),
                                                 work.plan.target_vmid, creating, older};
  if (record == present) return;
  work.require_live_lock(disk);
  work.source(disk).set_metadata(disk.disk.image.spec, std::string(record_key), render_record(record));
}

}  // namespace

void record_source(const GuestWork& work) {
  work.for_disks([&](const DiskPlan& disk, std::size_t) {
    save(work, disk, disk.full ? to_string(disk.replica.spec) : "", older_than_base(work, disk),
         disk.source_record);
  });
}

void record_complete(const GuestWork& work, const DiskPlan& disk, const std::optional<RollbackTargets>& older) {
  save(work, disk, "", older, {});
}

std::optional<RollbackTargets> older_than_base(const GuestWork& work, const DiskPlan& disk) {
  if (!disk.source_record.source || !disk.source_base) return std::nullopt;
  const auto& jobs = disk.source_record.source->jobs;
  const auto job = jobs.find(work.request.job_label);
  if (job == jobs.end() || !job->second.older) return std::nullopt;
  return job->second.older->base_id == disk.source_base->id ? job->second.older : std::nullopt;
}

}  // namespace crossover
