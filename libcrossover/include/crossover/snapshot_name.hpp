/// \file
/// Names of our RBD snapshots: which are ours, of which job, of which moment.
#pragma once

#include <chrono>
#include <compare>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace crossover {

/// The job part of a snapshot's name is at most this long, so that the whole name fits PVE's 40 characters.
inline constexpr std::size_t max_job_length = 13;

/// `crossover-<job>-<yyyymmddTHHMMSSZ>`: the job in its normal form, and the moment in UTC. No name that the shell tool
/// would take for its own: it removes every `mirror-*` it finds.
struct SnapshotName {
  std::string job = "default";
  std::chrono::sys_seconds time;

  auto operator<=>(const SnapshotName&) const = default;
};

/// The form a job's name has in snapshots: its ASCII letters and digits in lower case, at most 13 of them;
/// "default" if there is none. Two jobs of one guest whose names come out the same are a conflict.
std::string normalize_job(std::string_view name);

/// A job in a sentence: "job 'nightly'", or "job without a name".
std::string describe_job(std::string_view name);

/// The snapshot's name. Throws Error(usage) if the job is not in its normal form or the year is not 1970 to 9999.
std::string to_string(const SnapshotName& name);

/// Reads a complete name of ours; nothing for any other. Impossible dates and a user's names such as
/// `crossover-before-upgrade` are none of ours. Names of other jobs are read, with their job: compare it.
std::optional<SnapshotName> parse_snapshot_name(std::string_view text);

/// The moment in a plain `mirror-<14 digits>` of the shell tool, in the local time of the node that made it. For
/// adopting its replicas only: such a name says nothing of job or time zone.
std::optional<std::chrono::local_seconds> parse_shell_tool_snapshot_name(std::string_view text) noexcept;

}  // namespace crossover
