/// \file
/// What a run tells while it goes on.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace crossover {

/// What happened. The comment says which fields of Event are set beside kind and vmid.
enum class EventKind {
  run_started,        ///< (vmid 0)
  guest_started,      ///< subject: its name; target_vmid
  target_checked,     ///< target_vmid; subject: the destination host
  source_locked,      ///< subject: the lock's value
  source_unlocked,    ///<
  replica_locked,     ///< target_vmid; subject: the lock's value
  replica_unlocked,   ///< target_vmid
  frozen,             ///< host
  thawed,             ///< elapsed: how long the guest was frozen
  not_frozen,         ///< text: why
  paused,             ///< subject: the state in which it did not run anyway, if this run did not pause it
  resumed,            ///< elapsed: how long the guest was paused
  snapshot_created,   ///< subject: pool/image@snapshot
  transfer_started,   ///< subject: pool/image@snapshot; full
  point_resumed,      ///< subject: the snapshot of the point that an earlier run began
  fast_diff_refused,  ///< subject: pool/image@snapshot; text: why it is listed byte by byte as a whole
  transfer_resumed,   ///< subject: pool/image@snapshot; full; bytes: where in the image it goes on
  transfer_progress,  ///< subject; full; bytes: committed so far; elapsed
  transfer_finished,  ///< subject; full; bytes: in the diff stream; elapsed
  config_written,     ///< target_vmid; subject: the destination host
  left_out,           ///< subject: the configuration key; text: why it is not in the replica
  former_image,       ///< subject: pool/image on the destination; text: why it is still there
  housekeeping,       ///< subject: pool/image; host; text: how long recovery points are kept
  snapshot_removed,   ///< subject: pool/image@snapshot; host; elapsed: its age
  verify_started,     ///< subject: pool/image@snapshot on the source; text: the same on the destination
  verify_progress,    ///< subject; bytes: compared so far; elapsed
  verify_finished,    ///< subject; bytes: compared; elapsed; text: "equal" or what differs
  step,               ///< text: what is done now, to a replica where it is
  migration,          ///< target_vmid; text: the phase that begins, or what was done
  retrying,           ///< target_vmid; text: why; elapsed: how long it waits before
  guest_finished,     ///< target_vmid; text: "ok" or why it failed
  run_finished,       ///< (vmid 0)
  warning,            ///< text
  debug,              ///< text
};

/// The kind's name as it stands in JSON, such as "snapshot_created".
std::string_view to_string(EventKind kind) noexcept;

/// One thing that happened in a run; a plain value.
struct Event {
  EventKind kind{};
  std::uint32_t vmid = 0;         ///< the source guest; 0 if it is about the whole run
  std::uint32_t target_vmid = 0;  ///< its VMID on the destination, where the kind says so
  std::string subject;
  std::string host;  ///< the node it happened on, where the kind says so
  std::string text;
  bool full = false;  ///< a first copy, not an incremental transfer
  std::uint64_t bytes = 0;
  std::chrono::milliseconds elapsed{};

  bool operator==(const Event&) const = default;
};

/// Takes the events of a run. The library calls it from one thread at a time, though not always the same one; it
/// should return soon, for the run waits. If it throws, it hears nothing more of that guest, and at most that guest fails,
/// in order, where its next step begins; what undoes, and a migration's switch, go on.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void on_event(const Event& event) = 0;
};

}  // namespace crossover
