/// \file
/// A recovery point at its replica: the images, what is recorded on them, and the commit that makes a point of it.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/disk_part.hpp"
#include "engine/replaced_images.hpp"
#include "engine/replica_work.hpp"

namespace crossover {

/// The steps of a plan that are done to the replica's images. Those of one disk may be taken for several disks at
/// once. From its first step to the commit each image is held, here or by its disk's part.
class PointAtReplica {
 public:
  explicit PointAtReplica(const ReplicaWork& work);

  void create_image(std::size_t disk);
  /// Of a replica whose content is to be compared. ErrorCode::conflict if the head was written to since.
  void check_adopted(std::size_t disk);
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
  /// On all disks before the first transfer, so that a later run knows each end by its id. `ends` are the point's
  /// snapshots on the source.
  void record_point(std::span<const Snapshot> ends);

  /// transfer_id() of each disk, once the point is recorded.
  [[nodiscard]] std::vector<std::string> transfers() const;
  /// The disk's part of the point, which has its image until part_ended().
  std::unique_ptr<DiskPart> begin_part(std::size_t disk);
  void part_ended(std::size_t disk, DiskPart& part, const std::optional<Snapshot>& made);
  /// From here on the parts of the disks from `first` on take the images, in processes of their own. The commit takes
  /// them again, and looks at what became of them.
  void leave_parts_to_others(std::size_t first);

  /// Every disk has its end snapshot: the point's configuration makes it a recovery point, then the records follow.
  void commit();
  /// Moves the images that new ones have taken the place of to the trash.
  void retire() { retire_replaced(work_, records_); }

  /// Whether a replica's head may be no recovery point.
  [[nodiscard]] bool torn() const noexcept { return torn_; }
  /// Holds the images, as far as nobody else has them, and says whether each record is as this left it: nobody else has
  /// begun something since.
  [[nodiscard]] bool is_as_left();

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
  /// The disk's end snapshot. ErrorCode::conflict if its part is not done, or is another point's.
  Snapshot require_end(std::size_t disk);
  /// Writes the point's configuration on all disks, one before the others.
  void make_point();
  /// A run that was cut between those writes left a point whose configuration not all of its disks have.
  void complete_cut_point();
  [[nodiscard]] bool is_to_be_removed(std::size_t disk, const PointIds& point) const;

  const ReplicaWork& work_;
  std::vector<std::unique_ptr<ImageHold>> holds_;
  std::vector<ImageIdentity> former_;                  // what every record says of disks that are the guest's no more
  std::vector<std::optional<ReplicaRecord>> records_;  // as they are to stand on the replicas' images
  std::vector<std::optional<ReplicaRecord>> saved_;    // and as they do
  std::vector<std::optional<Snapshot>> ends_;          // the point's snapshots on the source
  std::vector<std::optional<Snapshot>> made_;          // and on the replica, as far as they are known
  std::atomic<bool> torn_ = false;
};

}  // namespace crossover
