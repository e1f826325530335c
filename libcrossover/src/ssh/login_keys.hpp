/// \file
/// Which keys a login offers, and in which order.
#pragma once

#include <string>
#include <vector>

#include "ssh/known_hosts.hpp"
#include "ssh/ssh_agent.hpp"
#include "ssh/ssh_config.hpp"

namespace crossover {

/// One key that is offered.
struct LoginKey {
  std::string name;         ///< in messages: its file, or what the agent calls it
  std::string file;         ///< the private key; empty: the agent has it
  std::string certificate;  ///< the file with its certificate; empty: it is offered plain
  std::string blob;         ///< for a key of the agent's: by which the agent knows it
};

struct LoginKeys {
  std::vector<LoginKey> offered;           ///< in this order
  std::vector<std::string> passed_over;    ///< files that were asked for, each with why it is no use
  std::vector<std::string> beyond_libssh;  ///< what there is among them that libssh cannot use
};

/// As OpenSSH 9.2 does: CertificateFiles, keys of the agent's that are an IdentityFile's, the agent's other ones
/// (not with IdentitiesOnly), then IdentityFiles, each followed by its certificate. Reads the files, asks nobody
/// for a passphrase. Only the order is a copy of OpenSSH's: it matters where a host hangs up after so many keys.
LoginKeys find_login_keys(const SshConfig& config, const std::vector<AgentKey>& agent);

/// The private key of a file, with a certificate where it has one; null if it cannot be read without a passphrase.
SshKey load_login_key(const LoginKey& key);

}  // namespace crossover
