/// \file
/// What a run did, as plain data.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/conflict.hpp"
#include "crossover/error.hpp"

namespace crossover {

/// How a guest's run ended.
enum class Outcome {
  ok,          ///< a new recovery point is on the destination
  planned,     ///< a dry run: this would be done
  incomplete,  ///< the same as one of these two, but the point lacks data of the guest that nobody excluded
  conflict,    ///< a state that a human has to decide; nothing was changed
  failed,      ///< an error; what was begun was undone or is put right by the next run
};

std::string_view to_string(Outcome outcome) noexcept;

/// One disk of one guest in a run.
struct DiskReport {
  std::string key;                       ///< "scsi0"
  std::string source_image;              ///< "pool/vm-100-disk-0"
  std::string replica_image;             ///< "pool/vm-99100-disk-0-ssd"
  bool full = false;                     ///< a first copy
  std::string base;                      ///< snapshot the diff started from; empty for a first copy
  bool fast_diff = false;                ///< changes were looked for only where the object map has some
  std::string fast_diff_refused;         ///< why not, if that was asked for
  bool transferred = false;              ///< the diff is on the destination, flushed
  bool committed = false;                ///< and its end snapshot is there
  std::uint64_t stream_bytes = 0;        ///< bytes of the diff stream that went to the destination
  std::uint64_t size_bytes = 0;          ///< the image's size
  std::chrono::milliseconds duration{};  ///< of the transfer
};

/// A disk or setting of the guest that its replica does not have.
struct LeftOut {
  std::string key;        ///< "ide2"
  std::string value;      ///< what it says on the source: a volume or the whole value, never a secret
  std::string reason;     ///< in words
  bool is_disk = false;   ///< data that is not replicated, not only a setting
  bool excluded = false;  ///< of data: somebody said so, with backup=0 or by detaching the disk

  bool operator==(const LeftOut&) const = default;
};

/// A container that would have been meant, if containers were replicated.
struct LeftOutContainer {
  std::uint32_t vmid = 0;
  std::string node;
  std::string reason;  ///< in words

  bool operator==(const LeftOutContainer&) const = default;
};

/// An image that is no disk of the replica any more: the guest's disk was detached, moved to another storage, or excluded
/// since, or has its copy in another pool now. It belongs to older recovery points, and stays until `crossover prune
/// --former-images` removes it.
struct FormerImage {
  std::string image;         ///< "pool/vm-99100-disk-1-ssd"
  std::uint32_t points = 0;  ///< recovery points that need it
};

/// What people are told of one: why it is still there.
std::string describe(const FormerImage& former);

/// One disk of a point that is resumed.
struct ResumedDisk {
  std::string key;                 ///< "scsi0"
  std::uint64_t from_bytes = 0;    ///< where in the image its transfer went on; its size if nothing was left
  std::uint64_t stream_bytes = 0;  ///< bytes of the diff stream from there on
};

/// A recovery point that an earlier run began and was cut in.
struct ResumedPoint {
  std::string recovery_point;  ///< the snapshot's name
  bool complete = false;       ///< it is one now
  std::vector<ResumedDisk> disks;
};

/// How a guest's migration ended.
enum class MigrationOutcome {
  not_begun,  ///< the guest was not touched; its replica may be newer than before
  done,       ///< the guest is the target's, and is fenced on the source
  undone,     ///< it went wrong, and the guest is on the source again as it was
  left,       ///< it went wrong where nothing could be decided any more: see `left_to_do`
};

std::string_view to_string(MigrationOutcome outcome) noexcept;

/// A guest's migration, or what there is to say of one that was asked for.
struct MigrationReport {
  MigrationOutcome outcome = MigrationOutcome::not_begun;
  std::vector<std::string> findings;  ///< what stands in its way, all of it; then nothing was done
  std::uint32_t rounds = 0;           ///< of mirroring before the switch
  std::uint64_t precopy_bytes = 0;    ///< stream bytes of these
  std::uint64_t switch_bytes = 0;     ///< stream bytes of the transfer while the guest was down
  bool suspended = false;             ///< it was suspended and went on there, instead of being shut down and booted
  std::uint64_t state_bytes = 0;      ///< stream bytes of its saved memory; 0: an earlier run sent it
  bool was_running = false;              ///< before it was taken down; else it had no downtime
  std::chrono::milliseconds shutdown{};  ///< until it was down, suspending included; 0: it was
  std::chrono::milliseconds transfer{};  ///< from there until its disks were complete on the target
  std::chrono::milliseconds start{};     ///< from there until it ran, and its agent answered if it has one
  std::vector<std::string> left_to_do;   ///< for a human, one line each

  /// How long the guest was away, of these three; 0 if it did not run.
  [[nodiscard]] std::chrono::milliseconds downtime() const;
};

/// One guest of a run.
struct GuestReport {
  std::uint32_t vmid = 0;
  std::uint32_t target_vmid = 0;
  std::string name;
  std::string source_node;
  std::string target_node;
  Outcome outcome = Outcome::failed;
  std::optional<ErrorCode> error_code;  ///< why it is not ok
  std::optional<Conflict> conflict;     ///< which state a human has to decide about, if it is one
  std::string error;                    ///< one line; empty if ok
  bool retryable = false;               ///< whether the same run may succeed later by itself
  std::string recovery_point;           ///< the snapshot's name; empty if none was made
  std::optional<ResumedPoint> resumed;  ///< the point that had to be completed first
  bool running = false;                 ///< it ran when the snapshots were made
  bool frozen = false;                  ///< its file systems were frozen meanwhile
  bool paused = false;                  ///< it was paused meanwhile, because it could not be frozen
  std::string
      consistency;  ///< what that means for the point: "frozen", "stopped", "paused: why" or "not frozen: why"
  std::chrono::milliseconds frozen_for{};  ///< how long it was frozen or paused, at most
  std::vector<DiskReport> disks;
  std::vector<LeftOut> left_out;
  std::vector<FormerImage> former_images;
  std::vector<std::string> removed;  ///< snapshots retention removed, "side pool/image@snapshot"
  std::vector<std::string> warnings;
  std::vector<std::string> steps;            ///< what was planned, in order, one line each
  std::optional<MigrationReport> migration;  ///< of a run that migrates
};

/// Counts over a run, as the job summary shows them. Counters count disks, except those of freezes and guests.
struct MirrorTotals {
  std::uint64_t full_bytes = 0;         ///< stream bytes of first copies
  std::uint64_t incremental_bytes = 0;  ///< stream bytes of incremental transfers
  std::uint32_t full_ok = 0;
  std::uint32_t full_failed = 0;
  std::uint32_t incremental_ok = 0;
  std::uint32_t incremental_failed = 0;
  std::uint32_t freeze_ok = 0;
  std::uint32_t freeze_failed = 0;
  std::uint32_t snapshot_ok = 0;
  std::uint32_t snapshot_failed = 0;
  std::uint32_t guests_ok = 0;
  std::uint32_t guests_incomplete = 0;
  std::uint32_t guests_failed = 0;
  std::uint32_t guests_running = 0;
  std::uint32_t guests_stopped = 0;

  MirrorTotals& operator+=(const MirrorTotals& more) noexcept;
};

/// A whole run.
struct MirrorReport {
  std::string job;  ///< the job's name as given
  std::string destination;
  bool dry_run = false;
  std::chrono::sys_seconds started{};
  std::chrono::milliseconds duration{};
  std::vector<GuestReport> guests;
  std::vector<LeftOutContainer> containers;  ///< of the source, not replicated; no failure
  MirrorTotals totals;
};

/// The whole report as one JSON object; field names are those above.
std::string to_json(const MirrorReport& report);

}  // namespace crossover
