/// \file
/// Where and how to log in.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace crossover {

/// One host to reach through ssh. Plain value; holds no secrets.
struct SshHost {
  std::string name;           ///< what its host key is looked up by, and its name in messages
  std::string address;        ///< where to connect; empty: HostName from the ssh configuration, else `name`
  unsigned port = 22;         ///< 0: from the ssh configuration, else 22
  std::string user = "root";  ///< empty: from the ssh configuration, else the local user

  /// Known-hosts files; empty: those of the ssh configuration, else ~/.ssh/known_hosts and
  /// /etc/ssh/ssh_known_hosts.
  std::vector<std::string> known_hosts;
  /// Known-hosts lines as text, such as the file PVE keeps for each node. If it has a key for `name` then it alone
  /// decides, and the files are not asked.
  std::string known_hosts_text;
  /// Add the key of a host that is not known yet to the first known-hosts file. Never replaces a key.
  bool accept_new_host_keys = false;

  /// Private keys without a passphrase, tried in this order and before the agent's. Empty: the IdentityFile of the
  /// ssh configuration (libssh reveals only the last one that applies), the agent, ~/.ssh/id_{ed25519,ecdsa,rsa}.
  std::vector<std::string> identities;
  std::string ciphers;  ///< comma-separated, best first; empty: AES-GCM first where the CPU has AES

  bool use_config = true;                 ///< read ssh configuration files
  std::vector<std::string> config_files;  ///< which ones; empty: ~/.ssh/config and /etc/ssh/ssh_config

  std::chrono::milliseconds connect_timeout{15000};  ///< for connecting and logging in together
  std::chrono::seconds keepalive{
      15};                       ///< a silent peer is probed this often; four times this without an answer breaks
  std::size_t max_sessions = 4;  ///< connections to this host at once; further commands wait for a free one
};

}  // namespace crossover
