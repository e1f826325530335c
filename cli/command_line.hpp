/// \file
/// The command line as a value.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "crossover/agent.hpp"
#include "crossover/options.hpp"

namespace crossover::cli {

enum class Command { mirror, verify, check, points, recover, prune, cleanup_source, allow_source, agent };

/// What `allow-source` is to do.
enum class SourceAction { allow, remove, list };

/// What was asked for.
struct Invocation {
  Command command = Command::mirror;
  MirrorOptions options;
  bool migrate = false;  ///< mirror: with --migrate
  MigrateOptions migration;
  VerifyOptions verify;
  std::uint32_t replica = 0;  ///< the VMID for points, recover and cleanup-source
  std::string replicas;       ///< those for prune
  RecoverOptions recover;
  PruneOptions prune;
  AllowSourceOptions allow_source;
  SourceAction source_action = SourceAction::allow;
  AgentOptions agent;
  bool no_confirm = false;          ///< mirror --migrate and cleanup-source do not ask
  bool dry_run = false;             ///< cleanup-source
  std::vector<std::string> images;  ///< cleanup-source: those that go though they were not migrated
  bool json = false;
  bool debug = false;
};

/// What to print instead of doing anything, and the exit status.
struct Answer {
  std::string text;
  bool to_stderr = false;
  int exit_status = 0;
};

/// Reads the command line. Options come from the library's option list.
std::variant<Invocation, Answer> parse_command_line(int argc, const char* const* argv);

}  // namespace crossover::cli
