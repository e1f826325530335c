/// \file
/// How long recovery points are kept, and which of them may go.
#pragma once

#include <chrono>
#include <compare>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// The time for which recovery points are kept beside the newest, `--keeplocal` and `--keepremote`. Zero keeps only
/// what must stay.
struct KeepWindow {
  std::chrono::seconds length{0};

  auto operator<=>(const KeepWindow&) const = default;
};

/// Reads a number with a unit: s, m (minutes), h, d or w, such as "0s", "3600s", "2d"; at most 100 years.
/// Throws Error(usage) that names the option, its value and what is allowed. A number without a unit is refused, as
/// the shell tool refuses it: "7" could mean days or points.
KeepWindow parse_keep_window(std::string_view option, std::string_view text);

/// The window in the largest unit that is exact, such as "2d"; parse_keep_window() reads it back.
std::string to_string(const KeepWindow& window);

/// What is kept on one side.
struct RetentionPolicy {
  KeepWindow window;

  auto operator<=>(const RetentionPolicy&) const = default;
};

/// A recovery point of one job on one side.
struct RetentionPoint {
  std::string name;               ///< its snapshot's name
  std::chrono::sys_seconds time;  ///< the moment in that name

  auto operator<=>(const RetentionPoint&) const = default;
};

/// Names of the points that may be removed, in the order given: those older than the window.
///
/// `points` are in the order they were made (by snapshot id), oldest first. Never removed: the last made, the one
/// with the latest time, any in `protected_names` (the base of the next transfer, pinned points), and any with a
/// time after `now`, as after a clock was set back. A name that comes twice is never removed: something is wrong
/// there.
std::vector<std::string> plan_removals(const std::vector<RetentionPoint>& points, const RetentionPolicy& policy,
                                       std::chrono::sys_seconds now,
                                       const std::set<std::string, std::less<>>& protected_names);

}  // namespace crossover
