/// \file
/// How a host is reached: what is asked for, what the ssh configuration says, and what carries it.
#pragma once

#include <string>

#include "ssh/deadline.hpp"
#include "ssh/known_hosts.hpp"
#include "ssh/login_keys.hpp"
#include "ssh/ssh_config.hpp"
#include "ssh/ssh_host.hpp"
#include "ssh/stop_event.hpp"

namespace crossover {

/// Plain value; what it says of files and of the agent was true when it was found.
struct SshRoute {
  SshHost host;
  SshConfig config;
  std::string agent;  ///< its socket; empty: there is none
  LoginKeys keys;
  std::string ciphers;   ///< to offer, best first
  bool openssh = false;  ///< whether the `ssh` program carries it, or libssh
  std::string why;       ///< and why

  [[nodiscard]] bool accepts_new_host_keys() const noexcept {
    return host.accept_new_host_keys || config.accept_new_host_keys;
  }
};

/// The keys on record for the host. `text_decides`: those that were given as text, and no file's.
struct HostKeysOnRecord {
  KnownHosts keys;
  bool text_decides;
};
HostKeysOnRecord host_keys_on_record(const SshHost& host, const SshConfig& config);

/// Reads the configuration, looks at known hosts, keys and the agent, and chooses. Throws what read_ssh_config()
/// throws, and Error{unsupported} where libssh is insisted on and does not do what is configured.
SshRoute find_ssh_route(const SshHost& host, const StopEvent& stop, Deadline deadline);

}  // namespace crossover
