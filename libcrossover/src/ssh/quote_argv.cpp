#include "ssh/quote_argv.hpp"

#include <algorithm>
#include <string_view>

#include "crossover/error.hpp"

namespace crossover {
namespace {

// Means nothing to any shell in any place of a word. '=' and '~' are missing on purpose.
bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("_-./:@%+,").find(c) != std::string_view::npos;
}

std::string quote(const std::string& word) {
  if (!word.empty() && std::all_of(word.begin(), word.end(), is_plain)) return word;
  std::string quoted = "'";
  for (const char c : word) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

}  // namespace

std::string quote_argv(const std::vector<std::string>& argv) {
  if (argv.empty() || argv.front().empty()) throw Error(ErrorCode::usage, "run", "command", "no command given");
  std::string line;
  for (const std::string& word : argv) {
    if (word.find('\0') != std::string::npos) {
      throw Error(ErrorCode::usage, "run", argv.front(), "an argument contains a NUL byte");
    }
    if (!line.empty()) line += ' ';
    line += quote(word);
  }
  return line;
}

}  // namespace crossover
