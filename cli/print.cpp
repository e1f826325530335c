#include "print.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace crossover::cli {

void secure_standard_descriptors() {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
    // The lowest number that is free is this one.
    if (open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY) != descriptor) _exit(4);
  }
}

void put(std::FILE* out, const std::string& text) noexcept {
  static_cast<void>(std::fwrite(text.data(), 1, text.size(), out));
}

bool printed_all() noexcept {
  return std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
}

}  // namespace crossover::cli
