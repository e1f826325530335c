/// \file
/// The command line of export-diff, import-diff and show-diff as a value. Its syntax is `rbd`'s, so that scripts
/// written for that command can call this one: options may stand before the command's name and after it.
#pragma once

#include <functional>
#include <optional>
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
  std::vector<std::string> ceph_options = {};  ///< CephWords::options
  DiffRequest request;  ///< import-diff: only the image
  std::string path;     ///< "-": standard input or output
  bool progress = true;
  bool whole_object = false;  ///< asked for; what is sent is the same
  bool json = false;

  bool operator==(const DiffInvocation&) const = default;
};

/// take_ceph_words(), or what stands in for it.
using TakeCephWords = std::function<CephWords(const std::vector<std::string>& words)>;

/// Reads the words of such a command, or of `help` about one, without the program's name; nothing if they are
/// another command's. A refusal has the exit status `rbd` has for it.
std::optional<std::variant<DiffInvocation, Answer>> parse_diff_command(const std::vector<std::string>& words,
                                                                       const TakeCephWords& take);

/// One line each, for the command's help: syntax and meaning.
std::string diff_syntax(DiffCommand command);
std::string diff_purpose(DiffCommand command);

}  // namespace crossover::cli
