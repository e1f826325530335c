#include "agent/held_connection.hpp"

#include <utility>

#include "crossover/error.hpp"

namespace crossover::agent {

HeldConnection::HeldConnection(ConnectionPool::Lease connection, std::string release,
                               std::chrono::milliseconds ping_interval, std::stop_token stop)
    : connection_(std::move(connection)),
      release_(std::move(release)),
      watch_(*connection_, std::move(stop)),
      ping_interval_(ping_interval),
      pinging_([this](const std::stop_token& ending) { ping(ending); }) {}

HeldConnection::~HeldConnection() {
  if (sending_) connection_->give_up();
  const std::lock_guard lock(mutex_);
  if (std::exchange(released_, true) || !connection_->usable()) return;
  try {
    connection_->call(release_, Json::object(), {});
  } catch (...) {
    connection_->give_up();
  }
}

Json HeldConnection::call(const std::string& operation, Json request, const std::stop_token& stop) {
  // Before the lock: a ping that waits for an answer that does not come ends with it, too.
  const Connection::Watch watch(*connection_, stop);
  const std::lock_guard lock(mutex_);
  return connection_->call(operation, std::move(request), stop);
}

Connection& HeldConnection::begin_transfer(const std::string& operation, Json request, const std::stop_token& stop) {
  const Connection::Watch watch(*connection_, stop);
  const std::lock_guard lock(mutex_);
  connection_->call(operation, std::move(request), stop);
  sending_ = true;
  return *connection_;
}

void HeldConnection::end_transfer() {
  const std::lock_guard lock(mutex_);
  sending_ = false;
}

Json HeldConnection::release() {
  const std::lock_guard lock(mutex_);
  released_ = true;
  if (!connection_->usable()) {
    throw Error(ErrorCode::unreachable, "talk to", "agent on " + connection_->host(),
                "its connection broke, and with that it let go of what was held", true);
  }
  return connection_->call(release_, Json::object(), {});
}

void HeldConnection::ping(const std::stop_token& ending) {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait_for(lock, ending, ping_interval_, [&ending] { return ending.stop_requested(); });
    if (ending.stop_requested()) return;
    if (sending_ || released_ || !connection_->usable()) continue;
    try {
      connection_->call("ping", Json::object(), {});
    } catch (...) {  // NOLINT(bugprone-empty-catch): the next call says what is wrong with the connection
    }
  }
}

}  // namespace crossover::agent
