/// \file
/// Where a migration is written down: on every disk of its guest.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/ports.hpp"
#include "plan/migration_record.hpp"

namespace crossover {

/// A number that no other migration, and no other run, has.
std::string random_id();

/// The records on a guest's disks, for one run. What is written is compared with what was read: as long as the
/// lease is held nobody else writes, and one that was lost without anybody's notice is found here. Every call
/// throws Error; ErrorCode::conflict if somebody else had a hand in it, or the disks do not agree.
class MigrationLedger {
 public:
  /// What `images` refers to has to outlive this object.
  MigrationLedger(ImageStores& images, std::vector<ImageRef> disks, std::string run)
      : images_(images), disks_(std::move(disks)), run_(std::move(run)) {}

  [[nodiscard]] const std::string& run() const noexcept { return run_; }

  /// What they say now.
  [[nodiscard]] std::optional<MigrationRecord> read() const;
  /// That they say that this run has it.
  void require_ours() const;
  /// Writes `next` as this run's, the first of a migration, if they tell of none that is under way. What is left of one
  /// that was through goes if the guest has no fence any more, which `is_fenced` looks at then.
  void begin(MigrationRecord& next, const std::function<bool()>& is_fenced) const;
  /// Writes `next` as this run's, numbered, on one disk after the other, each only if what stands there still is what
  /// was read and says `expected`. A failure in the middle leaves it on some: see agreed_migration().
  void write(const std::optional<MigrationRecord>& expected, MigrationRecord& next) const;
  /// Removes what is there of one that is over, if they still say `expected`.
  void forget(const MigrationRecord& expected) const;

 private:
  struct Disk {
    ImageRef image;
    ImageState state;
  };
  /// Those that are there.
  [[nodiscard]] std::vector<Disk> look() const;
  static std::vector<FoundMigration> found_on(const std::vector<Disk>& disks);
  static void require(const std::vector<Disk>& disks, const std::optional<MigrationRecord>& expected);
  void write_on(const std::vector<Disk>& disks, MigrationRecord& next) const;
  /// The record on a disk, if it still is what was seen there.
  void replace(const Disk& disk, const std::optional<std::string>& wanted) const;

  ImageStores& images_;
  std::vector<ImageRef> disks_;
  std::string run_;
};

/// What an image tells of, named by that image where it cannot be read.
std::optional<FoundMigration> found_migration(const ImageSpec& image, const ImageState& state);

}  // namespace crossover
