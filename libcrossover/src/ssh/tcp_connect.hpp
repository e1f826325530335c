/// \file
/// A TCP connection that can be given up on.
#pragma once

#include <chrono>
#include <string>

#include "ssh/deadline.hpp"
#include "ssh/stop_event.hpp"
#include "ssh/unique_fd.hpp"

namespace crossover {

/// Connects to `address` (a name, IPv4 or IPv6), trying each address of the family (AF_UNSPEC: any) the name has.
/// The socket is non-blocking, sends small packets at once, and breaks when the peer's kernel has not answered for
/// four times `keepalive`. `host` names the peer in errors: Error{unreachable, retryable} for whatever goes wrong;
/// Cancelled.
UniqueFd tcp_connect(const std::string& host, const std::string& address, unsigned port, int family,
                     std::chrono::seconds keepalive, const StopEvent& stop, Deadline deadline);

}  // namespace crossover
