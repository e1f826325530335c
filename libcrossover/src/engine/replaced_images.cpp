#include "engine/replaced_images.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "crossover/error.hpp"
#include "engine/conflict_error.hpp"
#include "engine/unexpected_error.hpp"

namespace crossover {

namespace {

void retire(const ReplicaWork& work, const DiskPlan& disk, ReplicaRecord& record) {
  const ImageIdentity& old = *disk.replaces;
  ImageStore& store = work.store(disk);
  const std::unique_ptr<ImageHold> hold = store.hold(disk.replica.spec, work.stop);
  if (image_record(hold->state()).replica != record) {
    throw Error(ErrorCode::conflict, "replace replica", to_string(disk.replica.spec),
                "another run wrote its record meanwhile");
  }
  const auto image = store.find(old.image);
  // Another one of that name is not ours to move.
  if (image && image->id == old.id && old.image != disk.replica.spec) {
    store.trash(old.image, trash_days);
    work.note(
        fmt::format("{} has taken the place of {}, which is in the trash with its recovery points (id {}); "
                    "'rbd trash restore' brings it back within {} days",
                    to_string(disk.replica.spec), to_string(old.image), old.id, trash_days.count()));
  }
  record.replaces.reset();
  hold->set_metadata(std::string(replica_key), render_replica(record));
}

}  // namespace

std::vector<std::unique_ptr<ImageHold>> hold_replaced(const ReplicaWork& work) {
  std::vector<std::unique_ptr<ImageHold>> holds;
  for (const DiskPlan& disk : work.plan.disks) {
    if (!disk.replaces) continue;
    ImageStore& store = work.store(disk);
    if (!store.find(disk.replaces->image)) continue;
    try {
      holds.push_back(store.hold(disk.replaces->image, work.stop));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::in_use) throw;
      throw ConflictError(Conflict::image_in_use, "replace replica", error.subject(),
                          error.cause() +
                              "; the new copy is complete beside it. End what uses the old one, and run "
                              "again with --reseed");
    }
  }
  return holds;
}

void retire_replaced(const ReplicaWork& work, std::vector<std::optional<ReplicaRecord>>& records) {
  std::vector<std::size_t> with_points;
  std::vector<std::size_t> others;
  try {
    for (std::size_t i = 0; i < work.plan.disks.size(); ++i) {
      const DiskPlan& disk = work.plan.disks[i];
      if (!disk.replaces) continue;
      const auto old = work.store(disk).find(disk.replaces->image);
      const bool has_points = old && std::any_of(old->metadata.begin(), old->metadata.end(), [](const auto& entry) {
                                return entry.first.starts_with(point_key_prefix);
                              });
      (has_points ? with_points : others).push_back(i);
    }
    // What makes a point one goes before any of its disks.
    for (const std::size_t i : with_points) retire(work, work.plan.disks[i], records[i].value());
    for (const std::size_t i : others) retire(work, work.plan.disks[i], records[i].value());
  } catch (...) {
    work.note(fmt::format("what was replaced could not be moved to the trash, the next run tries again: {}",
                          failure_at_hand().what()));
  }
}

}  // namespace crossover
