#include "agent/connection_pool.hpp"

#include <utility>

#include "crossover/error.hpp"

namespace crossover::agent {

ConnectionPool::Lease::Lease(std::shared_ptr<ConnectionPool> pool, std::unique_ptr<Connection> connection,
                             bool counted)
    : pool_(std::move(pool)), connection_(std::move(connection)), counted_(counted) {}

ConnectionPool::Lease::~Lease() {
  if (pool_) pool_->put(std::move(connection_), counted_);
}

ConnectionPool::ConnectionPool(std::shared_ptr<Shell> shell, std::size_t limit, std::vector<std::string> command,
                               Prepare prepare, std::chrono::milliseconds silence)
    : shell_(std::move(shell)),
      limit_(limit),
      command_(std::move(command)),
      prepare_(std::move(prepare)),
      silence_(silence) {}

ConnectionPool::~ConnectionPool() {
  // Each is waited for when it is destroyed.
  for (Ahead& ahead : ahead_) ahead.stop.request_stop();
}

ConnectionPool::Idle ConnectionPool::open(const std::stop_token& stop) const {
  auto connection = std::make_unique<Connection>(*shell_, command_, silence_, stop);
  if (prepare_) prepare_(*connection, stop);
  return {std::move(connection), std::chrono::steady_clock::now()};
}

void ConnectionPool::open_ahead() {
  std::stop_source stop;
  auto opened = std::async(std::launch::async, [this, token = stop.get_token()] { return open(token); });
  const std::lock_guard lock(mutex_);
  ahead_.push_back({std::move(stop), std::move(opened)});
}

std::unique_ptr<Connection> ConnectionPool::take(const std::stop_token& stop) {
  std::unique_ptr<Connection> connection = take_idle();
  if (!connection) connection = take_ahead(stop);
  if (!connection) connection = open(stop).connection;
  return connection;
}

std::unique_ptr<Connection> ConnectionPool::take_ahead(const std::stop_token& stop) {
  Ahead ahead;
  {
    const std::lock_guard lock(mutex_);
    if (ahead_.empty()) return nullptr;
    ahead = std::move(ahead_.back());
    ahead_.pop_back();
  }
  const std::stop_callback forward(stop, [&ahead] { ahead.stop.request_stop(); });
  Idle opened = ahead.opened.get();
  if (std::chrono::steady_clock::now() - opened.since >= trusted_idle) return nullptr;
  return std::move(opened.connection);
}

std::unique_ptr<Connection> ConnectionPool::take_idle() {
  std::vector<Idle> old;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  while (!idle_.empty()) {
    Idle last = std::move(idle_.back());
    idle_.pop_back();
    if (now - last.since < trusted_idle) return std::move(last.connection);
    old.push_back(std::move(last));
  }
  return nullptr;
}

ConnectionPool::Lease ConnectionPool::acquire(const std::stop_token& stop) {
  {
    std::unique_lock lock(mutex_);
    if (stop.stop_requested() || !freed_.wait(lock, stop, [this] { return in_use_ < limit_; })) throw Cancelled{};
    ++in_use_;
  }
  try {
    return {shared_from_this(), take(stop), true};
  } catch (...) {
    put(nullptr, true);
    throw;
  }
}

ConnectionPool::Lease ConnectionPool::acquire_extra(const std::stop_token& stop) {
  return {shared_from_this(), take(stop), false};
}

void ConnectionPool::put(std::unique_ptr<Connection> connection, bool counted) noexcept {
  std::vector<Idle> distrusted;  // both are destroyed without the lock
  std::vector<Ahead> ahead;
  const bool broke = connection && !connection->usable();
  if (broke) connection.reset();
  {
    const std::lock_guard lock(mutex_);
    if (broke) {
      distrusted.swap(idle_);
      ahead.swap(ahead_);
    }
    if (connection) idle_.push_back({std::move(connection), std::chrono::steady_clock::now()});
    if (counted) --in_use_;
  }
  freed_.notify_one();
  for (Ahead& one : ahead) one.stop.request_stop();
}

}  // namespace crossover::agent
