/// \file
/// The replica's configuration during a run.
#pragma once

#include <optional>
#include <string>

#include "engine/replica_work.hpp"

namespace crossover {

/// PVE's lock on a replica that is being written to.
inline constexpr const char* replica_lock = "migrate";

/// That lock, and the replica's configuration.
class ReplicaConfiguration {
 public:
  explicit ReplicaConfiguration(const ReplicaWork& work);

  /// Writes the configuration that is there, or the one it is to have, with the lock.
  void lock();
  /// Writes the configuration it is to have, with Proxmox VE's snapshots of the replica that it keeps, without the lock
  /// unless that is kept, and its firewall rules.
  void write();
  /// Takes the lock back if this run took it.
  void undo();
  /// Whether there is something to take back.
  [[nodiscard]] bool is_locked() const noexcept { return locked_ && unlocked_; }

 private:
  const ReplicaWork& work_;
  std::optional<ConfigVersion> version_;  // the configuration as it stands
  std::optional<std::string> unlocked_;   // what an undo puts back
  bool locked_ = false;
};

}  // namespace crossover
