/// \file
/// The source's part of a switch: taking a guest down so that it stays down, and bringing it back as it was.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "engine/migration_ledger.hpp"
#include "engine/ports.hpp"
#include "plan/migration_record.hpp"
#include "plan/saved_state.hpp"

namespace crossover {

/// What became of a guest that was to be suspended.
enum class Suspension {
  none,   ///< it runs, or is off, and nothing was saved of it
  saved,  ///< its memory is in a volume that its configuration tells of, and its QEMU is gone
  lost    ///< its node failed in the middle, and its memory is gone with that; it is off
};

/// A guest that was fenced.
struct FencedGuest {
  std::string config;               ///< the bytes that were there, without the fence: what it is from here on
  std::optional<SavedState> saved;  ///< what was saved of it
};

/// A guest that is moved, where it comes from. Every change is recorded on its disks before it is made, and none is
/// made unless the records say, right before, that the migration is this run's.
class MigrationSource {
 public:
  /// `still_ours` throws Error if it is not. What `ports` refers to, and `cluster`, have to outlive this object.
  MigrationSource(const Ports& ports, const ClusterInventory& cluster, std::uint32_t vmid, std::string node,
                  MigrationLedger ledger, std::function<void()> still_ours)
      : ports_(ports),
        cluster_(cluster),
        vmid_(vmid),
        node_(std::move(node)),
        ledger_(std::move(ledger)),
        still_ours_(std::move(still_ours)) {}

  /// Writes a record that was changed.
  void save(MigrationRecord& record);

  /// Takes the guest out of high availability's hands.
  void take_out_of_ha(const MigrationRecord& record, const std::stop_token& stop);
  void shut_down(std::chrono::seconds timeout, bool force, const std::stop_token& stop);
  /// Saves its memory in a new volume of a storage. ErrorCode::command if its configuration tells of none then.
  void suspend(const std::string& storage, const std::stop_token& stop);
  /// Waits until it is known how suspending it ended that this run, or one before it, began; takes away what is of
  /// no use: the lock that PVE leaves when it fails, and what was half saved when the node failed.
  /// ErrorCode::timeout if PVE is at it for too long.
  Suspension settle(MigrationRecord& record, const std::stop_token& stop);
  /// Keeps the stopped guest from being started by anything but a human who means it, in one step also if it is
  /// suspended.
  FencedGuest fence(MigrationRecord& record, const std::stop_token& stop);
  /// That it is fenced, or stopped, right now; a guest that was both stays stopped while it is fenced. Otherwise
  /// ErrorCode::conflict.
  void require_fenced(const std::stop_token& stop);
  void require_stopped(const std::stop_token& stop);
  /// Takes away what was saved of it: nothing goes on from that here any more, whoever starts it.
  void drop_state(MigrationRecord& record, const std::stop_token& stop);
  /// Everything as it was before, but for the record. A guest that was suspended goes on where it was. Returns what
  /// had become of suspending it.
  Suspension bring_back(MigrationRecord& record);

 private:
  [[nodiscard]] std::string subject() const;
  ConfigVersion read(const std::stop_token& stop);
  /// Writes a configuration without what was saved, and removes that; first the record says what is to be removed.
  void forget_state(MigrationRecord& record, const ConfigVersion& now, const std::string& wanted,
                    const std::stop_token& stop);
  /// Removes the volume that the record names, if it is there.
  void remove_volume(const MigrationRecord& record, const std::stop_token& stop);

  const Ports& ports_;
  const ClusterInventory& cluster_;
  std::uint32_t vmid_;
  std::string node_;
  MigrationLedger ledger_;
  std::function<void()> still_ours_;
};

}  // namespace crossover
