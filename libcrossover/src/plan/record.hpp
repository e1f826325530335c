/// \file
/// What crossover writes into images' metadata, so that a later run, on any node, knows what an image is. Metadata
/// is not part of snapshots and is copied with an image, so a record counts only if it names the very image it
/// stands on, and a snapshot only if its id is the recorded one.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/image.hpp"
#include "plan/rollback_target.hpp"

namespace crossover {

/// Metadata key of a replica's record. Written by the far side of its job's runs, under the image's hold.
inline constexpr std::string_view replica_key = "crossover.replica";
/// Metadata key of a replica's promotion. Written by whoever makes a guest of the replica, and removed only by the run
/// that takes it back or, if it is its own, by the migration that wrote it; under the image's hold.
inline constexpr std::string_view promotion_key = "crossover.promotion";
/// Metadata key, with the job's label behind it, of what a job of this source image is for. Written by that job's runs,
/// under the guest's lease.
inline constexpr std::string_view source_key_prefix = "crossover.source.";
/// Metadata key in which earlier builds had all of that. What stands there is not read, but that it does is said.
inline constexpr std::string_view earlier_record_key = "crossover.record";
/// Metadata key, with the snapshot's name behind it, of a recovery point's configuration; on every disk of the replica,
/// so that the point stays whole whichever of them leaves the guest later. A point is complete when it stands on any of
/// them: the first is written after every disk has its end snapshot, and all are removed before the first snapshot is.
inline constexpr std::string_view point_key_prefix = "crossover.config.";

/// A source image that can be told from every other one: image names and even VMIDs repeat, these do not.
struct SourceIdentity {
  std::string fsid;
  std::int64_t pool_id = 0;
  std::string image_id;
  std::uint32_t guest = 0;

  bool operator==(const SourceIdentity&) const = default;
};

/// A recovery point as one disk knows it: the snapshot's id on both sides.
struct PointIds {
  std::string name;
  std::uint64_t source_id = 0;
  std::uint64_t replica_id = 0;
  bool bad = false;      ///< found to differ from the source's: nothing may start from it again
  bool adopted = false;  ///< from before the image was a replica: a base, and no recovery point

  bool operator==(const PointIds&) const = default;
};

/// How far the diff that was last begun has come.
enum class ReplicaState {
  applying,  ///< the head may be torn
  applied,   ///< the head holds all of it, flushed; the end snapshot may be missing
  complete,  ///< the end snapshot is there and recorded
};

/// A recovery point's configuration and disks.
struct PointConfig {
  std::uint32_t target_vmid = 0;
  std::string config;  ///< the replica's configuration, without the line that holds a password
  std::optional<std::string> firewall;
  std::string onboot;               ///< the guest's own value; empty: it had none
  std::vector<std::string> images;  ///< every image that has this point's snapshot, as "pool[/namespace]/name"

  bool operator==(const PointConfig&) const = default;
};

/// An image by name and id: another one of that name is not it.
struct ImageIdentity {
  ImageSpec image;
  std::string id;

  bool operator==(const ImageIdentity&) const = default;
};

/// A replica that was made a guest of its own, by recovering it at one of its points.
struct Promotion {
  std::string point;
  std::chrono::sys_seconds time{};  ///< when that was begun
  bool done = false;                ///< the head is that point, or was when the guest was started

  bool operator==(const Promotion&) const = default;
};

/// What is known of a replica's image: its record, and its promotion.
struct ReplicaRecord {
  SourceIdentity source;
  std::string source_image;  ///< for people
  std::string job;           ///< the job's name as given
  std::uint32_t target_vmid = 0;
  std::string image_id;      ///< the replica image's own id
  std::int64_t pool_id = 0;  ///< and its pool's
  ReplicaState state = ReplicaState::applying;
  std::string end_snapshot;  ///< where the diff last begun ends
  std::uint64_t end_source_id = 0;
  std::string transfer;              ///< transfer_id() of that diff; empty: it is complete, or was taken back
  std::optional<PointConfig> point;  ///< of where it ends, on the guest's first disk, until it is complete
  std::vector<PointIds> points;      ///< oldest first
  /// Set: no run may write into it any more, until a human decides, or the guest was promoted elsewhere since and
  /// comes back as a replica. It stands in a key of its own, and decides what the head is: see set_promotion().
  std::optional<Promotion> promoted;
  std::optional<ImageIdentity> replaces = {};  ///< made beside it; it goes to the trash once a configuration names this image
  /// The promotion that the way back ended with this record. It does not count, even if its key is still there.
  std::optional<Promotion> taken_back = {};
  /// Images of the same replica whose disks the guest does not have any more: nothing else may name them.
  std::vector<ImageIdentity> former = {};

  bool operator==(const ReplicaRecord&) const = default;
};

/// What one job of a source image is for.
struct SourceJob {
  std::string job;  ///< the job's name as given
  std::string destination_fsid;
  std::uint32_t target_vmid = 0;
  std::string creating;  ///< the replica's image while its first copy is under way; empty: it is complete
  std::optional<RollbackTargets> older = {};  ///< for a fast diff from the base that it names

  bool operator==(const SourceJob&) const = default;
};

/// The record on a source image. Jobs are keyed by the part of the job's name that stands in snapshot names.
struct SourceRecord {
  SourceIdentity source;
  std::map<std::string, SourceJob> jobs;

  bool operator==(const SourceRecord&) const = default;
};

/// All that is recorded on one image. It can be both at once: a replica that is itself mirrored, or a guest on its
/// way back.
struct ImageRecord {
  std::optional<ReplicaRecord> replica;
  std::optional<SourceRecord> source;

  bool operator==(const ImageRecord&) const = default;
};

/// The head is that point, or is being made it: what was begun of a transfer is nothing to go on with any more.
/// `image` is where the record stands.
void set_promotion(ReplicaRecord& record, const Promotion& promotion, const ImageState& image);

/// Metadata key of a job's part of a source image.
std::string source_key(std::string_view job_label);

/// One line of JSON each, with a version. What stands in replica_key: all but the promotion.
std::string render_replica(const ReplicaRecord& record);
/// What stands in promotion_key of the image that the record is of; it has one.
std::string render_promotion(const ReplicaRecord& record);
/// What stands in source_key().
std::string render_source_job(const SourceIdentity& source, const SourceJob& job);
std::string render_point(const PointConfig& point);

/// Names the diff of a replica's source from the snapshot `base` (nothing: a first copy) to the one of that id,
/// into this very image: what was begun of it can be gone on with, and of no other.
std::string transfer_id(const ReplicaRecord& replica, const std::optional<Snapshot>& base,
                        std::uint64_t end_source_id);

/// What is recorded on an image. Parts that were copied with another image's metadata are left out.
/// ErrorCode::format if there is a record that cannot be read, ErrorCode::unsupported if a newer version wrote it:
/// neither may be taken for "no record".
ImageRecord image_record(const ImageState& image);
/// The same where a record that cannot be read is another's to complain of; it counts as none then.
ImageRecord readable_record(const ImageState& image);

/// What an earlier build made of a replica's image.
enum class EarlierReplica {
  none,      ///< it was none of an earlier build's, or is one of this build's since
  replica,   ///< a replica
  promoted,  ///< a guest of its own
};
EarlierReplica earlier_replica(const ImageState& image);
PointConfig parse_point(std::string_view json);

}  // namespace crossover
