/// \file
/// What is known and was done of replicas on the cluster they are on, as plain data.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "crossover/error.hpp"
#include "crossover/report.hpp"

namespace crossover {

/// One disk of a recovery point.
struct PointDisk {
  std::string image;             ///< "pool/vm-99100-disk-0-ssd"
  std::uint64_t size_bytes = 0;  ///< the image's size at that moment, not what it takes of the pool
};

/// One recovery point of a replica.
struct RecoveryPoint {
  std::string name;                 ///< its snapshots' name
  std::chrono::sys_seconds time{};  ///< the moment it is of
  std::chrono::milliseconds age{};  ///< at the time of the report; negative if a clock was set back
  bool complete = false;            ///< every disk and the configuration are there
  std::string incomplete;           ///< why not, in one line
  bool bad = false;                 ///< a comparison found that it differs from the source's
  std::vector<PointDisk> disks;
};

/// A replica that was made a guest of its own, or is being made one.
struct PromotedReplica {
  std::string point;                ///< where it began
  std::chrono::sys_seconds time{};  ///< when
  bool done = false;                ///< false: a recovery was cut in the middle; run it again
};

/// A replica as the cluster it is on knows it.
struct ReplicaReport {
  std::uint32_t vmid = 0;
  std::string node;
  std::string name;
  bool running = false;
  std::string lock;               ///< PVE's lock on it; empty: none
  std::string job;                ///< the job's name as given
  std::string source_fsid;        ///< the Ceph cluster it comes from
  std::uint32_t source_vmid = 0;  ///< the guest there
  bool unfinished = false;        ///< the head is between two points: a transfer was cut, or is under way
  std::string applying;           ///< the point it was to become; empty if none, or if it was taken back
  std::optional<PromotedReplica> promoted;
  std::vector<RecoveryPoint> points;  ///< newest first
  std::vector<FormerImage> former_images;
};

/// How a recovery ended.
struct RecoverReport {
  std::uint32_t vmid = 0;
  std::string node;
  std::string name;
  bool dry_run = false;
  Outcome outcome = Outcome::failed;
  std::optional<ErrorCode> error_code;  ///< why it is not ok
  std::string error;                    ///< one line; empty if ok
  std::string point;                    ///< what it is, or was to be, recovered at
  bool was_recovered = false;           ///< it had been before: nothing was rolled back
  bool started = false;                 ///< it runs
  std::vector<std::string> warnings;
  std::vector<std::string> steps;  ///< what was planned, in order, one line each
  std::chrono::milliseconds duration{};
};

/// What retention did to one replica.
struct PrunedReplica {
  std::uint32_t vmid = 0;
  std::string node;
  std::string name;
  std::string job;
  Outcome outcome = Outcome::failed;
  std::optional<ErrorCode> error_code;  ///< why it is not ok
  std::string error;                    ///< one line; empty if ok
  std::string untouched;  ///< why nothing is removed from it, though nothing is wrong; empty: it is pruned
  std::vector<std::string> removed;   ///< snapshots, "pool/image@snapshot"; in a dry run those that would be
  std::vector<std::string> trashed;   ///< former images moved to RBD's trash, "pool/image (id)"; or that would be
  std::vector<FormerImage> former_images;  ///< those that stay
  std::vector<std::string> warnings;  ///< what could not be removed
};

/// A whole run of retention.
struct PruneReport {
  std::string keep_remote;  ///< as given
  std::string job;          ///< only this job's replicas; empty: every job's
  bool dry_run = false;
  std::chrono::sys_seconds started{};
  std::chrono::milliseconds duration{};
  std::vector<PrunedReplica> replicas;  ///< in the order of their VMIDs
};

/// Each report as one JSON object; field names are those above.
std::string to_json(const ReplicaReport& report);
std::string to_json(const RecoverReport& report);
std::string to_json(const PruneReport& report);

}  // namespace crossover
