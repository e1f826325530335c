#include "engine/stall_guard.hpp"

#include <utility>

namespace crossover {

StallGuard::StallGuard(std::chrono::milliseconds timeout, std::stop_token outer)
    : timeout_(timeout), forward_(std::move(outer), Forward{&ending_}) {
  if (timeout.count() > 0) watching_ = std::jthread([this](const std::stop_token& destroyed) { watch(destroyed); });
}

void StallGuard::progress() {
  const std::lock_guard lock(mutex_);
  last_ = std::chrono::steady_clock::now();
}

bool StallGuard::stalled() const {
  const std::lock_guard lock(mutex_);
  return stalled_;
}

void StallGuard::watch(const std::stop_token& destroyed) {
  std::unique_lock lock(mutex_);
  while (std::chrono::steady_clock::now() - last_ < timeout_) {
    changed_.wait_until(lock, destroyed, last_ + timeout_, [&destroyed] { return destroyed.stop_requested(); });
    if (destroyed.stop_requested()) return;
  }
  stalled_ = true;
  lock.unlock();
  ending_.request_stop();
}

}  // namespace crossover
