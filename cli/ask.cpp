#include "ask.hpp"

#include <poll.h>
#include <unistd.h>

#include <cstdio>

#include "crossover/error.hpp"
#include "print.hpp"

namespace crossover::cli {

bool ask(int terminal, const std::string& question, const std::stop_token& stop) {
  print(stderr, "{} Type yes to go on: ", question);
  std::fflush(stderr);
  std::string answer;
  for (pollfd input{.fd = terminal, .events = POLLIN, .revents = 0};;) {
    if (stop.stop_requested()) throw Cancelled{};
    if (poll(&input, 1, 200) <= 0) continue;
    char byte = 0;
    // A terminal that goes away in the middle of a line has said nothing.
    if (read(terminal, &byte, 1) != 1) return false;
    if (byte == '\n') return answer == "yes";
    answer += byte;
  }
}

}  // namespace crossover::cli
