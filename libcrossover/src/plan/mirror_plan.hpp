/// \file
/// What a run will do to each guest, as plain data, before anything is done. Pure: no I/O and no clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "crossover/conflict.hpp"
#include "crossover/error.hpp"
#include "crossover/report.hpp"
#include "plan/guest_disks.hpp"
#include "plan/inventory.hpp"
#include "plan/mirror_request.hpp"
#include "plan/origin.hpp"
#include "plan/record.hpp"

namespace crossover {

/// Why a guest cannot be mirrored.
struct Problem {
  ErrorCode code{};
  std::string text;  ///< one line that says what is wrong with what, and what to do
  std::optional<Conflict> conflict = {};

  bool operator==(const Problem&) const = default;
};

/// A disk that another guest has, too.
struct SharedDisk {
  std::string key;
  ImageRef image;
  std::uint32_t other = 0;
  std::string other_key;
  std::string other_line;  ///< of its configuration

  bool operator==(const SharedDisk&) const = default;
};

/// A guest that was asked for, and the images its run is about. Made before the images are looked at, in two steps:
/// the guest itself by scope_guests(), and from `replicas` on by place_replicas().
struct GuestScope {
  std::uint32_t vmid = 0;
  std::uint32_t target_vmid = 0;
  std::string name;
  bool by_name = false;  ///< named by VMID, not swept in by "all" or a tag
  VmConfig config;
  GuestDisks disks;
  std::vector<ImageRef> replicas;                 ///< one for each of disks.replicated; see choose_replicas()
  std::vector<std::string> volumes;               ///< their volume ids
  std::vector<ImageRef> target_images;            ///< images the configuration that has the target VMID names now
  std::vector<std::vector<ImageRef>> spares;      ///< of each disk: images a new copy could be made in
  std::vector<std::optional<ImageRef>> replaced;  ///< of each disk: the image that a new copy is made beside
  std::vector<std::optional<Origin>> origins;     ///< of each disk: what it was copied from, and goes back to
  std::vector<ImageRef> former;  ///< images of the replica whose disks it has no more; see find_former_images()
  std::vector<SharedDisk> shared;  ///< by order of the other guests; see find_shared_disks()
  bool going_on = false;  ///< the configuration names new copies already, and what they replaced is still there
  std::optional<Problem> problem;
};

/// The VMIDs a request names; nothing if it means all guests, or those with a tag.
struct NamedGuests {
  std::optional<std::set<std::uint32_t>> sources;
  std::optional<std::set<std::uint32_t>> targets;
};
NamedGuests named_guests(const MirrorRequest& request);

/// The guests a request means, in the order of their VMIDs, without what the destination has to do with it.
/// ErrorCode::not_found or usage if the request as a whole cannot be carried out: an unknown VMID, two guests for
/// one target.
std::vector<GuestScope> scope_guests(const MirrorRequest& request, const ClusterInventory& source);

/// The source's containers that the request would mean if it were about containers, too.
std::vector<LeftOutContainer> left_out_containers(const MirrorRequest& request, const ClusterInventory& source);

/// Adds where the replicas are to be, and what is there in their place. ErrorCode::not_found or usage if the
/// destination's storage is missing or not RBD.
void place_replicas(std::vector<GuestScope>& scopes, const MirrorRequest& request,
                    const ClusterInventory& destination);

/// The images where the guest's replica is, or is to be, and those in its place.
std::set<ImageRef> images_in_place(const GuestScope& scope);

/// One disk of a guest in a plan.
struct DiskPlan {
  GuestDisk disk;
  ImageRef replica;
  std::string volume;  ///< the replica's volume id
  SourceIdentity identity;
  ImageLayout layout;  ///< of the replica, if it is created
  bool full = false;
  bool adopt = false;      ///< a replica of the shell tool: `replica_base` is to be compared with the source's
  bool take_back = false;  ///< the replica is the disk's origin, and no record says so yet
  bool replace = false;  ///< a first copy that was cut short is in the way: remove it (without a record: if empty)
  std::optional<Snapshot> replica_newest;  ///< what the head has to be unchanged since; nothing: roll back
  std::optional<Snapshot> source_base;
  std::optional<Snapshot> replica_base;
  // Of a point that is resumed:
  std::optional<Snapshot> source_end;   ///< its snapshot on the source
  std::optional<Snapshot> replica_end;  ///< and on the replica, if it was made
  bool applied = false;                 ///< all of its diff is there already
  std::uint64_t offset = 0;             ///< where its transfer goes on

  bool has_progress = false;              ///< a transfer's progress stands on the replica
  std::optional<ImageIdentity> replaces;  ///< the image that the replica takes the place of, or took
  std::vector<PointIds> points;   ///< the replica's, oldest first; one that the record does not have yet included
  std::vector<ByteRange> repair;  ///< sent besides what changed
  ImageRecord source_record;      ///< as they are now
  ImageRecord replica_record;
};

/// How long images that were replaced stay in RBD's trash.
inline constexpr std::chrono::days trash_days{7};

/// One snapshot to remove.
struct Removal {
  bool on_source = false;
  ImageRef image;
  Snapshot snapshot;
  std::chrono::seconds age{};
  bool point_config = false;  ///< remove the point's configuration from this image's metadata first, if it has it
};

/// An image of the replica whose disk the guest does not have any more.
struct FormerReplica {
  ImageRef image;
  std::string id;
  std::uint32_t points = 0;  ///< recovery points that need it
  bool seen = true;          ///< it was looked at; else only another one's record tells of it

  bool operator==(const FormerReplica&) const = default;
};

/// What is done, in this order.
enum class StepKind {
  verify_content,  ///< disk: compare the whole of a snapshot that is to be adopted
  check_origin,    ///< disk: prove that its origin was not written to since the snapshot that both have
  record_source,  ///< write on the source's images what their snapshots are for, and which images are to be created
  lock_replica,   ///< write the replica's configuration with its lock (or create it so)
  create_image,   ///< disk: create the replica's image and record what it is
  adopt,          ///< disk: record what a replica of the shell tool is, or what a disk's origin becomes
  check_head,     ///< disk: prove that the head is the newest recovery point
  check_cut,      ///< disk: look that nobody touched it since the run that was cut
  roll_back,      ///< disk: make the head the base again
  lock_source,
  freeze,    ///< the source guest; what --no-agent says if it cannot be
  pause,     ///< the source guest, which is known not to be one that can be frozen
  snapshot,  ///< all disks of the source, side by side
  let_go,    ///< thaw or resume the source guest
  unlock_source,
  record_point,  ///< write on the replica's images which point is sent now, and what it will be
  transfer,      ///< disk
  commit,        ///< end snapshots of all disks, then the point's configuration
  write_config,  ///< the replica's configuration without the lock, and its firewall rules
  remove,        ///< removals, on the destination first
  retire,        ///< move images that were replaced to the trash
};

/// True if the step is carried out at the replica, by whoever receives the point.
constexpr bool is_at_replica(StepKind kind) noexcept {
  switch (kind) {
    case StepKind::verify_content:
    case StepKind::check_origin:
    case StepKind::lock_replica:
    case StepKind::create_image:
    case StepKind::adopt:
    case StepKind::check_head:
    case StepKind::check_cut:
    case StepKind::roll_back:
    case StepKind::record_point:
    case StepKind::commit:
    case StepKind::write_config:
    case StepKind::retire:
      return true;
    default:
      return false;
  }
}

struct Step {
  StepKind kind{};
  std::size_t disk = 0;  ///< index into disks, where the kind says so

  bool operator==(const Step&) const = default;
};

struct GuestPlan {
  std::uint32_t vmid = 0;
  std::uint32_t target_vmid = 0;
  std::string name;
  std::string job_name;
  std::string source_node;
  std::string target_node;
  bool running = false;
  std::string not_frozen;     ///< why a running guest will not be frozen; empty: it will
  NoAgent no_agent{};         ///< what becomes of it then, or if it turns out that it cannot be
  std::string consistency;    ///< what the point will be, if nothing fails
  std::string snapshot;       ///< name of the new recovery point
  bool reseeds = false;       ///< a new copy is made beside a replica that stays as it is until write_config
  bool discards = false;      ///< what was written to a replica since its newest recovery point is dropped
  bool resumes = false;       ///< it is one that a cut run began; the new one takes a plan of its own, after this
  std::string not_resumed;    ///< why the point that a cut run began is given up; empty: there is none
  std::string source_config;  ///< bytes the survey saw
  std::optional<std::string> replica_config_before;  ///< bytes; nothing: the replica has none yet
  std::string replica_config;                        ///< bytes it is to have, without a lock
  std::string replica_snapshots;                     ///< Proxmox VE's own of the replica: sections it keeps, bytes
  std::string replica_parent;                        ///< that of these it goes on from; empty: none
  std::string onboot;                                ///< the guest's own value
  std::string repaired;                              ///< the recovery point the disks' repair is of; empty: none
  std::optional<std::string> firewall;
  bool write_firewall = false;  ///< the destination's file differs
  std::vector<DiskPlan> disks;
  std::vector<FormerReplica> former;
  std::vector<Removal> removals;
  std::vector<LeftOut> left_out;
  std::vector<std::string> warnings;
  std::vector<Step> steps;
  std::optional<Problem> problem;  ///< then there are no steps
};

/// The same for people.
std::vector<FormerImage> former_images(const GuestPlan& plan);

/// A step in one line, for people.
std::string describe(const GuestPlan& plan, const Step& step);

/// Images that could not be looked at, and why.
using ImageProblems = std::map<ImageRef, Problem>;

/// What the planner knows of both sides.
struct Inventory {
  ClusterInventory source;
  ClusterInventory destination;
  std::map<CephAccess, std::string> source_fsids;
  std::map<CephAccess, std::string> replica_fsids;
  ImageStates source_images;
  ImageStates replica_images;
  ImageProblems source_problems;
  ImageProblems replica_problems;
};

/// Looks, once the images are known, for those that are the disks' replicas: the disk's origin if it has one, that
/// which the target's configuration names and whose record says so, else the one of the usual name. With --reseed
/// each that is there gets another beside it: the first spare that is free, or that a copy was begun in, unless the
/// configuration names such copies already.
void choose_replicas(GuestScope& scope, const MirrorRequest& request, const Inventory& inventory);

/// What a recovery point was found to differ in, to be sent anew with the next one.
struct Repair {
  std::string point;
  std::map<ImageRef, std::vector<ByteRange>> ranges;  ///< of the replica's images
};

/// Plans one guest's run that starts at `now`. Whatever stands in the way is in the plan's `problem`. A run that
/// repairs a point marks it as bad before anything is sent, and is the only one that may start from it.
GuestPlan plan_guest(const MirrorRequest& request, const Inventory& inventory, const GuestScope& scope,
                     std::chrono::sys_seconds now, const Repair& repair = {});

}  // namespace crossover
