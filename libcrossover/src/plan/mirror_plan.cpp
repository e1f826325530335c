#include "plan/mirror_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "crossover/snapshot_name.hpp"
#include "plan/freeze_plan.hpp"
#include "plan/guest_facts.hpp"
#include "plan/image_check.hpp"
#include "plan/mirror_steps.hpp"
#include "plan/new_point.hpp"
#include "plan/points.hpp"
#include "plan/removals.hpp"
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

std::vector<std::string> shell_tool_names(const ImageState& image) {
  std::vector<std::string> names;
  for (const Snapshot& snapshot : image.snapshots) {
    if (parse_shell_tool_snapshot_name(snapshot.name)) names.push_back(snapshot.name);
  }
  return names;
}

const Snapshot* snapshot_named(const ImageState& image, const std::string& name) {
  const auto found = std::find_if(image.snapshots.begin(), image.snapshots.end(),
                                  [&](const Snapshot& snapshot) { return snapshot.name == name; });
  return found == image.snapshots.end() ? nullptr : &*found;
}

/// Features a replica gets: the source's, without what belongs to the source's own set-up.
std::uint64_t replica_features(std::uint64_t source) {
  using namespace image_feature;
  constexpr std::uint64_t carried = layering | striping | exclusive_lock | object_map | fast_diff | deep_flatten;
  return (source & carried) | exclusive_lock;
}

}  // namespace

ImageLayout replica_layout(const ImageLayout& source, const RbdStorage& storage) {
  ImageLayout layout = source;
  layout.features = replica_features(source.features);
  layout.data_pool = storage.data_pool;
  return layout;
}

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
    check_source_record(disk);
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
    } else if (was_just_created(disk, *replica)) {
      check_unwatched(scope_.vmid, disk.replica, *replica);
      plan_again(disk, *replica);
    } else {
      disk.replica_record = image_record(*replica);
      disk.has_progress = replica->metadata.contains(std::string(progress_key));
      if (!disk.replica_record.replica && request_.options.adopt) {
        check_unwatched(scope_.vmid, disk.replica, *replica);
        plan_adoption(disk, *source, *replica);
      } else {
        check_replica_record(disk, *replica);
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
      if (!record) image_name_taken(to_string(ref.spec));
      another_source(to_string(ref.spec), *record, disk.identity);
    }
    if (record && record->job != request_.job_name) another_job(to_string(ref.spec), *record);
    check_unwatched(scope_.vmid, ref, old);
    disk.replaces = ReplacedImage{ref.spec, old.id};
    plan_.reseeds = plan_.reseeds || plan_.replica_config_before.has_value();
  }

  [[noreturn]] void image_name_taken(const std::string& image) const {
    stop_at_conflict(
        scope_.vmid, Conflict::image_name_taken,
        "the image {} exists on the destination and no record says that it is a replica; it was not touched. "
        "Remove or rename it, or choose another target VMID",
        image);
  }

  [[noreturn]] void another_source(const std::string& image, const ReplicaRecord& record,
                                   const SourceIdentity& identity) const {
    const bool ours = record.source.guest == scope_.vmid && record.source.fsid == identity.fsid;
    stop_at_conflict(
        scope_.vmid, Conflict::another_source,
        "{} on the destination is the replica of another source: {} (image id {}) of VM {} in the cluster {}, not "
        "image id {} in {}; {}",
        image, record.source_image, record.source.image_id, record.source.guest, record.source.fsid,
        identity.image_id, identity.fsid,
        ours ? "if the guest was restored, --reseed copies it anew beside the old replica"
             : "choose another target VMID");
  }

  [[noreturn]] void another_job(const std::string& image, const ReplicaRecord& record) const {
    stop_at_conflict(
        scope_.vmid, Conflict::another_source,
        "{} on the destination belongs to the job '{}' of VM {}, not to the job '{}'; run that one, or choose "
        "another target VMID",
        image, record.job, record.target_vmid, request_.job_name);
  }

  /// The newest snapshot of the shell tool that both sides have of every disk whose replica it made; with the disks
  /// that were taken over by a run that was cut, it is theirs. Empty: there is none.
  std::string shell_tool_base() const {
    std::optional<std::set<std::string>> common;
    for (std::size_t i = 0; i < scope_.disks.replicated.size(); ++i) {
      const ImageState* source = find_image(inventory_.source_images, scope_.disks.replicated[i].image);
      const ImageState* replica = find_image(inventory_.replica_images, scope_.replicas[i]);
      if (source == nullptr || replica == nullptr) continue;
      std::set<std::string> names;
      if (const auto record = image_record(*replica).replica) {
        for (const PointIds& point : record->points) {
          if (point.adopted) names.insert(point.name);
        }
        if (names.empty()) continue;
      } else {
        for (const std::string& name : shell_tool_names(*replica)) {
          if (snapshot_named(*source, name) != nullptr) names.insert(name);
        }
      }
      if (common) std::erase_if(*common, [&](const std::string& name) { return !names.contains(name); });
      if (!common) common = names;
    }
    return !common || common->empty() ? "" : *common->rbegin();
  }

  /// A replica of the shell tool: everything that can be said without reading it.
  void plan_adoption(DiskPlan& disk, const ImageState& source, const ImageState& replica) {
    const std::string here = to_string(disk.disk.image.spec);
    const std::string there = to_string(disk.replica.spec);
    if (!is_named_by_this_guest(facts_, disk.replica)) {
      stop_at_conflict(
          scope_.vmid, Conflict::another_source,
          "nothing says that {} is this guest's: VM {} on the destination does not have its vmgenid and name the "
          "image. It was not touched; remove or rename it, or choose another target VMID",
          there, scope_.target_vmid);
    }
    const std::string name = shell_tool_base();
    if (name.empty()) {
      stop_at_conflict(
          scope_.vmid, Conflict::no_common_base,
          "no snapshot of the shell tool is on both sides of every disk: {} has {}, {} has {}. Nothing was "
          "touched; --reseed makes a new copy beside the old one",
          here, names_or_none(shell_tool_names(source)), there, names_or_none(shell_tool_names(replica)));
    }
    const Snapshot& source_base = *snapshot_named(source, name);
    const Snapshot& replica_base = *snapshot_named(replica, name);
    if (source_base.size_bytes != replica_base.size_bytes) {
      stop_at_conflict(
          scope_.vmid, Conflict::size_mismatch,
          "{} of {} has {} bytes, of {} {}. Nothing was touched; --reseed makes a new copy beside the old one",
          name, here, source_base.size_bytes, there, replica_base.size_bytes);
    }
    disk.adopt = true;
    disk.source_base = source_base;
    disk.replica_base = replica_base;
    disk.replica_newest = replica_base;
    disk.points = {{name, source_base.id, replica_base.id, false, true}};
    plan_.warnings.push_back(fmt::format(
        "the shell tool's snapshots are left as they are: {} of {}, {} of {}; once this run is through "
        "they can be removed",
        names_or_none(shell_tool_names(source)), here, names_or_none(shell_tool_names(replica)), there));
  }

  static std::string names_or_none(const std::vector<std::string>& names) {
    return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
  }

  /// What was promoted is no replica of its job any more: one of the same name may run from it, the way back.
  bool may_share_name(const ImageRecord& record) const {
    return record.replica->promoted &&
           (goes_back(scope_) || (record.source && record.source->jobs.contains(request_.job_label)));
  }

  /// How the disk could go back to the destination, if that is where it came from.
  std::string way_back(const DiskPlan& disk) const {
    const ReplicaRecord& record = *disk.source_record.replica;
    if (!record.promoted || record.source.fsid != inventory_.replica_fsids.at(disk.replica.access)) return "";
    return fmt::format(". The guest was promoted from VM {} over there: with that as its target it goes back",
                       record.source.guest);
  }

  void check_source_record(const DiskPlan& disk) {
    const ImageRecord& record = disk.source_record;
    if (record.replica && record.replica->state != ReplicaState::complete) {
      stop_at_conflict(scope_.vmid, Conflict::source_unfinished,
                       "{} is itself a replica whose last transfer is not finished; run its own job first",
                       to_string(disk.disk.image.spec));
    }
    if (record.replica && normalize_job(record.replica->job) == request_.job_label && !may_share_name(record)) {
      stop_at_conflict(
          scope_.vmid, Conflict::job_name_taken,
          "{} is itself a replica of the job '{}', whose recovery points this job would take for its own; "
          "give it a --jobname that differs in letters and digits{}",
          to_string(disk.disk.image.spec), record.replica->job, way_back(disk));
    }
    if (!record.source) return;
    const auto job = record.source->jobs.find(request_.job_label);
    if (job == record.source->jobs.end()) return;
    if (job->second.job != request_.job_name) {
      stop_at_conflict(
          scope_.vmid, Conflict::job_name_taken,
          "the jobs '{}' and '{}' would share their snapshots' names; rename one so that their letters and "
          "digits differ",
          job->second.job, request_.job_name);
    }
    if (job->second.destination_fsid != inventory_.replica_fsids.at(disk.replica.access) ||
        job->second.target_vmid != scope_.target_vmid) {
      stop_at_conflict(scope_.vmid, Conflict::job_name_taken,
                       "the job '{}' mirrors this guest to VM {} on the cluster {}; a second destination needs a "
                       "--jobname of "
                       "its own",
                       request_.job_name, job->second.target_vmid, job->second.destination_fsid);
    }
  }

  /// A run that is cut right after it created an image leaves one that says nothing. Only the source's record says
  /// then that it is ours; the run that replaces it proves as well that it is empty.
  bool was_just_created(const DiskPlan& disk, const ImageState& image) const {
    const auto& record = disk.source_record.source;
    if (!record || !record->jobs.contains(request_.job_label)) return false;
    return record->jobs.at(request_.job_label).creating == to_string(disk.replica.spec) && image.metadata.empty() &&
           has_only_our_snapshots(image);
  }

  bool has_only_our_snapshots(const ImageState& image) const {
    return std::all_of(image.snapshots.begin(), image.snapshots.end(), [this](const Snapshot& snapshot) {
      const auto name = parse_snapshot_name(snapshot.name);
      return name && name->job == request_.job_label;
    });
  }

  void check_replica_record(const DiskPlan& disk, const ImageState& image) {
    const std::string name = to_string(disk.replica.spec);
    const auto& record = disk.replica_record.replica;
    if (!record && !shell_tool_names(image).empty()) {
      stop_at_conflict(
          scope_.vmid, Conflict::image_name_taken,
          "the image {} exists on the destination, and its snapshots ({}) look like the shell tool's; it was not "
          "touched. --adopt takes it over if its content is the source's",
          name, fmt::join(shell_tool_names(image), ", "));
    }
    if (!record) image_name_taken(name);
    if (record->source != disk.identity) another_source(name, *record, disk.identity);
    if (record->job != request_.job_name || record->target_vmid != scope_.target_vmid) another_job(name, *record);
    if (const auto& source = disk.replica_record.source;
        source && !goes_back(scope_) && source->jobs.contains(request_.job_label)) {
      stop_at_conflict(
          scope_.vmid, Conflict::job_name_taken,
          "{} on the destination is mirrored on by the job '{}', whose recovery points this job would take "
          "for its own; rename one so that their letters and digits differ, with --jobname",
          name, source->jobs.at(request_.job_label).job);
    }
    check_unwatched(scope_.vmid, disk.replica, image);
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
      plan_again(disk, replica);
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

  /// A first copy that never became a recovery point: nothing in it is worth keeping, if it is only ours.
  void plan_again(DiskPlan& disk, const ImageState& replica) {
    if (!has_only_our_snapshots(replica)) {
      std::vector<std::string> names;
      for (const Snapshot& snapshot : replica.snapshots) names.push_back(snapshot.name);
      stop_at_conflict(
          scope_.vmid, Conflict::image_name_taken,
          "{} is an unfinished first copy, but not all of its snapshots ({}) are ours; remove the others, or "
          "the image",
          to_string(disk.replica.spec), fmt::join(names, ", "));
    }
    for (const Snapshot& snapshot : replica.snapshots) {
      if (points_.committed.contains(snapshot.name)) {
        stop_at_conflict(
            scope_.vmid, Conflict::no_common_base,
            "{} has the recovery point {}, but its record says that it has none; it was not touched. --reseed "
            "makes a "
            "new copy beside it",
            to_string(disk.replica.spec), snapshot.name);
      }
    }
    disk.full = true;
    disk.replace = true;
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
