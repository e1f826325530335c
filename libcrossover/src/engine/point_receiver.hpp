/// \file
/// The port to the far side of a recovery point: the source offers one, and whoever receives it plans what becomes of
/// the replica, and writes its images' records, snapshots and configuration. Implementations: in this process over the
/// destination's other ports (engine/port_receivers), and through an agent (agent/agent_receivers).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/image_store.hpp"
#include "plan/point_offer.hpp"

namespace crossover {

/// One disk's part in a point. Its image is held from the call that gave this. For one thread at a time.
class DiskReceiver {
 public:
  virtual ~DiskReceiver() = default;
  /// Takes the point's diff from `offset` on, which the plan says; one sink at a time.
  virtual std::unique_ptr<DiffSink> write(std::uint64_t offset, std::stop_token stop) = 0;
  /// Takes more content, of what was found to differ.
  virtual std::unique_ptr<DiffSink> repair(std::stop_token stop) = 0;
  /// Records that everything was given.
  virtual void applied() = 0;
  /// Makes the disk's snapshot of the point. ErrorCode::conflict unless everything was given.
  virtual void make_snapshot() = 0;
};

/// What is done to a replica for one point, in the order of its plan's steps. Destroyed before the point is complete
/// and without abandon(), it does what abandon() does. Each call throws Error, and Cancelled once the stop token that
/// was given to Receivers::begin() is triggered.
class PointReceiver {
 public:
  virtual ~PointReceiver() = default;
  /// Carries out the plan's next steps at the replica, which are of this kind: those of all disks at once.
  virtual void carry_out(StepKind kind) = 0;
  /// Carries out StepKind::record_point: the point's snapshots on the source are these, in the order of the plan's
  /// disks.
  virtual void record_point(std::span<const Snapshot> ends) = 0;
  /// transfer_id() of each disk, once the point is recorded.
  [[nodiscard]] virtual std::vector<std::string> transfers() const = 0;
  /// Begins a disk's part; once the point is recorded, and for several disks from several threads at once. All that
  /// it gave are to be destroyed before the commit.
  virtual std::unique_ptr<DiskReceiver> receive(std::size_t disk, std::stop_token stop) = 0;
  /// The point is given up: a lock that was put on the replica's configuration goes, unless its head may be torn.
  virtual void abandon() noexcept = 0;
  /// Whether a replica's head may be no recovery point.
  [[nodiscard]] virtual bool torn() const noexcept = 0;
};

/// Takes notes of what a human should know: warnings of the run. From several threads at once.
using TakeNote = std::function<void(const std::string& note)>;

/// Thread-safe.
class Receivers {
 public:
  virtual ~Receivers() = default;
  /// Begins a point. `plan` is what the source made of the offer and of what it saw of the destination; whoever
  /// receives it over there makes its own, and ErrorCode::conflict, retryable, says that they differ. What is referred
  /// to outlives the receiver.
  virtual std::unique_ptr<PointReceiver> begin(const PointOffer& offer, const GuestPlan& plan, TakeNote note,
                                               std::stop_token stop) = 0;
};

}  // namespace crossover
