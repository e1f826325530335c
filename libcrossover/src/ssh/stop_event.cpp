#include "ssh/stop_event.hpp"

#include <sys/eventfd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "crossover/error.hpp"

namespace crossover {
namespace {

UniqueFd make_event() {
  UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) throw Error(ErrorCode::io, "create", "event descriptor", std::strerror(errno));
  return event;
}

}  // namespace

void StopEvent::Wake::operator()() const noexcept {
  const std::uint64_t one = 1;
  // It fails only if the counter is full, and then the descriptor is readable already.
  [[maybe_unused]] const auto written = ::write(fd, &one, sizeof one);
}

StopEvent::StopEvent(std::stop_token stop)
    : event_(make_event()), stop_(stop), callback_(std::move(stop), Wake{event_.get()}) {}

void StopEvent::check() const {
  if (stopped()) throw Cancelled{};
}

}  // namespace crossover
