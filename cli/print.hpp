// Printing that never decides anything: a terminal, a file or a pipe that takes nothing is remembered, and no more.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>

#include "crossover/printable.hpp"

namespace crossover::cli {

/// Opens /dev/null for those of the three standard descriptors that are closed, before anything else opens a file: Ceph
/// would take their numbers. The wrong way round, so that whoever reads or writes there is told so.
void secure_standard_descriptors();

/// Writes the whole text as it is, and says nothing of a failure; printed_all() does.
void put(std::FILE* out, const std::string& text) noexcept;

/// Texts, which somebody else may have chosen, are made printable(); other values stay what they are.
template <typename Value>
using Shown = std::conditional_t<std::is_convertible_v<const Value&, std::string_view>, std::string, const Value&>;
template <typename Value>
Shown<Value> shown(const Value& value) {
  if constexpr (std::is_convertible_v<const Value&, std::string_view>) {
    return printable(value);
  } else {
    return value;
  }
}

/// fmt::format(), of values as shown() makes them: what comes out has no other control characters than the format.
template <typename... Values>
std::string say(fmt::format_string<Shown<Values>...> format, const Values&... values) {
  return fmt::format(format, shown(values)...);
}

template <typename... Values>
void print(std::FILE* out, fmt::format_string<Shown<Values>...> format, const Values&... values) {
  put(out, say<Values...>(format, values...));
}

/// Whether standard output took all that was printed. Flushes it.
bool printed_all() noexcept;

}  // namespace crossover::cli
