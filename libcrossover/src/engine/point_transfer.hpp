/// \file
/// Sending a recovery point to whoever receives it.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "engine/fast_diff.hpp"
#include "engine/guest_work.hpp"
#include "engine/point_receiver.hpp"
#include "engine/source_point.hpp"
#include "engine/transfer_slots.hpp"

namespace crossover {

/// What a run does for its point at the replica's side: tells the receiver which step comes, gives it the content, and
/// reports. Steps of one disk may be taken for several disks at once.
class PointTransfer {
 public:
  /// `source` has made the point's snapshots by the time record_point() is called.
  PointTransfer(GuestWork& work, PointReceiver& receiver, const SourcePoint& source, FastDiff& diffs,
                TransferSlots& slots);

  void lock_replica();
  void record_point();
  void transfer(std::size_t disk);
  /// Every disk gets its end snapshot; then it is a recovery point, and the source's records say so.
  void commit();
  void write_config();

  /// Whether a record may tell of the point's snapshots on the source: they have to stay.
  [[nodiscard]] bool recorded() const noexcept { return recorded_; }

 private:
  /// The disk's part at the receiver, which is begun once.
  DiskReceiver& part(std::size_t disk);
  /// Sends what changed. Returns the bytes sent. ErrorCode::timeout if nothing moves for too long.
  std::uint64_t send(std::size_t disk);
  /// Sends what was found to differ, from the new snapshot. Returns the bytes sent.
  std::uint64_t send_repair(std::size_t disk);
  void count_transfer(const DiskPlan& disk, const DiskReport& disk_report);

  GuestWork& work_;
  PointReceiver& receiver_;
  const SourcePoint& source_;
  FastDiff& diffs_;
  TransferSlots& slots_;
  std::vector<std::unique_ptr<DiskReceiver>> parts_;
  bool recorded_ = false;
};

}  // namespace crossover
