/// \file
/// Carries out export-diff, import-diff and show-diff.
#pragma once

#include <stop_token>

#include "diff_command_line.hpp"

namespace crossover::cli {

/// Returns the exit status: 0, an errno as `rbd` has it, or exit_interrupted.
int run_diff_command(const DiffInvocation& invocation, const std::stop_token& stop);

}  // namespace crossover::cli
