#include "ssh/remote_command.hpp"

#include <algorithm>
#include <string_view>

#include "ssh/quote_argv.hpp"

namespace crossover {
namespace {

// Means itself to sh, csh, fish and zsh alike, unquoted and after the command's name. Some of them have rules for
// words that begin with '=' or '%'.
bool is_plain_everywhere(const std::string& word) {
  return !word.empty() && word.front() != '=' && word.front() != '%' &&
         std::all_of(word.begin(), word.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  std::string_view("_-./:@%+,=").find(c) != std::string_view::npos;
         });
}

}  // namespace

RemoteCommand remote_command(const std::vector<std::string>& argv, SignalsAre signals) {
  const bool stays = signals == SignalsAre::exit_statuses;
  const std::string quoted = quote_argv(argv);
  if (std::all_of(argv.begin(), argv.end(), is_plain_everywhere)) {
    RemoteCommand command{stays ? R"(exec sh -c '"$0" "$@"; exit $?')" : R"(exec sh -c 'exec "$0" "$@"')", {}};
    for (const std::string& word : argv) command.line += " " + word;
    return command;
  }
  // head takes no byte more than it is told to. What was cut on the way does not end in the mark, and is not run:
  // inside an argument of the command's it would leave a quote open.
  const std::string ahead = quoted + " #end";
  const std::string run = stays ? R"(eval "$c"; exit $?)" : R"(eval "exec $c")";
  return {R"(exec sh -c 'c=$(head -c "$0"); case $c in *"#end") )" + run + ";; esac; exit 126' " +
              std::to_string(ahead.size()),
          ahead};
}

}  // namespace crossover
