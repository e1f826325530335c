/// \file
/// A recovery point's snapshots on the source, and what is done to the guest around them.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "crossover/error.hpp"
#include "engine/guest_lock.hpp"
#include "engine/guest_work.hpp"

namespace crossover {

/// The source guest's lock, its freeze or pause, and the snapshots of all its disks. On destruction the guest goes
/// on, then it is unlocked.
class SourcePoint {
 public:
  explicit SourcePoint(GuestWork& work);

  /// A lock that the survey met already is waited for before anything is changed on the destination.
  void wait_for_foreign_lock();
  void lock();
  void unlock();
  /// If the guest cannot be frozen, what the request says is done instead.
  void freeze();
  void pause();
  /// The guest goes on. If it was not held all the time, the snapshots go and this throws.
  void let_go();
  /// Makes the snapshots of all disks at the same time, so that a guest is frozen for the slowest of them and not
  /// for their sum. All or none.
  void snapshot();

  /// On every way out that is not success: the guest goes on and is unlocked, and snapshots of which no record on
  /// the destination tells yet go.
  void undo(bool recorded) noexcept;

  /// A disk's snapshot of the point, made here or by the run that is resumed.
  [[nodiscard]] const Snapshot& end(std::size_t disk) const { return *ends_[disk]; }
  [[nodiscard]] bool snapshots_made() const noexcept { return snapshots_made_; }

 private:
  /// Whether somebody beside the guest has one of its disks open. Every client that does is asked about a snapshot,
  /// and one that was killed is waited for until Ceph takes it for dead: the guest is not to be held for so long.
  [[nodiscard]] bool others_watch() const;
  std::unique_ptr<GuestHold> hold(HoldWay way);
  void pause(const std::string& why);
  /// Ends the freeze or the pause of a point that is given up.
  void give_up_hold();
  /// Takes back the snapshots this run made: a moment that not every disk has is none.
  /// Why what was snapshotted may be a torn replica: nothing holds a chain's links off each other, but each writes
  /// down that it will write before it does.
  [[nodiscard]] std::optional<Error> written_below() const;
  void remove_snapshots();

  GuestWork& work_;
  std::vector<std::optional<Snapshot>> ends_;
  bool snapshots_made_ = false;
  std::optional<SourceLock> lock_;
  std::unique_ptr<GuestHold> hold_;  // after the lock: it goes first
};

}  // namespace crossover
