#include "ssh/session_pool.hpp"

#include <utility>

#include "crossover/error.hpp"

namespace crossover {

SessionPool::SessionPool(SshHost host) : host_(std::move(host)) {
  idle_.reserve(host_.max_sessions);  // so that giving one back cannot fail
}

SessionPool::Lease::Lease(std::shared_ptr<SessionPool> pool, std::unique_ptr<SshSession> session)
    : pool_(std::move(pool)), session_(std::move(session)) {}

SessionPool::Lease::~Lease() {
  if (!pool_) return;
  session_.reset();
  pool_->put(nullptr);
}

void SessionPool::Lease::give_back() noexcept {
  if (!pool_) return;
  pool_->put(std::move(session_));
  pool_.reset();
}

void SessionPool::put(std::unique_ptr<SshSession> session) noexcept {
  {
    const std::lock_guard lock(mutex_);
    --in_use_;
    if (session && !session->broken()) idle_.push_back(std::move(session));
  }
  freed_.notify_one();
}

SessionPool::Lease SessionPool::acquire(const StopEvent& stop, Deadline deadline) {
  stop.check();
  Lease lease(nullptr, nullptr);
  {
    std::unique_lock lock(mutex_);
    const bool free = freed_.wait_until(lock, stop.token(), deadline.time_point(),
                                        [this] { return in_use_ < host_.max_sessions; });
    if (!free) {
      // The wake-up this one may have consumed belongs to the next in line.
      lock.unlock();
      freed_.notify_one();
      stop.check();
      throw Error(ErrorCode::timeout, "run on", host_.name, "all connections to it were in use", true);
    }
    ++in_use_;
    lease.pool_ = shared_from_this();
    if (!idle_.empty()) {
      // The one used last is the one most likely alive.
      lease.session_ = std::move(idle_.back());
      lease.reused_ = true;
      idle_.pop_back();
    }
  }
  // Logging in takes time and other commands must not wait for it; on a failure the lease frees its place again.
  if (!lease.session_) lease.session_ = std::make_unique<SshSession>(host_, stop, deadline);
  return lease;
}

}  // namespace crossover
