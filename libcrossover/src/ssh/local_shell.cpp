#include "ssh/local_shell.hpp"

#include <unistd.h>

#include <array>
#include <utility>

#include "ssh/child_process.hpp"

namespace crossover {
namespace {

std::string machine_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

}  // namespace

LocalShell::LocalShell(std::string name) : name_(name.empty() ? machine_name() : std::move(name)) {}

std::unique_ptr<Process> LocalShell::start(const std::vector<std::string>& argv, std::stop_token stop) {
  return std::make_unique<ChildProcess>(name_, argv, std::move(stop));
}

CommandResult LocalShell::run(const std::vector<std::string>& argv, std::string_view input,
                              std::chrono::milliseconds limit, std::stop_token stop) {
  return ChildProcess(name_, argv, std::move(stop)).run_to_end(input, Deadline::after(limit));
}

}  // namespace crossover
