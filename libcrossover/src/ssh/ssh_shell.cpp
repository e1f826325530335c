#include "ssh/ssh_shell.hpp"

#include <utility>

#include "crossover/error.hpp"
#include "ssh/openssh_process.hpp"
#include "ssh/remote_command.hpp"
#include "ssh/session_pool.hpp"
#include "ssh/ssh_options.hpp"
#include "ssh/ssh_process.hpp"

namespace crossover {

SshShell::SshShell(SshHost host, std::function<void(const SshRoute&)> chosen) {
  (void)ssh_target(host);
  if (host.max_sessions == 0) throw Error(ErrorCode::usage, "connect to", host.name, "no session is allowed");
  pool_ = std::make_shared<SessionPool>(std::move(host), std::move(chosen));
}

SshShell::~SshShell() = default;

const std::string& SshShell::host() const {
  return pool_->host().name;
}

std::pair<std::unique_ptr<DuplexProcess>, std::string> SshShell::open(const std::vector<std::string>& argv,
                                                                      Deadline deadline,
                                                                      const std::stop_token& stop) {
  (void)remote_command(argv, SignalsAre::passed_on);  // one that cannot be is refused before anything is connected
  const StopEvent stopped(stop);
  const SshRoute& route = pool_->route(stopped, deadline);
  if (!route.openssh) {
    RemoteCommand command = remote_command(argv, SignalsAre::passed_on);
    return {std::make_unique<SshProcess>(*pool_, argv.front(), command.line, deadline, stop),
            std::move(command.ahead)};
  }
  RemoteCommand command = remote_command(argv, SignalsAre::exit_statuses);
  const auto place = std::make_shared<Places::Place>(pool_->acquire_place(stopped, deadline));
  std::unique_ptr<DuplexProcess> process;
  pool_->log_in(stopped, deadline, [&](Deadline limit) {
    process = std::make_unique<OpensshProcess>(route, place, argv.front(), command.line, limit, stop);
  });
  return {std::move(process), std::move(command.ahead)};
}

std::unique_ptr<Process> SshShell::start(const std::vector<std::string>& argv, std::stop_token stop) {
  auto [process, ahead] = open(argv, Deadline::never(), stop);
  process->write(std::as_bytes(std::span(ahead)));
  return std::move(process);
}

CommandResult SshShell::run(const std::vector<std::string>& argv, std::string_view input,
                            std::chrono::milliseconds limit, std::stop_token stop) {
  const Deadline deadline = Deadline::after(limit);
  const std::string subject = host() + ": " + (argv.empty() ? "" : argv.front());
  try {
    const auto [process, ahead] = open(argv, deadline, stop);
    return process->run_to_end(ahead + std::string(input), deadline);
  } catch (const Error& error) {
    // What was given up on the way there because of the limit is a timeout of the command like any other.
    const bool given_up = error.code() == ErrorCode::unreachable || error.code() == ErrorCode::timeout;
    if (!given_up || !deadline.passed() || error.subject() == subject) throw;
    throw Error(ErrorCode::timeout, "run", subject, error.what(), true);
  }
}

}  // namespace crossover
