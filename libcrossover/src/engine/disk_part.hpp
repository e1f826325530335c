/// \file
/// The part of one of its disks in a point that is being received.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "engine/image_store.hpp"
#include "plan/record.hpp"

namespace crossover {

/// Holds the disk's image, on which a record says which point it is and how far it has come: what is written and
/// which snapshot is made follows from that alone. For one thread at a time.
class DiskPart {
 public:
  /// `record` stands on the held image.
  DiskPart(std::unique_ptr<ImageHold> hold, ImageSpec image, ReplicaRecord record);

  /// A sink for the point's diff from `offset` on. ErrorCode::conflict unless it is under way, by the record.
  std::unique_ptr<DiffSink> write(std::uint64_t offset, std::stop_token stop);
  /// A sink for more than the diff.
  std::unique_ptr<DiffSink> repair(std::stop_token stop);
  void applied();
  /// The disk's snapshot of the point.
  Snapshot make_snapshot();

  /// The image as it is held, with what its record is now; the last call.
  std::unique_ptr<ImageHold> give_back() { return std::move(hold_); }
  [[nodiscard]] ImageHold& hold() const { return *hold_; }
  [[nodiscard]] const ReplicaRecord& record() const noexcept { return record_; }

 private:
  void require(ReplicaState state, const std::string& operation) const;

  std::unique_ptr<ImageHold> hold_;
  ImageSpec image_;
  ReplicaRecord record_;
};

}  // namespace crossover
