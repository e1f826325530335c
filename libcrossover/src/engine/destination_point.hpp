/// \file
/// A recovery point on the destination: the replica's images, what is recorded on them, what is sent, and the
/// commit that makes a point of it.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "engine/fast_diff.hpp"
#include "engine/guest_work.hpp"
#include "engine/replaced_images.hpp"
#include "engine/source_point.hpp"
#include "engine/transfer_slots.hpp"

namespace crossover {

/// The steps of a run that are done to the replica's images. Those of one disk may be taken for several disks at
/// once. From its first step to the commit each image is held.
class DestinationPoint {
 public:
  /// `source` has made the point's snapshots by the time record_point() is called.
  DestinationPoint(GuestWork& work, const SourcePoint& source, FastDiff& diffs, TransferSlots& slots);

  void create_image(std::size_t disk);
  /// Reads the whole of a snapshot of the shell tool on both sides. ErrorCode::conflict if they differ, or the head
  /// was written to since.
  void verify_content(std::size_t disk);
  /// ErrorCode::conflict if the head was written to since the snapshot that the disk was promoted with.
  void check_origin(std::size_t disk);
  /// Records what was verified, or is known by its identity, as a base.
  void adopt(std::size_t disk);
  /// ErrorCode::conflict if the head was written to since its newest recovery point, unless that is to be dropped.
  void check_head(std::size_t disk);
  /// No listing can tell what a cut transfer wrote from what somebody else did. The replica was locked all the
  /// time, and its record is what the cut run wrote.
  void check_cut(std::size_t disk);
  void roll_back(std::size_t disk);
  /// On all disks before the first transfer, so that a later run knows each end by its id.
  void record_point();
  void transfer(std::size_t disk);
  /// Every disk gets its end snapshot, then the point's configuration makes it a recovery point, then the records
  /// follow.
  void commit();
  /// Moves the images that new ones have taken the place of to the trash.
  void retire() { retire_replaced(work_, records_); }

  /// Whether a record may tell of the point's snapshots on the source: they have to stay.
  [[nodiscard]] bool recorded() const noexcept { return recorded_; }
  /// Whether a replica's head may be no recovery point.
  [[nodiscard]] bool torn() const noexcept { return torn_; }

 private:
  /// The hold on a disk's image; takes it if it is not held yet. What the plan was made from may be minutes old:
  /// ErrorCode::conflict if the image's record is not what it was.
  ImageHold& hold(std::size_t disk);
  void save_record(std::size_t disk);
  /// The plan was made from a look that may be minutes old: looks again before anything is removed.
  void remove_unfinished(std::size_t disk);
  /// No record says whose the image is: it may go only if there is nothing in it.
  void require_empty(const DiskPlan& disk, ImageStore& store, const ImageState& image) const;
  /// Whether the head reads as the newest recovery point does.
  [[nodiscard]] bool is_head_unchanged(std::size_t disk);
  void roll_back_to(std::size_t disk, const Snapshot& snapshot);
  /// Makes the head what a transfer begins from that is sent from its start.
  void restart(std::size_t disk);
  /// The point that is unfinished will not be finished.
  void forget_point(std::size_t disk);
  /// Why what is on a replica beyond its base is dropped.
  [[nodiscard]] std::string given_up(const DiskPlan& disk) const;
  /// Sends what changed. Returns the bytes sent. ErrorCode::timeout if nothing moves for too long.
  std::uint64_t send(std::size_t disk);
  /// Sends what was found to differ, from the new snapshot. Returns the bytes sent.
  std::uint64_t send_repair(std::size_t disk);
  /// Writes the point's configuration on all disks, one before the others.
  void make_point();
  /// A run that was cut between those writes left a point whose configuration not all of its disks have.
  void complete_cut_point();
  void count_transfer(const DiskPlan& disk, const DiskReport& disk_report);
  [[nodiscard]] bool is_to_be_removed(std::size_t disk, const PointIds& point) const;

  GuestWork& work_;
  const SourcePoint& source_;
  FastDiff& diffs_;
  TransferSlots& slots_;
  std::vector<std::unique_ptr<ImageHold>> holds_;
  std::vector<ImageIdentity> former_;                  // what every record says of disks that are the guest's no more
  std::vector<std::optional<ReplicaRecord>> records_;  // as they stand on the replicas' images
  std::vector<char> marked_;  // whether a transfer's progress may stand on the replicas' images
  bool recorded_ = false;
  std::atomic<bool> torn_ = false;
};

}  // namespace crossover
