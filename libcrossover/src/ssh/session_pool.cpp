#include "ssh/session_pool.hpp"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include "crossover/error.hpp"
#include "ssh/login_failure.hpp"

namespace crossover {
namespace {

constexpr int login_attempts = 5;
constexpr std::chrono::milliseconds first_login_pause{100};

// Those that were dropped together do not come back together.
void pause_before_login(int attempt, const StopEvent& stop, Deadline deadline) {
  std::random_device random;
  const auto longest = 2 * first_login_pause.count() << attempt;
  const auto length = std::uniform_int_distribution<std::int64_t>(longest / 4, longest)(random);
  const Deadline end = deadline.sooner(Deadline::after(std::chrono::milliseconds(length)));
  while (!end.passed()) {
    pollfd stopped{.fd = stop.fd(), .events = POLLIN, .revents = 0};
    ::poll(&stopped, 1, end.poll_timeout());
    stop.check();
  }
}

}  // namespace

SessionPool::SessionPool(SshHost host, std::function<void(const SshRoute&)> chosen)
    : host_(std::move(host)),
      chosen_(std::move(chosen)),
      sessions_(std::make_shared<Places>(host_.max_sessions)),
      logins_(std::make_shared<Places>(std::max<std::size_t>(host_.max_logins, 1))) {
  idle_.reserve(host_.max_sessions);  // so that giving one back cannot fail
}

SessionPool::Lease::Lease(std::shared_ptr<SessionPool> pool, Places::Place place) noexcept
    : pool_(std::move(pool)), place_(std::move(place)) {}

void SessionPool::Lease::give_back() noexcept {
  if (session_ && !session_->broken()) {
    const std::lock_guard lock(pool_->mutex_);
    pool_->idle_.push_back(std::move(session_));
  }
  session_.reset();
}

const SshRoute& SessionPool::route(const StopEvent& stop, Deadline deadline) {
  std::unique_lock lock(mutex_);
  const bool free = found_.wait_until(lock, stop.token(), deadline.time_point(), [this] { return !finding_; });
  if (route_) return *route_;
  stop.check();
  if (!free) {
    throw Error(ErrorCode::timeout, "read the ssh configuration for", host_.name, "it took too long", true);
  }
  finding_ = true;
  lock.unlock();
  std::optional<SshRoute> found;
  const auto done = [&] {
    lock.lock();
    finding_ = false;
    if (found) route_ = std::move(found);
    lock.unlock();
    found_.notify_all();
  };
  try {
    found = find_ssh_route(host_, stop, deadline.sooner(Deadline::after(host_.connect_timeout)));
    if (chosen_) chosen_(*found);
  } catch (...) {
    found.reset();
    done();
    throw;
  }
  done();
  return *route_;
}

Places::Place SessionPool::acquire_place(const StopEvent& stop, Deadline deadline) {
  auto place = sessions_->take(stop, deadline);
  if (!place) throw Error(ErrorCode::timeout, "run on", host_.name, "all connections to it were in use", true);
  return std::move(*place);
}

SessionPool::Lease SessionPool::acquire(const StopEvent& stop, Deadline deadline) {
  const SshRoute& route = this->route(stop, deadline);
  Lease lease(shared_from_this(), acquire_place(stop, deadline));
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      // The one used last is the one most likely alive.
      lease.session_ = std::move(idle_.back());
      lease.reused_ = true;
      idle_.pop_back();
    }
  }
  // Logging in takes time and other commands must not wait for it; on a failure the lease frees its place again.
  if (!lease.session_) {
    log_in(stop, deadline,
           [&](Deadline limit) { lease.session_ = std::make_unique<SshSession>(route, stop, limit); });
  }
  return lease;
}

void SessionPool::log_in(const StopEvent& stop, Deadline deadline, const std::function<void(Deadline)>& log_in) {
  const std::chrono::milliseconds limit =
      route_->config.connect_timeout ? *route_->config.connect_timeout : host_.connect_timeout;
  for (int attempt = 0;; ++attempt) {
    try {
      const auto place = logins_->take(stop, deadline);
      if (!place) throw Error(ErrorCode::timeout, "log in to", host_.name, "too many others were about to", true);
      return log_in(deadline.sooner(Deadline::after(limit)));
    } catch (const DroppedLogin&) {
      if (attempt + 1 == login_attempts || deadline.passed()) throw;
    }
    pause_before_login(attempt, stop, deadline);
  }
}

}  // namespace crossover
