/// \file
/// PVE's lock on a guest, held while this object lives.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/ports.hpp"

namespace crossover {

/// Waits up to `wait` for a lock on the source guest to go, and returns its configuration then. ErrorCode::locked
/// if it stays, at once if the guest is hibernated; ErrorCode::conflict if the configuration is not `seen` any more
/// apart from the lock: the plan was made for another one.
ConfigVersion wait_until_unlocked(const Ports& ports, const std::string& node, std::uint32_t vmid,
                                  const std::string& seen, std::chrono::seconds wait, std::stop_token stop);

/// `lock: backup` on the source guest. It is taken only if there is no lock, and released only while the
/// configuration is exactly what taking it wrote: otherwise somebody else has taken over. It does not outlive the
/// process that took it, and is lost to one that is stopped for too long.
class SourceLock {
 public:
  /// Waits for another's lock as wait_until_unlocked() does, then takes it.
  SourceLock(const Ports& ports, std::string node, std::uint32_t vmid, const std::string& seen,
             std::chrono::seconds wait, std::stop_token stop);
  ~SourceLock();
  SourceLock(const SourceLock&) = delete;
  SourceLock& operator=(const SourceLock&) = delete;

  /// Puts the configuration back as it was, in several attempts. ErrorCode::conflict if somebody changed it: the
  /// lock then stays for them. ErrorCode::timeout if the lock was lost before.
  void release();

 private:
  const Ports& ports_;
  std::string node_;
  std::uint32_t vmid_;
  std::unique_ptr<ConfigHold> hold_;
};

}  // namespace crossover
