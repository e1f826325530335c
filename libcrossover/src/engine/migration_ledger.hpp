/// \file
/// Where a migration is written down: on every disk of its guest.
#pragma once

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
  /// Writes `next` as this run's, numbered, on one disk after the other, if they still say `expected`. A failure in
  /// the middle leaves it on some: see agreed_migration().
  void write(const std::optional<MigrationRecord>& expected, MigrationRecord& next) const;
  /// Removes what is there of one that is over, if they still say `expected`.
  void forget(const MigrationRecord& expected) const;
  /// Removes what is left of migrations that were through, of a guest that was taken back by hand.
  void forget_done() const;

 private:
  struct Disk {
    ImageRef image;
    ImageState state;
  };
  /// Those that are there.
  [[nodiscard]] std::vector<Disk> look() const;
  static std::vector<FoundMigration> found_on(const std::vector<Disk>& disks);
  static void require(const std::vector<Disk>& disks, const std::optional<MigrationRecord>& expected);
  void remove(const Disk& disk) const;

  ImageStores& images_;
  std::vector<ImageRef> disks_;
  std::string run_;
};

/// What an image tells of, named by that image where it cannot be read.
std::optional<FoundMigration> found_migration(const ImageSpec& image, const ImageState& state);

}  // namespace crossover
