/// \file
/// A connection on which the agent holds something.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "agent/connection_pool.hpp"

namespace crossover::agent {

/// For one talk at a time, and with a ping where there is none: an agent lets go of what a silent client holds.
class HeldConnection {
 public:
  /// `release` is the operation that lets go. When `stop` is triggered, the connection is given up, and with it
  /// what is held.
  HeldConnection(ConnectionPool::Lease connection, std::string release, std::chrono::milliseconds ping_interval,
                 std::stop_token stop);
  /// Lets go, unless release() did.
  ~HeldConnection();
  HeldConnection(const HeldConnection&) = delete;
  HeldConnection& operator=(const HeldConnection&) = delete;

  Json call(const std::string& operation, Json request, const std::stop_token& stop);
  /// As call(); the connection is the transfer's until end_transfer().
  Connection& begin_transfer(const std::string& operation, Json request, const std::stop_token& stop);
  void end_transfer();
  /// Lets go and returns what the agent says to that; the last call.
  Json release();

 private:
  void ping(const std::stop_token& ending);

  ConnectionPool::Lease connection_;
  std::string release_;
  Connection::Watch watch_;
  std::chrono::milliseconds ping_interval_;
  std::mutex mutex_;  // whoever has it may use the connection
  std::condition_variable_any changed_;
  bool sending_ = false;
  bool released_ = false;
  std::jthread pinging_;  // last: it uses everything above
};

}  // namespace crossover::agent
