/// \file
/// How long recovery points are kept, and which of them may go.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
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

/// What is kept on one side, `--keeplocal` and `--keepremote`, besides what must stay. A point that one of the
/// rules keeps is kept; a rule of 0 keeps nothing.
///
/// A rule for periods keeps the newest point of each of so many periods, counted over those that have points, going
/// back from the newest: two weeks without a run cost none of `daily=7`. Hours, days and months are those of UTC,
/// weeks begin on Monday 00:00 UTC (ISO 8601). Points whose time is still to come are kept and count for no rule.
struct RetentionPolicy {
  KeepWindow window;          ///< points at most this old
  std::uint32_t last = 0;     ///< the newest ones
  std::uint32_t hourly = 0;   ///< the newest of each hour
  std::uint32_t daily = 0;    ///< of each day
  std::uint32_t weekly = 0;   ///< of each week
  std::uint32_t monthly = 0;  ///< of each month

  auto operator<=>(const RetentionPolicy&) const = default;
};

/// Reads a time span as parse_keep_window() does, or rules: any of last=N, hourly=N, daily=N, weekly=N and
/// monthly=N, each once, in any order, with commas between them, such as "hourly=24,daily=7"; N is 1 to 9999.
/// Throws Error(usage) that names the option, its value, what is wrong and what is allowed.
RetentionPolicy parse_retention(std::string_view option, std::string_view text);

/// The policy as parse_retention() reads it back, rules from the shortest period to the longest. A policy of both a
/// window and rules, which no option can ask for, is written with the window in front.
std::string to_string(const RetentionPolicy& policy);

/// A recovery point of one job on one side.
struct RetentionPoint {
  std::string name;               ///< its snapshot's name
  std::chrono::sys_seconds time;  ///< the moment in that name

  auto operator<=>(const RetentionPoint&) const = default;
};

/// Names of the points that may be removed, in the order given: those that no rule of the policy keeps.
///
/// `points` are in the order they were made (by snapshot id), oldest first. Never removed: the last made, the one
/// with the latest time, any in `protected_names` (the base of the next transfer, pinned points), and any with a
/// time after `now`, as after a clock was set back. A name that comes twice is never removed: something is wrong
/// there.
std::vector<std::string> plan_removals(const std::vector<RetentionPoint>& points, const RetentionPolicy& policy,
                                       std::chrono::sys_seconds now,
                                       const std::set<std::string, std::less<>>& protected_names);

}  // namespace crossover
