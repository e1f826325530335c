#include "engine/guest_lock.hpp"

#include <fmt/format.h>

#include <utility>

#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"
#include "plan/replica_config.hpp"

namespace crossover {

namespace {

constexpr std::chrono::milliseconds poll_interval{500};

}  // namespace

SourceLock::SourceLock(const Ports& ports, std::string node, std::uint32_t vmid, const std::string& seen,
                       std::chrono::seconds wait, std::stop_token stop)
    : ports_(ports), node_(std::move(node)), vmid_(vmid) {
  const std::string subject = fmt::format("VM {}", vmid_);
  const std::string unlocked = without_lock(seen);
  std::chrono::milliseconds waited{0};
  for (;;) {
    const auto now = ports_.source.hypervisor.read_config(node_, vmid_, stop);
    if (!now) {
      throw Error(ErrorCode::not_found, "lock", subject, fmt::format("it is not on {} any more", node_), true);
    }
    if (without_lock(now->bytes) != unlocked) {
      throw Error(ErrorCode::conflict, "lock", subject,
                  "its configuration was changed since it was read; run again", true);
    }
    const auto lock = parse_vm_config(now->bytes).get("lock");
    if (!lock) {
      try {
        hold_ = ports_.source.hypervisor.hold_config(node_, vmid_, *now, with_lock(now->bytes, "backup"));
        return;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::conflict) throw;
        continue;  // somebody was faster: look again whether it was a lock
      }
    }
    if (waited >= wait) {
      throw Error(ErrorCode::locked, "lock", subject,
                  fmt::format("somebody else holds its lock ({}); 'qm unlock {}' on {} if nobody does any more",
                              *lock, vmid_, node_),
                  true);
    }
    ports_.clock.wait(poll_interval, stop);
    waited += poll_interval;
  }
}

SourceLock::~SourceLock() {
  if (!hold_) return;
  try {
    release();
  } catch (const Error& error) {
    try {
      ports_.events.on_event({.kind = EventKind::warning, .vmid = vmid_, .text = error.what()});
    } catch (...) {  // NOLINT(bugprone-empty-catch): an error is on its way already
    }
  }
}

void SourceLock::release() {
  const std::unique_ptr<ConfigHold> hold = std::move(hold_);
  hold->release();
}

}  // namespace crossover
