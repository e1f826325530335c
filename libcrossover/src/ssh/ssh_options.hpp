/// \file
/// How the `ssh` program is asked for a host.
#pragma once

#include <string>
#include <vector>

#include "ssh/ssh_host.hpp"

namespace crossover {

/// The options that mean `host` to the `ssh` program, whether it is asked for its configuration or for a
/// connection. They name no secret: what ssh reads of keys it reads from files and from the agent.
std::vector<std::string> ssh_options(const SshHost& host);

/// "root@10.0.0.1". Error{usage} for a name, alias or user that could be taken for something else, by ssh or by a
/// shell that the ssh configuration hands it to.
std::string ssh_target(const SshHost& host);

/// `word` as one word of an ssh configuration line, whatever it contains.
std::string ssh_config_word(const std::string& word);

}  // namespace crossover
