/// \file
/// What a migration writes down of itself, so that whichever run comes next can end it, and what keeps a guest that
/// was migrated from running on the source again. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "crossover/image.hpp"

namespace crossover {

/// Metadata key of the migration that is under way, or through, on every disk of the source guest.
inline constexpr std::string_view migration_key = "crossover.migration";

/// How far a migration has come. What comes next may have been begun.
enum class MigrationStep {
  switching,  ///< the guest is taken out of high availability and shut down: it may run yet, and is not fenced
  fenced,     ///< it is down and fenced, and its disks are brought up to date
  starting,   ///< all of it is on the target, which may run
  done        ///< the target has it
};

/// What the guest was before, and where it goes. A step is recorded before what it allows is done.
struct MigrationRecord {
  std::string id;              ///< of the migration, made when it begins
  std::string run;             ///< of the run that has it: no other one may go on with it, or undo it
  std::uint64_t sequence = 0;  ///< counts what was written of it
  std::string image_id;        ///< the image it stands on: metadata is copied with images
  std::int64_t pool_id = 0;
  std::string job;  ///< the job's name as given
  std::string destination_fsid;
  std::uint32_t target_vmid = 0;
  MigrationStep step = MigrationStep::switching;
  bool was_running = false;
  std::optional<std::string> onboot;  ///< what its configuration said; nothing: it had no such line
  std::string ha_state;               ///< of its high availability resource; empty: it was none
  std::string point;                  ///< the recovery point that the target has, from `starting` on
  bool suspends = false;  ///< it is suspended to disk instead of shut down, and to go on from there on the target
  std::string source_state;  ///< the volume with its memory, once there is one
  std::string target_state;  ///< the volume that becomes its copy; that name was free when it was chosen

  bool operator==(const MigrationRecord&) const = default;
};

/// One line of JSON.
std::string render_migration(const MigrationRecord& record);

/// The migration that an image tells of. Nothing if it tells of none, or of one that was copied with its metadata.
/// ErrorCode::format if it cannot be read, ErrorCode::unsupported if another version wrote it.
std::optional<MigrationRecord> migration_record(const ImageState& image);

/// The migration that an image tells of, if it is not through: its guest may be either side's.
std::optional<MigrationRecord> migration_under_way(const ImageState& image);

/// A record, and the disk that it was read from.
struct FoundMigration {
  ImageSpec image;
  MigrationRecord record;
};

/// What the records on a guest's disks say together. It is written disk by disk: the one with the highest number is
/// what was to be done next, and nothing of that was begun unless all of them say so; a disk that lacks it, or is
/// behind, takes nothing away. `fenced` is the guest's configuration: a migration that is through, of a guest that
/// was taken back by hand, is none. ErrorCode::conflict, with what each disk says, if they tell of two migrations,
/// or if two runs wrote the same number.
std::optional<MigrationRecord> agreed_migration(std::span<const FoundMigration> found, bool fenced);

/// The same configuration with the fence: `lock: migrate`, which PVE does not take away when a node boots, and
/// `onboot: 0`. Taking it off gives the very bytes it was put on, given what `onboot` was. It takes the place of
/// any other lock, and what the configuration tells of a saved state stays.
std::string with_fence(const std::string& config);
std::string without_fence(const std::string& config, const std::optional<std::string>& onboot);
bool is_fenced(const std::string& config);

}  // namespace crossover
