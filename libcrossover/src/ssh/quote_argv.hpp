/// \file
/// Arguments as one line for a POSIX shell.
#pragma once

#include <string>
#include <vector>

namespace crossover {

/// Renders `argv` so that a POSIX shell splits it into exactly these words, whatever bytes they contain; plain
/// words stay readable. Pure. A NUL cannot be passed to any command: Error{usage}, as for an empty argv.
std::string quote_argv(const std::vector<std::string>& argv);

}  // namespace crossover
