#include "engine/source_record.hpp"

namespace crossover {

namespace {

/// The source's record, with the image that is being created, unless that is what `present` says already.
void save(const GuestWork& work, const DiskPlan& disk, const std::string& creating, const ImageRecord& present) {
  ImageRecord record = disk.source_record;
  if (!record.source) record.source = SourceRecord{disk.identity, {}};
  record.source->jobs[work.request.job_label] = {work.request.job_name, work.destination(disk).fsid(),
                                                 work.plan.target_vmid, creating};
  if (record == present) return;
  work.require_live_lock(disk);
  work.source(disk).set_metadata(disk.disk.image.spec, std::string(record_key), render_record(record));
}

}  // namespace

void record_source(const GuestWork& work) {
  work.for_disks([&](const DiskPlan& disk, std::size_t) {
    save(work, disk, disk.full ? to_string(disk.replica.spec) : "", disk.source_record);
  });
}

void record_first_copy(const GuestWork& work, const DiskPlan& disk) {
  save(work, disk, "", {});
}

}  // namespace crossover
