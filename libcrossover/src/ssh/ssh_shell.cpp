#include "ssh/ssh_shell.hpp"

#include <utility>

#include "crossover/error.hpp"
#include "ssh/quote_argv.hpp"
#include "ssh/session_pool.hpp"
#include "ssh/ssh_process.hpp"

namespace crossover {
namespace {

// exec: the command itself, not a builtin of the shell with its name, and its own end instead of the shell's.
std::string command_line(const std::vector<std::string>& argv) {
  return "exec " + quote_argv(argv);
}

}  // namespace

SshShell::SshShell(SshHost host) {
  if (host.name.empty()) throw Error(ErrorCode::usage, "connect to", "a host", "it has no name");
  if (host.max_sessions == 0) throw Error(ErrorCode::usage, "connect to", host.name, "no session is allowed");
  pool_ = std::make_shared<SessionPool>(std::move(host));
}

SshShell::~SshShell() = default;

const std::string& SshShell::host() const {
  return pool_->host().name;
}

std::unique_ptr<Process> SshShell::start(const std::vector<std::string>& argv, std::stop_token stop) {
  const std::string line = command_line(argv);
  return std::make_unique<SshProcess>(*pool_, argv.front(), line, Deadline::never(), std::move(stop));
}

CommandResult SshShell::run(const std::vector<std::string>& argv, std::string_view input,
                            std::chrono::milliseconds limit, std::stop_token stop) {
  const std::string line = command_line(argv);
  const Deadline deadline = Deadline::after(limit);
  try {
    return SshProcess(*pool_, argv.front(), line, deadline, std::move(stop)).run_to_end(input, deadline);
  } catch (const Error& error) {
    // A login that was given up because of the limit is a timeout like any other.
    if (error.code() != ErrorCode::unreachable || !deadline.passed()) throw;
    throw Error(ErrorCode::timeout, "run", host() + ": " + argv.front(), error.what(), true);
  }
}

}  // namespace crossover
