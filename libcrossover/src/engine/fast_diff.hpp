/// \file
/// A guest's diffs by the object maps of its disks (--fast-diff), and what has to be kept for the next ones.
#pragma once

#include <cstddef>
#include <optional>
#include <stop_token>
#include <vector>

#include "engine/guest_work.hpp"
#include "plan/first_pass.hpp"

namespace crossover {

/// Reads diffs as a whole, and keeps nothing, unless it is asked for. What is said to a disk may be said to several
/// at once.
class FastDiff {
 public:
  explicit FastDiff(GuestWork& work);

  /// Looks what there is to roll back to, right before the snapshots of the new point are made.
  void look();

  /// Gives a disk's diff to `sink`: by its object maps if they are known to tell of all, otherwise as a whole. Of
  /// what lies before the disk's offset nothing is given.
  void read(std::size_t disk, const Snapshot& end, DiffSink& sink, const std::stop_token& stop);

  /// What the next diff, from `end`, has to have; after this one was given.
  [[nodiscard]] std::optional<RollbackTargets> kept(std::size_t disk, const Snapshot& end) const;

 private:
  /// Of a disk.
  struct Found {
    std::optional<std::vector<RollbackTarget>> targets;  ///< nothing: there can be no fast diff from the new point
    KnownChanges known;                                  ///< of this run's diff
  };

  [[nodiscard]] FirstPass first_pass(const DiskPlan& disk, const Snapshot& end) const;

  GuestWork& work_;
  std::vector<Found> found_;
};

}  // namespace crossover
