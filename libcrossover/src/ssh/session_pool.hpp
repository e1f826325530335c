/// \file
/// The connections to one host, shared by the commands that run there.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "ssh/deadline.hpp"
#include "ssh/ssh_host.hpp"
#include "ssh/ssh_session.hpp"
#include "ssh/stop_event.hpp"

namespace crossover {

/// Hands out sessions, each to one user at a time, at most SshHost::max_sessions at once. Thread-safe.
class SessionPool : public std::enable_shared_from_this<SessionPool> {
 public:
  explicit SessionPool(SshHost host);

  /// A session in use. Destroying it closes the connection, unless it was given back.
  class Lease {
   public:
    Lease(std::shared_ptr<SessionPool> pool, std::unique_ptr<SshSession> session);
    Lease(Lease&&) = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease();

    [[nodiscard]] SshSession& session() const noexcept { return *session_; }
    /// Whether it was used by another command before, and may have died since.
    [[nodiscard]] bool reused() const noexcept { return reused_; }
    /// Keeps the connection for the next command.
    void give_back() noexcept;

   private:
    friend class SessionPool;
    std::shared_ptr<SessionPool> pool_;
    std::unique_ptr<SshSession> session_;
    bool reused_ = false;
  };

  /// An idle session or a new one; waits while all are in use. Error{timeout} at the deadline, Cancelled, and what
  /// SshSession throws.
  Lease acquire(const StopEvent& stop, Deadline deadline);

  [[nodiscard]] const SshHost& host() const noexcept { return host_; }

 private:
  void put(std::unique_ptr<SshSession> session) noexcept;

  const SshHost host_;
  std::mutex mutex_;
  std::condition_variable_any freed_;
  std::vector<std::unique_ptr<SshSession>> idle_;
  std::size_t in_use_ = 0;
};

}  // namespace crossover
