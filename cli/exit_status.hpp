/// \file
/// Exit statuses of the command. The first that applies is the one.
#pragma once

namespace crossover::cli {

inline constexpr int exit_interrupted = 130;  ///< ended by SIGINT or SIGTERM, in order
inline constexpr int exit_usage = 2;          ///< an option or argument makes no sense; nothing was done
inline constexpr int exit_nothing_done = 4;   ///< nothing could be done, such as no connection
inline constexpr int exit_conflict = 3;       ///< a guest is in a state that a human has to decide about
inline constexpr int exit_failed = 1;         ///< some guest failed
inline constexpr int exit_ok = 0;

}  // namespace crossover::cli
