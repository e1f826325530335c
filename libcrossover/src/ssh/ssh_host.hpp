/// \file
/// Where and how to log in.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace crossover {

/// What carries a connection.
enum class SshTransport {
  automatic,  ///< libssh where it does all that the ssh configuration asks for, else the `ssh` program
  libssh,     ///< in this process
  openssh,    ///< the `ssh` program, as a child process
};

/// One host to reach through ssh. Plain value; holds no secrets. What is not said here is what the ssh
/// configuration says for `ssh user@address` on this host.
struct SshHost {
  std::string name;                   ///< its name in messages
  std::string address;                ///< what `ssh` is asked for; empty: `name`
  unsigned port = 0;                  ///< 0: from the ssh configuration
  std::string user = "root";          ///< empty: from the ssh configuration
  std::string host_key_alias;         ///< what its host key is looked up by; empty: from the ssh configuration

  /// Known-hosts files, and no others; empty: those of the ssh configuration.
  std::vector<std::string> known_hosts;
  /// Known-hosts lines as text, such as the file PVE keeps for each node. If it has a key for this host then it
  /// alone decides, and the files are not asked.
  std::string known_hosts_text;
  /// Add the key of a host that is not known yet to the first known-hosts file. Never replaces a key.
  bool accept_new_host_keys = false;

  /// Private keys without a passphrase, before those of the ssh configuration, as `ssh -i`.
  std::vector<std::string> identities;
  /// Comma-separated, best first; empty: the configured ones, AES-GCM first where the CPU has AES.
  std::string ciphers;

  std::string config_file;  ///< as `ssh -F`; empty: ~/.ssh/config and /etc/ssh/ssh_config; "none"
  SshTransport transport = SshTransport::automatic;

  std::chrono::milliseconds connect_timeout{15000};  ///< for connecting and logging in together
  std::chrono::seconds keepalive{
      15};                       ///< a silent peer is probed this often; four times this without an answer breaks
  std::size_t max_sessions = 4;  ///< connections to this host at once; further commands wait for a free one
  /// Logins to this host at once. sshd drops some of those that come while ten others are under way (MaxStartups
  /// 10:30:100), and others log in there, too.
  std::size_t max_logins = 4;
};

}  // namespace crossover
