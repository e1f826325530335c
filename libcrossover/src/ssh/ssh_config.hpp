/// \file
/// What OpenSSH's configuration says of a host. It is never read here: `ssh -G` is asked.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ssh/deadline.hpp"
#include "ssh/ssh_host.hpp"
#include "ssh/stop_event.hpp"

namespace crossover {

/// ssh_config(5) as it applies to one host. Plain value.
struct SshConfig {
  std::string hostname;        ///< where to connect to
  unsigned port = 22;
  std::string user;
  std::string host_key_alias;  ///< empty: none
  std::vector<std::string> user_known_hosts;    ///< paths
  std::vector<std::string> global_known_hosts;  ///< paths
  bool accept_new_host_keys = false;            ///< StrictHostKeyChecking accept-new or no
  std::vector<std::string> identities;    ///< private keys, in order; as written until expand() was given them
  std::vector<std::string> certificates;  ///< CertificateFile, likewise
  bool identities_only = false;
  std::string identity_agent;  ///< a path, "none", "$VARIABLE" or "SSH_AUTH_SOCK"
  unsigned rsa_bits = 1024;    ///< the fewest a key may have
  std::string ciphers, macs, key_exchanges, host_key_algorithms, public_key_algorithms;  ///< comma-separated
  std::string address_family;  ///< any, inet, inet6
  std::optional<std::chrono::seconds> connect_timeout;
  /// What it asks for that libssh, or what is built on it here, does not do; each as it stands in a message.
  std::vector<std::string> beyond_libssh;
};

/// Reads what `ssh -G` prints: a line for each option, its name in lower case.
SshConfig parse_ssh_config(std::string_view printed);

/// ~ and the tokens in IdentityFile and CertificateFile are left as they are by `ssh -G`, while it expands
/// UserKnownHostsFile; so it is asked for the former by the name of the latter. This is the option's value for
/// `files` (at most 16, as ssh has room for 32 names).
std::string expansion_question(const std::vector<std::string>& files);
/// The files in the answer; nothing if it is not one, or one of them was left as it is.
std::optional<std::vector<std::string>> expansion_answer(std::string_view printed, std::size_t files);

/// Asks `ssh -G`. `Match exec` runs its commands, as for ssh. Throws Error: usage (a configuration that ssh
/// refuses), unsupported (there is no `ssh`), timeout; Cancelled.
SshConfig read_ssh_config(const SshHost& host, const StopEvent& stop, Deadline deadline);

}  // namespace crossover
