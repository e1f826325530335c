/// \file
/// A question to the person at the terminal.
#pragma once

#include <stop_token>
#include <string>

namespace crossover::cli {

/// Whether what is read from `terminal` is a whole line that says yes, and nothing else. Throws Cancelled when it
/// is asked to stop before.
bool ask(int terminal, const std::string& question, const std::stop_token& stop);

}  // namespace crossover::cli
