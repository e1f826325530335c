#include "engine/guest_lock.hpp"

#include <fmt/format.h>

#include <utility>

#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"
#include "engine/unexpected_error.hpp"
#include "plan/foreign_lock.hpp"
#include "plan/migration_record.hpp"
#include "plan/replica_config.hpp"

namespace crossover {

namespace {

constexpr std::chrono::milliseconds poll_interval{500};

}  // namespace

ConfigVersion wait_until_unlocked(const Ports& ports, const std::string& node, std::uint32_t vmid,
                                  const std::string& seen, std::chrono::seconds wait, std::stop_token stop) {
  const std::string subject = fmt::format("VM {}", vmid);
  const std::string unlocked = without_lock(seen);
  for (std::chrono::milliseconds waited{0};; waited += poll_interval) {
    const auto now = ports.source.hypervisor.read_config(node, vmid, stop);
    if (!now) {
      throw Error(ErrorCode::not_found, "lock", subject, fmt::format("it is not on {} any more", node), true);
    }
    if (without_lock(now->bytes) != unlocked) {
      throw Error(ErrorCode::conflict, "lock", subject,
                  "its configuration was changed since it was read; run again", true);
    }
    const auto lock = parse_vm_config(now->bytes).get("lock");
    if (!lock) return *now;
    if (is_fenced(now->bytes)) {
      throw Error(
          ErrorCode::locked, "lock", subject,
          "it is fenced (lock: migrate, onboot: 0): a migration of it is through, or to be ended by 'crossover "
          "mirror --migrate' with the options it was begun with");
    }
    if (is_state(*lock)) {
      throw Error(ErrorCode::locked, "lock", subject,
                  foreign_lock(*lock, vmid, node) +
                      "; or mirror its disks alone with --nolock, whose replica boots without that memory");
    }
    if (waited >= wait) throw Error(ErrorCode::locked, "lock", subject, foreign_lock(*lock, vmid, node), true);
    ports.clock.wait(poll_interval, stop);
  }
}

SourceLock::SourceLock(const Ports& ports, std::string node, std::uint32_t vmid, const std::string& seen,
                       std::chrono::seconds wait, std::stop_token stop)
    : ports_(ports), node_(std::move(node)), vmid_(vmid) {
  while (!hold_) {
    const ConfigVersion now = wait_until_unlocked(ports_, node_, vmid_, seen, wait, stop);
    try {
      hold_ = ports_.source.hypervisor.hold_config(node_, vmid_, now, with_lock(now.bytes, "backup"));
    } catch (const Error& error) {
      // Somebody was faster: look again whether it was a lock.
      if (error.code() != ErrorCode::conflict) throw;
    }
  }
}

SourceLock::~SourceLock() {
  if (!hold_) return;
  try {
    release();
  } catch (...) {
    try {
      ports_.events.on_event({.kind = EventKind::warning, .vmid = vmid_, .text = error_at_hand().what()});
    } catch (...) {  // NOLINT(bugprone-empty-catch): an error is on its way already
    }
  }
}

void SourceLock::release() {
  const std::unique_ptr<ConfigHold> hold = std::move(hold_);
  try {
    hold->release();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::timeout) throw;
    throw Error(ErrorCode::timeout, "keep lock", fmt::format("VM {} on {}", vmid_, node_),
                error.cause() +
                    "; the guest was not locked any more, so somebody else may have changed it, or begun to back "
                    "it up, before this run was done with it");
  }
}

}  // namespace crossover
