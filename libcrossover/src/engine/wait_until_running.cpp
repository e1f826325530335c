#include "engine/wait_until_running.hpp"

#include <fmt/format.h>

#include "crossover/error.hpp"

namespace crossover {

void wait_until_running(GuestPower& power, Clock& clock, const std::string& node, std::uint32_t vmid,
                        const std::stop_token& stop) {
  constexpr std::chrono::milliseconds interval{250};
  constexpr std::chrono::seconds longest{60};
  const auto deadline = clock.steady() + longest;
  while (power.power(node, vmid, stop) != Power::running) {
    if (clock.steady() >= deadline) {
      throw Error(ErrorCode::timeout, "start", fmt::format("VM {} on {}", vmid, node),
                  fmt::format("it does not run after {} s", longest.count()));
    }
    clock.wait(interval, stop);
  }
}

}  // namespace crossover
