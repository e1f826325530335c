#include "engine/point_at_replica.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"
#include "engine/conflict_error.hpp"
#include "plan/migration_record.hpp"

namespace crossover {

namespace {

/// The metadata of an image can be read by more people than /etc/pve, and `rbd` takes it as an argument.
std::string without_password(const std::string& config) {
  constexpr std::string_view key = "cipassword";
  std::string kept;
  // Of any section: what cloud-init was given last stands in one of its own. A line of no section's grammar goes as well.
  for (std::size_t begin = 0; begin < config.size();) {
    const std::size_t end = std::min(config.find('\n', begin), config.size() - 1) + 1;
    const std::string_view line = std::string_view(config).substr(begin, end - begin);
    const std::size_t first = std::min(line.find_first_not_of(" \t"), line.size());
    if (!line.substr(first).starts_with(key)) kept += line;
    begin = end;
  }
  return kept;
}

[[noreturn]] void throw_diverged(const DiskPlan& disk) {
  throw ConflictError(
      Conflict::replica_diverged, "check replica", to_string(disk.replica.spec),
      fmt::format("it was written to since {}{}; it was not touched. If what was written is not "
                  "wanted, --discard-changes rolls it back to that",
                  disk.adopt || disk.take_back ? "" : "its newest recovery point ", disk.replica_newest->name));
}

}  // namespace

PointAtReplica::PointAtReplica(const ReplicaWork& work) : work_(work) {
  for (const FormerReplica& former : work.plan.former) former_.push_back({former.image.spec, former.id});
  holds_.resize(work.plan.disks.size());
  for (const DiskPlan& disk : work.plan.disks) {
    ends_.push_back(disk.source_end);
    made_.push_back(disk.replica_end);
    records_.push_back(disk.replica_record.replica);
    saved_.push_back(disk.replica_record.replica);
    if (!records_.back()) continue;
    records_.back()->points = disk.points;
    records_.back()->replaces = disk.replaces;
    records_.back()->former = former_;
  }
}

ImageHold& PointAtReplica::hold(std::size_t index) {
  if (holds_[index]) return *holds_[index];
  const DiskPlan& disk = work_.plan.disks[index];
  std::unique_ptr<ImageHold> hold;
  try {
    hold = work_.store(disk).hold(disk.replica.spec, work_.stop);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::in_use) throw;
    // What a dead writer left was waited for; whoever it is now has a reason.
    throw ConflictError(Conflict::image_in_use, "check replica", error.subject(),
                        error.cause() + "; it was not touched. End what uses it, and run again");
  }
  if (image_record(hold->state()).replica != disk.replica_record.replica) {
    throw Error(ErrorCode::conflict, "check replica", to_string(disk.replica.spec),
                "its record changed since it was read; run again", true);
  }
  holds_[index] = std::move(hold);
  return *holds_[index];
}

void PointAtReplica::save_record(std::size_t index) {
  holds_[index]->set_metadata(std::string(replica_key), render_replica(*records_[index]));
  saved_[index] = records_[index];
}

void PointAtReplica::create_image(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  ImageStore& store = work_.store(disk);
  if (disk.replace) {
    if (!work_.plan.not_resumed.empty()) {
      work_.note(fmt::format("the first copy of {} begins anew: {}", to_string(disk.replica.spec), given_up(disk)));
    }
    remove_unfinished(index);
  }
  store.create(disk.replica.spec, disk.layout);
  holds_[index] = store.hold(disk.replica.spec, work_.stop);
  const ImageState created = holds_[index]->state();
  ReplicaRecord record;
  record.source = disk.identity;
  record.source_image = to_string(disk.disk.image.spec);
  record.job = work_.request.job_name;
  record.target_vmid = work_.plan.target_vmid;
  record.image_id = created.id;
  record.pool_id = created.pool_id;
  record.replaces = disk.replaces;
  record.former = former_;
  records_[index] = record;
  save_record(index);
}

void PointAtReplica::remove_unfinished(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  ImageStore& store = work_.store(disk);
  if (!store.find(disk.replica.spec)) return;
  const ImageState image = hold(index).state();
  // Whoever would complete a point of it while nobody holds it finds that it is given up.
  if (records_[index]) forget_point(index);
  // What is open cannot be removed.
  holds_[index].reset();
  if (!disk.replica_record.replica) require_empty(disk, store, image);
  for (const Snapshot& snapshot : image.snapshots) store.remove_snapshot(disk.replica.spec, snapshot);
  store.remove(disk.replica.spec);
}

void PointAtReplica::require_empty(const DiskPlan& disk, ImageStore& store, const ImageState& image) const {
  const ImageSpec& spec = disk.replica.spec;
  const auto require_empty_at = [&](const Snapshot& snapshot) {
    constexpr std::uint64_t block_bytes = std::uint64_t{4} << 20;
    const std::uint64_t blocks = (snapshot.size_bytes + block_bytes - 1) / block_bytes;
    const auto refuse = [&spec](const BlockHash& /*hash*/) {
      throw ConflictError(
          Conflict::image_name_taken, "replace image", to_string(spec),
          "it is not empty and no record says that it is a replica; it was not touched. Remove or rename it, "
          "or choose another target VMID");
    };
    store.hash_blocks(spec, snapshot, {.block_bytes = block_bytes, .ranges = {{0, blocks * block_bytes}}}, refuse,
                      work_.stop);
  };
  const Snapshot head = store.create_snapshot(spec, work_.plan.snapshot);
  try {
    require_empty_at(head);
    for (const Snapshot& one : image.snapshots) require_empty_at(one);
  } catch (...) {
    store.remove_snapshot(spec, head);
    throw;
  }
  store.remove_snapshot(spec, head);
}

void PointAtReplica::check_adopted(std::size_t index) {
  if (!is_head_unchanged(index) && !work_.request.options.discard_changes) throw_diverged(work_.plan.disks[index]);
}

void PointAtReplica::check_origin(std::size_t index) {
  if (!is_head_unchanged(index)) throw_diverged(work_.plan.disks[index]);
}

void PointAtReplica::adopt(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  const ImageState image = hold(index).state();
  if (migration_under_way(image)) {
    throw Error(ErrorCode::conflict, "take over", to_string(disk.replica.spec),
                "its guest began to be migrated meanwhile; run again", true);
  }
  ReplicaRecord record;
  record.source = disk.identity;
  record.source_image = to_string(disk.disk.image.spec);
  record.job = work_.request.job_name;
  record.target_vmid = work_.plan.target_vmid;
  record.image_id = image.id;
  record.pool_id = image.pool_id;
  record.state = ReplicaState::complete;
  record.end_snapshot = disk.replica_base->name;
  record.end_source_id = disk.source_base->id;
  record.points = disk.points;
  record.former = former_;
  const auto& before = disk.replica_record.replica;
  if (before) record.taken_back = before->promoted ? before->promoted : before->taken_back;
  records_[index] = record;
  save_record(index);
  if (record.taken_back && image.metadata.contains(std::string(promotion_key))) {
    hold(index).remove_metadata(std::string(promotion_key));
  }
}

bool PointAtReplica::is_head_unchanged(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  return hold(index).head_unchanged_since(*disk.replica_newest, work_.stop);
}

void PointAtReplica::check_head(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  if (is_head_unchanged(index)) return;
  if (!work_.request.options.discard_changes) throw_diverged(disk);
  work_.note(fmt::format("{} is rolled back to {}: it was written to since, and --discard-changes drops that",
                         to_string(disk.replica.spec), disk.replica_newest->name));
  roll_back_to(index, *disk.replica_newest);
}

void PointAtReplica::check_cut(std::size_t index) {
  torn_ = true;
  const DiskPlan& disk = work_.plan.disks[index];
  ImageHold& held = hold(index);
  if (disk.replica_end) return;  // a snapshot does not change
  if (held.head_unchanged_since_transfer(records_[index]->transfer, work_.stop)) return;
  if (disk.offset == 0 && !disk.applied) return restart(index);
  // Whoever unlocked, started or rolled back a torn replica left a head that no rest of the transfer makes whole.
  forget_point(index);
  throw Error(ErrorCode::conflict, "go on", to_string(disk.replica.spec),
              "it cannot be told that nobody changed it since its transfer was cut, so it begins anew", true);
}

std::string PointAtReplica::given_up(const DiskPlan& disk) const {
  const auto& record = disk.replica_record.replica;
  if (disk.replica_newest) return fmt::format("the source has no {} any more", disk.replica_newest->name);
  if (work_.plan.not_resumed.empty() || !record) return "the last run left it unfinished";
  return fmt::format("{} cannot be completed, {}", record->end_snapshot, work_.plan.not_resumed);
}

void PointAtReplica::roll_back(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  const bool is_after_bad_point =
      disk.replica_newest && std::any_of(disk.points.begin(), disk.points.end(), [&](const PointIds& point) {
        return point.bad && point.replica_id == disk.replica_newest->id;
      });
  work_.note(fmt::format(
      "{} is rolled back to {}: {}", to_string(disk.replica.spec), disk.replica_base->name,
      is_after_bad_point ? disk.replica_newest->name + " was found to differ from the source" : given_up(disk)));
  roll_back_to(index, *disk.replica_base);
}

void PointAtReplica::roll_back_to(std::size_t index, const Snapshot& snapshot) {
  // Until the next point is complete the head is nobody's recovery point.
  ImageHold& held = hold(index);
  forget_point(index);
  torn_ = true;
  held.roll_back(snapshot, work_.stop);
}

void PointAtReplica::restart(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  ImageHold& held = hold(index);
  if (disk.replica_base) {
    if (!held.head_unchanged_since(*disk.replica_base, work_.stop)) held.roll_back(*disk.replica_base, work_.stop);
    return;
  }
  // An image of no size has nothing in it.
  const std::unique_ptr<DiffSink> sink = held.write_diff({}, work_.stop);
  sink->size(0);
  sink->finish();
}

void PointAtReplica::forget_point(std::size_t index) {
  ReplicaRecord& record = *records_[index];
  record.state = ReplicaState::applying;
  record.end_snapshot.clear();
  record.transfer.clear();
  record.point.reset();
  save_record(index);
}

void PointAtReplica::record_point(std::span<const Snapshot> ends) {
  if (ends.size() != ends_.size()) {
    throw Error(ErrorCode::usage, "record point", work_.plan.snapshot, "not every disk has its snapshot");
  }
  std::copy(ends.begin(), ends.end(), ends_.begin());
  complete_cut_point();
  torn_ = true;
  PointConfig point;
  for (const DiskPlan& disk : work_.plan.disks) point.images.push_back(to_string(disk.replica.spec));
  point.target_vmid = work_.plan.target_vmid;
  point.config = without_password(work_.plan.replica_config);
  point.firewall = work_.plan.firewall;
  point.onboot = work_.plan.onboot;
  work_.for_disks([&](const DiskPlan& disk, std::size_t i) {
    ReplicaRecord& record = *records_[i];
    record.state = ReplicaState::applying;
    record.end_snapshot = work_.plan.snapshot;
    record.end_source_id = ends_[i]->id;
    record.transfer = transfer_id(record, disk.source_base, ends_[i]->id);
    record.point = i == 0 ? std::optional(point) : std::nullopt;
    save_record(i);
  });
}

std::vector<std::string> PointAtReplica::transfers() const {
  std::vector<std::string> transfers;
  for (const auto& record : records_) transfers.push_back(record ? record->transfer : "");
  return transfers;
}

std::unique_ptr<DiskPart> PointAtReplica::begin_part(std::size_t index) {
  hold(index);
  return std::make_unique<DiskPart>(std::move(holds_[index]), work_.plan.disks[index].replica.spec,
                                    records_[index].value());
}

void PointAtReplica::part_ended(std::size_t index, DiskPart& part, const std::optional<Snapshot>& made) {
  records_[index] = part.record();
  saved_[index] = part.record();
  holds_[index] = part.give_back();
  if (made) made_[index] = made;
}

void PointAtReplica::leave_parts_to_others(std::size_t first) {
  for (std::size_t i = first; i < holds_.size(); ++i) holds_[i].reset();
}

bool PointAtReplica::is_as_left() {
  for (std::size_t i = 0; i < holds_.size(); ++i) {
    if (holds_[i]) continue;
    const DiskPlan& disk = work_.plan.disks[i];
    std::optional<ImageState> image;
    try {
      // Whoever gives up may be stopping already.
      holds_[i] = work_.store(disk).hold(disk.replica.spec, {});
      image = holds_[i]->state();
    } catch (const Error& error) {
      // Whoever has it open may have done nothing to it yet.
      if (error.code() != ErrorCode::in_use && error.code() != ErrorCode::not_found) throw;
      image = work_.store(disk).find(disk.replica.spec);
    }
    if ((image ? image_record(*image).replica : std::nullopt) != saved_[i]) return false;
  }
  return true;
}

Snapshot PointAtReplica::require_end(std::size_t index) {
  const DiskPlan& disk = work_.plan.disks[index];
  const std::uint64_t expected = ends_[index].value().size_bytes;
  if (!holds_[index]) {
    // Its part was another process's.
    saved_[index].value().state = ReplicaState::applied;
    holds_[index] = work_.store(disk).hold(disk.replica.spec, work_.stop);
    const ImageState image = holds_[index]->state();
    const auto end = std::find_if(image.snapshots.begin(), image.snapshots.end(),
                                  [&](const Snapshot& one) { return one.name == work_.plan.snapshot; });
    if (image_record(image).replica != saved_[index] || end == image.snapshots.end()) {
      throw Error(ErrorCode::conflict, "commit", to_string(disk.replica.spec) + "@" + work_.plan.snapshot,
                  "what is there is not what was begun; run again", true);
    }
    made_[index] = *end;
  }
  if (!made_[index]) {
    throw Error(ErrorCode::usage, "commit", to_string(disk.replica.spec), "its part of the point is not done");
  }
  if (made_[index]->size_bytes != expected) {
    throw ConflictError(Conflict::size_mismatch, "commit",
                        to_string(disk.replica.spec) + "@" + work_.plan.snapshot,
                        fmt::format("its size is {} bytes, the source's {}", made_[index]->size_bytes, expected));
  }
  return *made_[index];
}

void PointAtReplica::commit() {
  std::vector<Snapshot> made(work_.plan.disks.size());
  work_.for_disks([&](const DiskPlan& /*disk*/, std::size_t i) { made[i] = require_end(i); });
  make_point();
  work_.for_disks([&](const DiskPlan& /*disk*/, std::size_t i) {
    if (holds_[i]->state().metadata.contains(std::string(progress_key))) {
      holds_[i]->remove_metadata(std::string(progress_key));
    }
    ReplicaRecord& record = *records_[i];
    record.state = ReplicaState::complete;
    record.transfer.clear();
    record.point.reset();
    std::erase_if(record.points, [&](const PointIds& old) { return is_to_be_removed(i, old); });
    record.points.push_back({work_.plan.snapshot, ends_[i]->id, made[i].id});
    save_record(i);
    holds_[i].reset();
  });
  torn_ = false;
}

void PointAtReplica::make_point() {
  const auto holder = std::find_if(records_.begin(), records_.end(),
                                   [](const auto& record) { return record->point.has_value(); });
  if (holder == records_.end()) return;
  const std::string key = std::string(point_key_prefix) + work_.plan.snapshot;
  const std::string value = render_point(*(*holder)->point);
  // One write makes it a recovery point. The others keep it one, whichever disk leaves the guest later.
  const auto first = static_cast<std::size_t>(holder - records_.begin());
  holds_[first]->set_metadata(key, value);
  work_.for_disks([&](const DiskPlan& /*disk*/, std::size_t i) {
    if (i != first) holds_[i]->set_metadata(key, value);
  });
}

void PointAtReplica::complete_cut_point() {
  const auto was_cut = [](const DiskPlan& disk) {
    const auto& record = disk.replica_record.replica;
    return record && record->state == ReplicaState::applied;
  };
  const auto& disks = work_.plan.disks;
  if (std::none_of(disks.begin(), disks.end(), was_cut)) return;
  std::vector<std::optional<ImageState>> states(disks.size());
  work_.for_disks([&](const DiskPlan& disk, std::size_t i) {
    if (was_cut(disk)) states[i] = hold(i).state();
  });
  // The only key may stand on a disk that has left since. Where that cannot be looked at, of which the plan warns, the
  // point is found by what stands there, once it can.
  for (const FormerReplica& former : work_.plan.former) {
    if (!former.seen) continue;
    states.push_back(work_.destination.images.open(former.image.access).find(former.image.spec));
  }
  for (std::size_t i = 0; i < disks.size(); ++i) {
    if (!states[i]) continue;
    const std::string key = std::string(point_key_prefix) + disks[i].replica_record.replica->end_snapshot;
    if (states[i]->metadata.contains(key)) continue;
    const auto told = std::find_if(states.begin(), states.end(), [&key](const std::optional<ImageState>& state) {
      return state && state->metadata.contains(key);
    });
    if (told != states.end()) holds_[i]->set_metadata(key, (*told)->metadata.at(key));
  }
}

bool PointAtReplica::is_to_be_removed(std::size_t index, const PointIds& point) const {
  return std::any_of(work_.plan.removals.begin(), work_.plan.removals.end(), [&](const Removal& removal) {
    return !removal.on_source && removal.image == work_.plan.disks[index].replica &&
           removal.snapshot.id == point.replica_id;
  });
}

}  // namespace crossover
