/// \file
/// The connections to one host's agent.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/connection.hpp"
#include "engine/shell.hpp"

namespace crossover::agent {

/// Opens connections as they are needed and keeps those that are free, until one breaks: the others may have broken
/// in the same way, and nothing said so yet. Thread-safe.
class ConnectionPool : public std::enable_shared_from_this<ConnectionPool> {
 public:
  /// What is done with a connection that was just opened, before anybody has it.
  using Prepare = std::function<void(Connection& connection, const std::stop_token& stop)>;

  /// At most `limit` leases at once; who wants another waits. `command` starts the agent; for `silence` see
  /// Connection.
  explicit ConnectionPool(std::shared_ptr<Shell> shell, std::size_t limit = 4,
                          std::vector<std::string> command = {"crossover", "agent"}, Prepare prepare = {},
                          std::chrono::milliseconds silence = std::chrono::seconds{45});
  ~ConnectionPool();
  ConnectionPool(const ConnectionPool&) = delete;
  ConnectionPool& operator=(const ConnectionPool&) = delete;

  /// A connection in use. Goes back when it is destroyed, if it is still usable.
  class Lease {
   public:
    Lease(std::shared_ptr<ConnectionPool> pool, std::unique_ptr<Connection> connection, bool counted);
    Lease(Lease&& other) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease();

    Connection* operator->() const noexcept { return connection_.get(); }
    Connection& operator*() const noexcept { return *connection_; }

   private:
    std::shared_ptr<ConnectionPool> pool_;
    std::unique_ptr<Connection> connection_;
    bool counted_;
  };

  /// Begins to open a connection, for whoever needs one next and finds none free; the caller goes on. What goes
  /// wrong with it is thrown where it is acquired.
  void open_ahead();
  /// A free connection, the one that was used last, or a new one. Throws Cancelled and what Connection throws.
  Lease acquire(const std::stop_token& stop);
  /// A connection beyond the limit, for something that holds it while others are needed.
  Lease acquire_extra(const std::stop_token& stop);

  [[nodiscard]] const std::string& host() const { return shell_->host(); }

 private:
  // One that was silent for longer may have been forgotten by something on the way, and asking it would take
  // minutes to fail.
  static constexpr std::chrono::seconds trusted_idle{60};

  struct Idle {
    std::unique_ptr<Connection> connection;
    std::chrono::steady_clock::time_point since;
  };

  struct Ahead {
    std::stop_source stop;
    std::future<Idle> opened;
  };

  [[nodiscard]] Idle open(const std::stop_token& stop) const;
  std::unique_ptr<Connection> take(const std::stop_token& stop);
  std::unique_ptr<Connection> take_idle();
  std::unique_ptr<Connection> take_ahead(const std::stop_token& stop);
  void put(std::unique_ptr<Connection> connection, bool counted) noexcept;

  std::shared_ptr<Shell> shell_;
  std::size_t limit_;
  std::vector<std::string> command_;
  Prepare prepare_;
  std::chrono::milliseconds silence_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable_any freed_;
  std::vector<Idle> idle_;
  std::vector<Ahead> ahead_;
  std::size_t in_use_ = 0;
};

}  // namespace crossover::agent
