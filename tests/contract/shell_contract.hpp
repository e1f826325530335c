/// \file
/// The hosts the shell contract is run on.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>

#include "engine/shell.hpp"
#include "ssh/local_shell.hpp"
#include "ssh/ssh_shell.hpp"

namespace crossover::test {

struct LocalHost {
  static std::unique_ptr<Shell> make() { return std::make_unique<LocalShell>(); }
};

/// The server that with-sshd has started.
struct SshServer {
  static std::string file(const std::string& name) {
    return std::string(std::getenv("CROSSOVER_SSHD_DIR")) + "/" + name;
  }
  static unsigned port() { return static_cast<unsigned>(std::stoul(std::getenv("CROSSOVER_SSHD_PORT"))); }
  static SshHost host() {
    SshHost host;
    host.name = "127.0.0.1";
    host.port = port();
    host.user = "root";
    host.known_hosts = {file("known_hosts")};
    host.identities = {file("user_key")};
    host.use_config = false;
    return host;
  }
  static std::unique_ptr<Shell> make() { return std::make_unique<SshShell>(host()); }
};

}  // namespace crossover::test

#define CROSSOVER_SHELLS crossover::test::LocalHost, crossover::test::SshServer
