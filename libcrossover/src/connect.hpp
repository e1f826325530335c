/// \file
/// From options to real adapters.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/ports.hpp"
#include "plan/mirror_request.hpp"

namespace crossover {

/// How a host is reached through ssh, as `check` says it.
struct SshUse {
  std::string host;
  std::string text;
};

/// Both sides of a run, connected as they are used.
class Connection {
 public:
  virtual ~Connection() = default;
  virtual Leases& leases() = 0;
  virtual Side source() = 0;
  virtual Side destination() = 0;
  virtual Receivers& receivers() = 0;
  /// Of the hosts that were reached so far, in the order of their names.
  [[nodiscard]] virtual std::vector<SshUse> ssh_uses() const = 0;
};

/// The source is the cluster of this host: commands run here, or through ssh on its other nodes, and images are
/// read through librbd. The destination is reached through ssh: through `crossover agent` there, or where that is
/// not to be had or not wanted, through commands and the stock `rbd`. `events` hears of the latter, and has to
/// outlive the connection.
std::unique_ptr<Connection> connect(const MirrorRequest& request, EventSink& events);

/// The cluster of this host: commands run here, or through ssh on its other nodes, and images are reached through
/// librbd.
class LocalConnection {
 public:
  virtual ~LocalConnection() = default;
  virtual Hypervisor& hypervisor() = 0;
  virtual GuestPower& power() = 0;
  virtual ImageStores& images() = 0;
  virtual Leases& leases() = 0;
};

std::unique_ptr<LocalConnection> connect_here();

}  // namespace crossover
