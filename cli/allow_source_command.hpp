/// \file
/// `crossover allow-source`.
#pragma once

#include <stop_token>
#include <string>

#include "command_line.hpp"
#include "crossover/allowed_sources.hpp"

namespace crossover::cli {

/// Runs the command and prints; its exit status. Throws what AllowedSources throws.
int run_allow_source(const Invocation& invocation, std::stop_token stop);

/// What was, or would be, done for a source, for people; without what went wrong.
std::string render_allowed(const AllowSourceReport& report, SourceAction action);

/// Which sources there are, for people.
std::string render_sources(const AllowedSourceList& list);

}  // namespace crossover::cli
