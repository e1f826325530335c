/// \file
/// Exit statuses of the command. The first that applies is the one.
#pragma once

#include "crossover/allowed_sources.hpp"
#include "crossover/error.hpp"
#include "crossover/migrator.hpp"
#include "crossover/replicas.hpp"
#include "crossover/sources.hpp"

namespace crossover::cli {

inline constexpr int exit_interrupted = 130;  ///< ended by a signal: in order, or given up waiting for that
inline constexpr int exit_usage = 2;          ///< an option or argument makes no sense; nothing was done
inline constexpr int exit_nothing_done = 4;   ///< nothing could be done, such as no connection
inline constexpr int exit_conflict = 3;       ///< a guest is in a state that a human has to decide about
inline constexpr int exit_failed = 1;         ///< some guest failed, or is incomplete
inline constexpr int exit_ok = 0;

/// Of what was done, by how each guest in it ended.
int exit_status(const MirrorReport& report);
int exit_status(const VerifyReport& report);
int exit_status(const RecoverReport& report);
int exit_status(const PruneReport& report);
int exit_status(const CleanupReport& report);
int exit_status(const CheckReport& report);
int exit_status(const AllowSourceReport& report);
/// Of what ended before there was a report.
int exit_status(const Error& error);

}  // namespace crossover::cli
