/// \file
/// How a planner ends before its plan is whole. Pure.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <utility>

#include "plan/mirror_plan.hpp"

namespace crossover {

/// Thrown inside planners only, which give it back as their plan's problem: the first thing that stands in a
/// guest's way.
struct Stop {
  Problem problem;
};

template <typename... Arguments>
[[noreturn]] void stop(ErrorCode code, fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  throw Stop{{code, fmt::format(text, std::forward<Arguments>(arguments)...)}};
}

/// Stops at a state that a human has to decide about, whose name comes before the text.
template <typename... Arguments>
[[noreturn]] void stop_at_conflict(std::uint32_t vmid, Conflict name, fmt::format_string<Arguments...> text,
                                   Arguments&&... arguments) {
  const ErrorCode code = name == Conflict::image_in_use ? ErrorCode::in_use : ErrorCode::conflict;
  throw Stop{{code,
              fmt::format("VM {}: {}: {}", vmid, to_string(name),
                          fmt::format(text, std::forward<Arguments>(arguments)...)),
              name}};
}

}  // namespace crossover
