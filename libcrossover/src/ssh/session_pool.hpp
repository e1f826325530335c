/// \file
/// The connections to one host, shared by the commands that run there.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "ssh/deadline.hpp"
#include "ssh/places.hpp"
#include "ssh/ssh_route.hpp"
#include "ssh/ssh_session.hpp"
#include "ssh/stop_event.hpp"

namespace crossover {

/// Hands out sessions, each to one user at a time, at most SshHost::max_sessions at once; and whatever carries a
/// connection, logs in to the host for at most SshHost::max_logins at once. Thread-safe.
class SessionPool : public std::enable_shared_from_this<SessionPool> {
 public:
  /// `chosen` is told once how the host is reached, on the thread that found it.
  SessionPool(SshHost host, std::function<void(const SshRoute&)> chosen);

  /// A session in use. Destroying it closes the connection, unless it was given back.
  class Lease {
   public:
    Lease(std::shared_ptr<SessionPool> pool, Places::Place place) noexcept;
    Lease(Lease&&) = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() = default;

    [[nodiscard]] SshSession& session() const noexcept { return *session_; }
    /// Whether it was used by another command before, and may have died since.
    [[nodiscard]] bool reused() const noexcept { return reused_; }
    /// Keeps the connection for the next command.
    void give_back() noexcept;

   private:
    friend class SessionPool;
    std::shared_ptr<SessionPool> pool_;
    Places::Place place_;
    std::unique_ptr<SshSession> session_;  // before place_ is free again
    bool reused_ = false;
  };

  /// How the host is reached: found by the first who asks, and again after a failure. Throws what find_ssh_route()
  /// throws.
  const SshRoute& route(const StopEvent& stop, Deadline deadline);

  /// An idle session or a new one; waits while all are in use. Error{timeout} at the deadline, Cancelled, and what
  /// SshSession throws.
  Lease acquire(const StopEvent& stop, Deadline deadline);

  /// A place among max_sessions for a connection that is not of the pool. Error{timeout}, Cancelled.
  Places::Place acquire_place(const StopEvent& stop, Deadline deadline);

  /// Calls `log_in` with a moment up to which it may take, when it is its turn, and again with growing pauses of
  /// random length where it throws DroppedLogin. Error{timeout}, Cancelled, and what `log_in` throws.
  void log_in(const StopEvent& stop, Deadline deadline, const std::function<void(Deadline)>& log_in);

  [[nodiscard]] const SshHost& host() const noexcept { return host_; }

 private:
  const SshHost host_;
  const std::function<void(const SshRoute&)> chosen_;
  const std::shared_ptr<Places> sessions_;
  const std::shared_ptr<Places> logins_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable_any found_;
  bool finding_ = false;
  std::optional<SshRoute> route_;  // never changed once it is there
  std::vector<std::unique_ptr<SshSession>> idle_;
};

}  // namespace crossover
