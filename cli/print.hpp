// Printing that never decides anything: a terminal, a file or a pipe that takes nothing is remembered, and no more.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <utility>

namespace crossover::cli {

/// Opens /dev/null for those of the three standard descriptors that are closed, before anything else opens a file: Ceph
/// would take their numbers. The wrong way round, so that whoever reads or writes there is told so.
void secure_standard_descriptors();

/// Writes the whole text and says nothing of a failure; printed_all() does.
void put(std::FILE* out, const std::string& text) noexcept;

template <typename... Values>
void print(std::FILE* out, fmt::format_string<Values...> format, Values&&... values) {
  put(out, fmt::format(format, std::forward<Values>(values)...));
}

template <typename... Values>
void print(fmt::format_string<Values...> format, Values&&... values) {
  put(stdout, fmt::format(format, std::forward<Values>(values)...));
}

/// Whether standard output took all that was printed. Flushes it.
bool printed_all() noexcept;

}  // namespace crossover::cli
