/// \file
/// One ssh connection, logged in.
#pragma once

#include <libssh/callbacks.h>
#include <libssh/libssh.h>

#include <functional>
#include <memory>
#include <string>

#include "ssh/deadline.hpp"
#include "ssh/ssh_route.hpp"
#include "ssh/stop_event.hpp"

namespace crossover {

/// A connection along an `SshRoute`, its host key verified and its user authenticated. Used by one thread at a time
/// (libssh sessions are not thread-safe); everything on it is non-blocking and waits here, where it can be
/// cancelled.
class SshSession {
 public:
  /// Throws Error: unreachable (retryable; DroppedLogin where the server hung up before the login began), host_key,
  /// authentication, usage (options that make no sense), unsupported (no algorithm in common); Cancelled. `route`
  /// has to outlive it.
  SshSession(const SshRoute& route, const StopEvent& stop, Deadline deadline);
  ~SshSession();
  SshSession(const SshSession&) = delete;
  SshSession& operator=(const SshSession&) = delete;

  [[nodiscard]] ssh_session get() const noexcept { return session_.get(); }
  /// Whether the connection is gone, as far as this side has noticed.
  [[nodiscard]] bool broken() const noexcept;
  /// Takes in what has arrived and runs the channels' callbacks, without waiting. Whether anything had.
  bool process();
  /// Waits until something arrived or can be sent, the deadline passed or the token was triggered.
  void wait(const StopEvent& stop, Deadline deadline);
  /// Repeats a libssh call that answers `again`, waiting in between; -1 once the connection is gone.
  /// Error{unreachable} at the deadline.
  int drive(const std::function<int()>& call, int again, const StopEvent& stop, Deadline deadline);
  /// Why the connection broke, as an Error{unreachable, retryable}.
  [[noreturn]] void throw_broken(const std::string& operation) const;

 private:
  struct FreeSession {
    void operator()(ssh_session session) const noexcept;
  };
  struct FreeEvent {
    void operator()(ssh_event event) const noexcept { ssh_event_free(event); }
  };

  void set(ssh_options_e option, const void* value, const char* what);
  void configure();
  void connect(const StopEvent& stop, Deadline deadline);
  void verify_host_key(const KnownHosts& known);
  void authenticate(const StopEvent& stop, Deadline deadline);

  const SshRoute& route_;
  std::unique_ptr<ssh_session_struct, FreeSession> session_;
  ssh_counter_struct traffic_{};
  std::unique_ptr<ssh_event_struct, FreeEvent> event_;  // after session_: it lets go of the session first
};

}  // namespace crossover
