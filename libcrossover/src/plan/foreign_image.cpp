#include "plan/foreign_image.hpp"

#include "crossover/snapshot_name.hpp"
#include "plan/stop.hpp"

namespace crossover {

void stop_at_taken_name(const GuestFacts& facts, const std::string& image) {
  stop_at_conflict(
      facts.scope.vmid, Conflict::image_name_taken,
      "the image {} exists on the destination and no record says that it is a replica; it was not touched. "
      "Remove or rename it, or choose another target VMID",
      image);
}

void stop_at_earlier_replica(const GuestFacts& facts, const std::string& image) {
  stop_at_conflict(facts.scope.vmid, Conflict::another_source,
                   "{} is a replica that an earlier build of crossover made, whose records this one does not read; it "
                   "was not touched. --reseed makes a new copy beside it, and moves it to the trash",
                   image);
}

void stop_at_other_source(const GuestFacts& facts, const std::string& image, const ReplicaRecord& record,
                          const SourceIdentity& identity) {
  const bool ours = record.source.guest == facts.scope.vmid && record.source.fsid == identity.fsid &&
                    record.target_vmid == facts.scope.target_vmid;
  stop_at_conflict(
      facts.scope.vmid, Conflict::another_source,
      "{} on the destination is the replica of another source: {} (image id {}) of VM {} in the cluster {}, not "
      "image id {} in {}; {}",
      image, record.source_image, record.source.image_id, record.source.guest, record.source.fsid,
      identity.image_id, identity.fsid,
      ours ? "if the guest was restored, --reseed copies it anew beside the old replica"
           : "choose another target VMID");
}

void stop_at_other_job(const GuestFacts& facts, const std::string& image, const ReplicaRecord& record) {
  stop_at_conflict(facts.scope.vmid, Conflict::another_source,
                   "{} on the destination belongs to the {} of VM {}, not to the {}; run that one, or "
                   "choose another target VMID",
                   image, describe_job(record.job), record.target_vmid, describe_job(facts.request.job_name));
}

}  // namespace crossover
