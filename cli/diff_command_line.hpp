/// \file
/// The command line of export-diff, import-diff and show-diff as a value. Its syntax is `rbd`'s, so that scripts
/// written for that command can call this one: options may stand before the command's name and after it.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "command_line.hpp"
#include "crossover/diff_transfer.hpp"

namespace crossover::cli {

enum class DiffCommand { export_diff, import_diff, show_diff };

std::string_view to_string(DiffCommand command);

/// What was asked for.
struct DiffInvocation {
  DiffCommand command = DiffCommand::export_diff;
  CephAccess access = ceph_defaults();
  DiffRequest request;  ///< import-diff: only the image
  std::string path;     ///< "-": standard input or output
  bool progress = true;
  bool whole_object = false;  ///< asked for; what is sent is the same
  bool json = false;

  bool operator==(const DiffInvocation&) const = default;
};

/// True if the words (without the program's name) are one of these commands.
bool is_diff_command(const std::vector<std::string>& words);

/// Reads the words of such a command. A refusal has the exit status `rbd` has for it.
std::variant<DiffInvocation, Answer> parse_diff_command(const std::vector<std::string>& words);

/// One line each, for the command's help: syntax and meaning.
std::string diff_syntax(DiffCommand command);
std::string diff_purpose(DiffCommand command);

}  // namespace crossover::cli
