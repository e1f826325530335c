/// \file
/// The hosts the shell contract is run on.
#pragma once

#include <doctest/doctest.h>
#include <signal.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "crossover/error.hpp"
#include "engine/shell.hpp"
#include "ssh/local_shell.hpp"
#include "ssh/ssh_shell.hpp"

namespace crossover::test {

struct LocalHost {
  static constexpr int commands = 40;  ///< as many as take no time worth saving
  static std::unique_ptr<Shell> make() { return std::make_unique<LocalShell>(); }
};

/// The server that with-sshd has started.
struct SshServer {
  static constexpr int commands = 40;
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
    host.config_file = "none";
    return host;
  }
  static std::unique_ptr<Shell> make() { return std::make_unique<SshShell>(host()); }
};

/// The same one, reached by the `ssh` program.
struct SshProgram {
  static constexpr int commands = 4;  ///< each is a login
  static SshHost host() {
    SshHost host = SshServer::host();
    host.transport = SshTransport::openssh;
    return host;
  }
  static std::unique_ptr<Shell> make() { return std::make_unique<SshShell>(host()); }
};

using namespace std::chrono_literals;

constexpr auto ample = 60s;
using Argv = std::vector<std::string>;

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

inline std::string random_bytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    const std::uint64_t word = random();
    std::memcpy(bytes.data() + i, &word, 8);
  }
  for (; i < size; ++i) bytes[i] = static_cast<char>(random());
  return bytes;
}

// Reads until `end` has been seen or the output is over.
inline std::string read_until(Process& process, std::string_view end) {
  std::string text;
  std::array<std::byte, 4096> buffer;
  while (text.find(end) == std::string::npos) {
    const std::size_t count = process.read(buffer);
    if (count == 0) break;
    text.append(reinterpret_cast<const char*>(buffer.data()), count);
  }
  return text;
}

inline std::string read_all(Process& process) {
  std::string text;
  std::vector<std::byte> buffer(std::size_t{256} << 10);
  while (const std::size_t count = process.read(buffer)) {
    text.append(reinterpret_cast<const char*>(buffer.data()), count);
  }
  return text;
}

template <typename Call>
ErrorCode code_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    INFO(error.what());
    return error.code();
  }
  FAIL("no error");
  return ErrorCode::usage;
}

// Whether the process with that id is gone (both kinds of host under test are this machine).
inline bool gone_within(pid_t pid, std::chrono::seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (::kill(pid, 0) == 0) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(10ms);
  }
  return true;
}

}  // namespace crossover::test

#define CROSSOVER_SHELLS crossover::test::LocalHost, crossover::test::SshServer, crossover::test::SshProgram
