#include "engine/disk_part.hpp"

#include <algorithm>
#include <utility>

#include "crossover/error.hpp"

namespace crossover {

DiskPart::DiskPart(std::unique_ptr<ImageHold> hold, ImageSpec image, ReplicaRecord record)
    : hold_(std::move(hold)), image_(std::move(image)), record_(std::move(record)) {}

void DiskPart::require(ReplicaState state, const std::string& operation) const {
  if (record_.state == state && !record_.end_snapshot.empty() && !record_.promoted) return;
  throw Error(ErrorCode::conflict, operation, to_string(image_), "its record says nothing of such a point under way",
              true);
}

std::unique_ptr<DiffSink> DiskPart::write(std::uint64_t offset, std::stop_token stop) {
  require(ReplicaState::applying, "write diff");
  return hold_->write_diff({record_.transfer, offset}, std::move(stop));
}

std::unique_ptr<DiffSink> DiskPart::repair(std::stop_token stop) {
  require(ReplicaState::applying, "write diff");
  return hold_->write_diff({}, std::move(stop));
}

void DiskPart::applied() {
  require(ReplicaState::applying, "record transfer");
  ReplicaRecord record = record_;
  record.state = ReplicaState::applied;
  hold_->set_metadata(std::string(replica_key), render_replica(record));
  record_ = std::move(record);
}

Snapshot DiskPart::make_snapshot() {
  require(ReplicaState::applied, "create snapshot");
  return hold_->create_snapshot(record_.end_snapshot);
}

}  // namespace crossover
