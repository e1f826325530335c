#include "plan/mirror_plan.hpp"

#include <set>

#include "plan/adoption.hpp"
#include "plan/first_copy.hpp"
#include "plan/foreign_image.hpp"
#include "plan/freeze_plan.hpp"
#include "plan/guest_facts.hpp"
#include "plan/image_check.hpp"
#include "plan/mirror_steps.hpp"
#include "plan/new_point.hpp"
#include "plan/points.hpp"
#include "plan/record_check.hpp"
#include "plan/removals.hpp"
#include "plan/replica_layout.hpp"
#include "plan/restricted_plan.hpp"
#include "plan/resumption.hpp"
#include "plan/source_check.hpp"
#include "plan/stop.hpp"
#include "plan/target_check.hpp"
#include "plan/target_config.hpp"
#include "plan/target_identity.hpp"
#include "plan/transfer_progress.hpp"

namespace crossover {

namespace {

class GuestPlanner {
 public:
  GuestPlanner(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
               std::chrono::sys_seconds now, const Repair& repair)
      : request_(request),
        inventory_(inventory),
        scope_(scope),
        now_(now),
        repair_(repair),
        facts_{request, inventory, scope, repair} {}

  GuestPlan run() {
    const GuestState& guest = inventory_.source.guests.at(scope_.vmid);
    plan_.vmid = scope_.vmid;
    plan_.target_vmid = scope_.target_vmid;
    plan_.name = scope_.name;
    plan_.job_name = request_.job_name;
    plan_.repaired = repair_.point;
    plan_.discards = request_.options.discard_changes;
    plan_.source_node = guest.node;
    plan_.target_node = inventory_.destination.entry_node;
    plan_.source_config = guest.config;
    plan_.onboot = request_.onboot.value_or(scope_.config.get("onboot").value_or(""));
    plan_.left_out = scope_.disks.left_out;
    for (const VmConfigWarning& warning : scope_.config.warnings()) {
      plan_.warnings.push_back(to_string(warning, scope_.vmid));
    }
    try {
      if (scope_.problem) throw Stop{*scope_.problem};
      check_restriction(facts_);
      require_all_looked_at(facts_);
      check_promoted(facts_);
      plan_source(facts_, plan_);
      plan_freeze(facts_, plan_);
      Target target = choose_target(facts_);
      plan_.target_node = std::move(target.node);
      plan_.replica_config_before = std::move(target.config);
      points_ = point_names(inventory_.replica_images, scope_.replicas);
      for (std::size_t i = 0; i < scope_.disks.replicated.size(); ++i) plan_disk(i);
      check_origins();
      plan_resumption(facts_, points_, plan_);
      if (!plan_.resumes) plan_.snapshot = new_point_name(facts_, plan_.disks, now_);
      plan_config(facts_, plan_);
      if (plan_.resumes) {
        plan_config_of_point(facts_, plan_);
      } else {
        plan_.removals = plan_removals(request_, inventory_, plan_.disks, points_, now_);
        if (inventory_.destination.restriction) leave_removals_to_destination(request_, plan_);
      }
      plan_.steps = mirror_steps(plan_, request_.options);
    } catch (const Stop& stopped) {
      plan_.problem = stopped.problem;
    } catch (const Error& error) {
      plan_.problem = Problem{error.code(), error.what()};
    }
    return std::move(plan_);
  }

 private:
  SourceIdentity identity(const GuestDisk& disk, const ImageState& image) const {
    return {inventory_.source_fsids.at(disk.image.access), image.pool_id, image.id, scope_.vmid};
  }

  void plan_disk(std::size_t index) {
    DiskPlan disk;
    disk.disk = scope_.disks.replicated[index];
    disk.replica = scope_.replicas[index];
    disk.volume = scope_.volumes[index];
    const ImageState* source = find_image(inventory_.source_images, disk.disk.image);
    if (source == nullptr) {
      stop(ErrorCode::not_found, "VM {}: {} names the image {}, which does not exist", scope_.vmid, disk.disk.key,
           to_string(disk.disk.image.spec));
    }
    disk.identity = identity(disk.disk, *source);
    disk.source_record = image_record(*source);
    check_source_record(facts_, disk);
    disk.layout = replica_layout(source->layout, *inventory_.destination.storages.rbd(request_.pool));
    if (disk.replica.spec == disk.disk.image.spec &&
        inventory_.replica_fsids.at(disk.replica.access) == disk.identity.fsid) {
      stop(ErrorCode::usage, "VM {}: {} would be mirrored onto itself", scope_.vmid, to_string(disk.replica.spec));
    }
    if (scope_.replaced[index]) plan_replacement(disk, *scope_.replaced[index]);
    const ImageState* replica = find_image(inventory_.replica_images, disk.replica);
    if (replica == nullptr) {
      disk.full = true;
    } else if (is_to_take_back(index)) {
      check_unwatched(scope_.vmid, disk.replica, *replica);
      plan_way_back(disk, *source, *replica);
    } else if (was_just_created(facts_, disk, *replica)) {
      check_unwatched(scope_.vmid, disk.replica, *replica);
      plan_again(facts_, points_, *replica, disk);
    } else {
      disk.replica_record = image_record(*replica);
      disk.has_progress = replica->metadata.contains(std::string(progress_key));
      if (!disk.replica_record.replica && request_.options.adopt) {
        check_unwatched(scope_.vmid, disk.replica, *replica);
        plan_adoption(facts_, *source, *replica, disk, plan_.warnings);
      } else {
        check_replica_record(facts_, disk, *replica);
        choose_base(disk, *source, *replica);
        if (!disk.replaces) disk.replaces = disk.replica_record.replica->replaces;
      }
      if (const auto ranges = repair_.ranges.find(disk.replica); ranges != repair_.ranges.end()) {
        disk.repair = ranges->second;
      }
    }
    plan_.disks.push_back(std::move(disk));
  }

  /// True if the disk's replica is its origin, and does not say so itself yet.
  bool is_to_take_back(std::size_t index) const {
    const auto& origin = scope_.origins[index];
    return origin && !origin->taken && origin->image == scope_.replicas[index];
  }

  /// The guest is on its way back: the snapshots it was promoted with are the bases, with their ids swapped.
  void plan_way_back(DiskPlan& disk, const ImageState& source, const ImageState& origin) {
    std::vector<ImageRef> images;
    for (const GuestDisk& one : scope_.disks.replicated) images.push_back(one.image);
    std::set<std::string> bad = point_names(inventory_.source_images, images).bad;
    bad.insert(points_.bad.begin(), points_.bad.end());
    const auto base = newest_common(*disk.source_record.replica, source, origin, bad);
    if (!base) {
      stop_at_conflict(
          scope_.vmid, Conflict::no_common_base,
          "{} was promoted from a replica of {}, and they have no good recovery point in common any more. "
          "Nothing was touched; --reseed makes a new copy beside it",
          to_string(disk.disk.image.spec), to_string(disk.replica.spec));
    }
    disk.replica_record = image_record(origin);
    disk.has_progress = origin.metadata.contains(std::string(progress_key));
    disk.take_back = true;
    disk.source_base = base->source;
    disk.replica_base = base->origin;
    disk.replica_newest = base->origin;
    disk.points = points_with(*base, disk, origin);
  }

  /// What the origin has of recovery points from when it was this disk's replica before, and the base.
  static std::vector<PointIds> points_with(const CommonSnapshot& base, const DiskPlan& disk,
                                           const ImageState& origin) {
    PointIds last{base.source.name, base.source.id, base.origin.id, false, true};
    std::vector<PointIds> points;
    const auto& before = disk.replica_record.replica;
    if (before && before->source == disk.identity) {
      for (const PointIds& point : before->points) {
        if (point.replica_id == last.replica_id) last.adopted = point.adopted;
        const bool is_older = point.replica_id < last.replica_id;
        if (is_older && !point.adopted && find_snapshot(origin, point.name, point.replica_id) != nullptr)
          points.push_back(point);
      }
    }
    points.push_back(last);
    return points;
  }

  /// A guest goes back with all that it was promoted with; what it got since is copied.
  void check_origins() {
    if (!goes_back(scope_)) return;
    bool takes_back = false;
    for (std::size_t i = 0; i < plan_.disks.size(); ++i) {
      const DiskPlan& disk = plan_.disks[i];
      takes_back = takes_back || disk.take_back;
      const auto& record = disk.source_record.replica;
      if (scope_.origins[i] || !record || !record->promoted || request_.options.reseed) continue;
      if (const auto& restriction = inventory_.destination.restriction) {
        stop(ErrorCode::permission,
             "VM {}: {} was promoted from a replica of {}, which the destination's agent does not show: it is "
             "restricted to {}",
             scope_.vmid, to_string(disk.disk.image.spec), record->source_image, to_string(*restriction));
      }
      stop_at_conflict(
          scope_.vmid, Conflict::no_common_base,
          "{} was promoted from a replica of {} (image id {}), which VM {} over there does not have any more, "
          "while it has others of the guest's disks. Nothing was touched; --reseed makes new copies beside them",
          to_string(disk.disk.image.spec), record->source_image, record->source.image_id, scope_.target_vmid);
    }
    if (!takes_back) return;
    const std::vector<std::string> lost =
        lost_on_way_back(parse_vm_config(*plan_.replica_config_before), scope_.target_vmid, scope_.volumes);
    plan_.warnings.insert(plan_.warnings.end(), lost.begin(), lost.end());
  }

  /// What a new copy is made beside has to be this guest's, and nobody may be using it.
  void plan_replacement(DiskPlan& disk, const ImageRef& ref) {
    const ImageState& old = *find_image(inventory_.replica_images, ref);
    auto record = image_record(old).replica;
    const bool origin = is_origin(scope_, ref);
    if (origin && record && record->promoted) record.reset();
    if (!origin && (record ? !is_our_replica(facts_, ref) : !is_named_by_this_guest(facts_, ref))) {
      if (!record) stop_at_taken_name(facts_, to_string(ref.spec));
      stop_at_other_source(facts_, to_string(ref.spec), *record, disk.identity);
    }
    if (record && record->job != request_.job_name) stop_at_other_job(facts_, to_string(ref.spec), *record);
    check_unwatched(scope_.vmid, ref, old);
    disk.replaces = ReplacedImage{ref.spec, old.id};
    plan_.reseeds = plan_.reseeds || plan_.replica_config_before.has_value();
  }

  void choose_base(DiskPlan& disk, const ImageState& source, const ImageState& replica) {
    const ReplicaRecord& record = *disk.replica_record.replica;
    std::vector<PointIds> points = known_points(record, replica);
    std::erase_if(points, [this](const PointIds& point) {
      return !point.adopted && !points_.committed.contains(point.name);
    });
    for (PointIds& point : points) {
      const bool own_mark = point.bad;
      point.bad = points_.bad.contains(point.name) || point.name == repair_.point;
      // What the destination's own retention removed is not known of any more.
      if (find_snapshot(replica, point.name, point.replica_id) == nullptr) continue;
      disk.points.push_back(point);
      // Through a restricted agent nobody marks a point: each disk's record keeps the marks that it has.
      if (inventory_.destination.restriction) disk.points.back().bad = own_mark;
    }
    std::string bad_base;
    for (auto point = points.rbegin(); point != points.rend(); ++point) {
      const Snapshot* there = find_snapshot(replica, point->name, point->replica_id);
      const Snapshot* here = find_snapshot(source, point->name, point->source_id);
      if (there == nullptr || here == nullptr) continue;
      if (point->bad && point->name != repair_.point) {
        if (bad_base.empty()) bad_base = point->name;
        continue;
      }
      disk.source_base = *here;
      disk.replica_base = *there;
      break;
    }
    if (!disk.replica_base) {
      if (!bad_base.empty()) {
        stop_at_conflict(
            scope_.vmid, Conflict::no_common_base,
            "of the recovery points that {} and its replica {} both have, {} was found to differ. 'crossover "
            "verify "
            "--repair' sends what differs, --reseed makes a new copy beside the old one",
            to_string(disk.disk.image.spec), to_string(disk.replica.spec), bad_base);
      }
      if (!points.empty()) {
        stop_at_conflict(
            scope_.vmid, Conflict::no_common_base,
            "{} and its replica {} have no recovery point in common any more: one of them lost its snapshots (the "
            "newest was {}). The replica was not touched; --reseed makes a new copy beside it",
            to_string(disk.disk.image.spec), to_string(disk.replica.spec), points.back().name);
      }
      plan_again(facts_, points_, replica, disk);
      return;
    }
    const bool settled = record.state == ReplicaState::complete ||
                         (record.state == ReplicaState::applied && points.back().name == record.end_snapshot);
    if (!settled) return;  // roll back without asking: the head is what a cut run left
    // A point that was removed by hand is no reason to drop what may have been written to the head.
    for (auto point = points.rbegin(); point != points.rend() && !disk.replica_newest; ++point) {
      const Snapshot* there = find_snapshot(replica, point->name, point->replica_id);
      if (there != nullptr) disk.replica_newest = *there;
    }
  }

  const MirrorRequest& request_;
  const Inventory& inventory_;
  const GuestScope& scope_;
  std::chrono::sys_seconds now_;
  const Repair& repair_;
  GuestFacts facts_;
  PointNames points_;
  GuestPlan plan_;
};

}  // namespace

GuestPlan plan_guest(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
                     std::chrono::sys_seconds now, const Repair& repair) {
  return GuestPlanner(request, inventory, scope, now, repair).run();
}

}  // namespace crossover
