#include "engine/source_record.hpp"

namespace crossover {

namespace {

/// What is written there of the run's job.
const SourceJob* present_job(const GuestWork& work, const DiskPlan& disk) {
  if (!disk.source_record.source) return nullptr;
  const auto& jobs = disk.source_record.source->jobs;
  const auto job = jobs.find(work.request.job_label);
  return job == jobs.end() ? nullptr : &job->second;
}

SourceJob job_of(const GuestWork& work, const DiskPlan& disk, const std::string& creating,
                 const std::optional<RollbackTargets>& older) {
  return {work.request.job_name, work.destination(disk).fsid(), work.plan.target_vmid, creating, older};
}

void save(const GuestWork& work, const DiskPlan& disk, const SourceJob& job) {
  work.require_live_lock(disk);
  work.source(disk).set_metadata(disk.disk.image.spec, source_key(work.request.job_label),
                                 render_source_job(disk.identity, job));
}

}  // namespace

void record_source(const GuestWork& work) {
  work.for_disks([&](const DiskPlan& disk, std::size_t) {
    const SourceJob job =
        job_of(work, disk, disk.full ? to_string(disk.replica.spec) : "", older_than_base(work, disk));
    const SourceJob* present = present_job(work, disk);
    if (present == nullptr || *present != job) save(work, disk, job);
  });
}

void record_complete(const GuestWork& work, const DiskPlan& disk, const std::optional<RollbackTargets>& older) {
  save(work, disk, job_of(work, disk, "", older));
}

std::optional<RollbackTargets> older_than_base(const GuestWork& work, const DiskPlan& disk) {
  const SourceJob* job = present_job(work, disk);
  if (job == nullptr || !job->older || !disk.source_base) return std::nullopt;
  return job->older->base_id == disk.source_base->id ? job->older : std::nullopt;
}

}  // namespace crossover
