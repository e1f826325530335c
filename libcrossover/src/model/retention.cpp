#include "crossover/retention.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "crossover/error.hpp"
#include "text.hpp"

namespace crossover {

namespace {

struct Unit {
  char letter;
  std::chrono::seconds::rep seconds;
};

constexpr std::array<Unit, 5> units = {{{'w', 604800}, {'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}}};
constexpr std::uint64_t longest_seconds = std::uint64_t{36500} * 86400;

constexpr std::string_view allowed_spans =
    "allowed is a number with the unit s, m (minutes), h, d or w, such as 0s, 12h or 7d";
constexpr std::string_view allowed_policies =
    "allowed is a number with the unit s, m (minutes), h, d or w, such as 0s, 12h or 7d, or rules such as "
    "last=3,hourly=24,daily=7,weekly=4,monthly=6";

[[noreturn]] void refuse(std::string_view option, std::string_view value, std::string_view why,
                         std::string_view allowed) {
  throw Error(ErrorCode::usage, "read option", fmt::format("{}={}", option, value),
              fmt::format("{}; {}", why, allowed));
}

KeepWindow parse_span(std::string_view option, std::string_view value, std::string_view allowed) {
  if (value.empty()) refuse(option, value, "no value", allowed);
  const auto unit = std::find_if(units.begin(), units.end(),
                                 [letter = value.back()](const Unit& u) { return u.letter == letter; });
  if (unit == units.end()) {
    refuse(option, value, text::all_digits(value) ? "the unit is missing" : "no time span", allowed);
  }
  const std::string_view digits = value.substr(0, value.size() - 1);
  if (!text::all_digits(digits)) refuse(option, value, "no time span", allowed);
  const auto count = text::to_uint64(digits);
  if (!count || *count > longest_seconds / static_cast<std::uint64_t>(unit->seconds)) {
    refuse(option, value, "longer than 100 years", allowed);
  }
  return {std::chrono::seconds(static_cast<std::chrono::seconds::rep>(*count) * unit->seconds)};
}

using Days = std::chrono::sys_days;

std::int64_t hour_of(std::chrono::sys_seconds time) {
  return std::chrono::floor<std::chrono::hours>(time).time_since_epoch().count();
}

std::int64_t day_of(std::chrono::sys_seconds time) {
  return std::chrono::floor<std::chrono::days>(time).time_since_epoch().count();
}

/// Counted from a Monday.
std::int64_t week_of(std::chrono::sys_seconds time) {
  constexpr Days monday = std::chrono::year(1969) / 12 / 29;
  return std::chrono::floor<std::chrono::weeks>(time - monday).count();
}

std::int64_t month_of(std::chrono::sys_seconds time) {
  const std::chrono::year_month_day date(std::chrono::floor<std::chrono::days>(time));
  return std::int64_t{static_cast<int>(date.year())} * 12 + static_cast<unsigned>(date.month());
}

struct Rule {
  std::string_view name;
  std::uint32_t RetentionPolicy::*count;
  std::int64_t (*period)(std::chrono::sys_seconds time);  ///< null: each point is one of its own
};

constexpr std::array<Rule, 5> rules = {{{"last", &RetentionPolicy::last, nullptr},
                                        {"hourly", &RetentionPolicy::hourly, hour_of},
                                        {"daily", &RetentionPolicy::daily, day_of},
                                        {"weekly", &RetentionPolicy::weekly, week_of},
                                        {"monthly", &RetentionPolicy::monthly, month_of}}};
constexpr std::uint64_t most_points = 9999;

/// Marks what the rule keeps; `newest_first` are indices into `kept`, with their times.
void keep_by_rule(const Rule& rule, std::uint32_t count,
                  const std::vector<std::pair<std::chrono::sys_seconds, std::size_t>>& newest_first,
                  std::vector<char>& kept) {
  std::optional<std::int64_t> previous;
  for (const auto& [time, index] : newest_first) {
    if (count == 0) return;
    const std::optional<std::int64_t> period = rule.period ? std::optional(rule.period(time)) : std::nullopt;
    if (period && period == previous) continue;
    previous = period;
    kept[index] = 1;
    --count;
  }
}

}  // namespace

KeepWindow parse_keep_window(std::string_view option, std::string_view value) {
  return parse_span(option, value, allowed_spans);
}

RetentionPolicy parse_retention(std::string_view option, std::string_view value) {
  RetentionPolicy policy;
  if (value.find('=') == std::string_view::npos) {
    policy.window = parse_span(option, value, allowed_policies);
    return policy;
  }
  for (const std::string_view part : text::split(value, ',')) {
    const auto refuse_part = [&](std::string_view why) {
      refuse(option, value, fmt::format("'{}' {}", part, why), allowed_policies);
    };
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) refuse_part("is no rule");
    const auto rule =
        std::find_if(rules.begin(), rules.end(), [&](const Rule& r) { return r.name == part.substr(0, equals); });
    if (rule == rules.end()) refuse_part("is no rule");
    const auto count = text::to_uint64(part.substr(equals + 1));
    if (!count || *count == 0 || *count > most_points) refuse_part("needs a number from 1 to 9999");
    if (policy.*rule->count != 0) refuse_part("comes twice");
    policy.*rule->count = static_cast<std::uint32_t>(*count);
  }
  return policy;
}

std::string to_string(const RetentionPolicy& policy) {
  std::string written;
  for (const Rule& rule : rules) {
    const std::uint32_t count = policy.*rule.count;
    if (count != 0) written += fmt::format("{}{}={}", written.empty() ? "" : ",", rule.name, count);
  }
  if (written.empty()) return to_string(policy.window);
  return policy.window.length.count() == 0 ? written : to_string(policy.window) + "," + written;
}

std::string to_string(const KeepWindow& window) {
  const auto seconds = window.length.count();
  for (const Unit& unit : units) {
    if (seconds != 0 && seconds % unit.seconds == 0) {
      return fmt::format("{}{}", seconds / unit.seconds, unit.letter);
    }
  }
  return "0s";
}

std::vector<std::string> plan_removals(const std::vector<RetentionPoint>& points, const RetentionPolicy& policy,
                                       std::chrono::sys_seconds now,
                                       const std::set<std::string, std::less<>>& protected_names) {
  std::vector<std::string> removals;
  if (points.empty()) {
    return removals;
  }
  std::map<std::string_view, int> uses;
  for (const RetentionPoint& point : points) {
    ++uses[point.name];
  }
  const auto latest =
      std::max_element(points.begin(), points.end(), [](const RetentionPoint& a, const RetentionPoint& b) {
        return a.time < b.time;
      })->time;
  std::vector<char> kept(points.size(), 0);
  std::vector<std::pair<std::chrono::sys_seconds, std::size_t>> newest_first;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const RetentionPoint& point = points[i];
    const bool newest = i + 1 == points.size() || point.time == latest;
    const bool is_within_window = policy.window.length.count() > 0 && now - point.time <= policy.window.length;
    const bool young = point.time > now || is_within_window;
    if (newest || young || uses[point.name] > 1 || protected_names.contains(point.name)) kept[i] = 1;
    if (point.time <= now) newest_first.emplace_back(point.time, i);
  }
  std::sort(newest_first.rbegin(), newest_first.rend());
  for (const Rule& rule : rules) keep_by_rule(rule, policy.*rule.count, newest_first, kept);
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (kept[i] == 0) removals.push_back(points[i].name);
  }
  return removals;
}

}  // namespace crossover
