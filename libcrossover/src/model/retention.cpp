#include "crossover/retention.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

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

[[noreturn]] void refuse(std::string_view option, std::string_view value, std::string_view why) {
  throw Error(
      ErrorCode::usage, "read option", fmt::format("{}={}", option, value),
      fmt::format("{}; allowed is a number with the unit s, m (minutes), h, d or w, such as 0s, 12h or 7d", why));
}

}  // namespace

KeepWindow parse_keep_window(std::string_view option, std::string_view value) {
  if (value.empty()) {
    refuse(option, value, "no value");
  }
  const auto unit = std::find_if(units.begin(), units.end(),
                                 [letter = value.back()](const Unit& u) { return u.letter == letter; });
  if (unit == units.end()) {
    refuse(option, value, text::all_digits(value) ? "the unit is missing" : "no time span");
  }
  const std::string_view digits = value.substr(0, value.size() - 1);
  if (!text::all_digits(digits)) {
    refuse(option, value, "no time span");
  }
  const auto count = text::to_uint64(digits);
  if (!count || *count > longest_seconds / static_cast<std::uint64_t>(unit->seconds)) {
    refuse(option, value, "longer than 100 years");
  }
  return {std::chrono::seconds(static_cast<std::chrono::seconds::rep>(*count) * unit->seconds)};
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
  for (const RetentionPoint& point : points) {
    const bool newest = &point == &points.back() || point.time == latest;
    const bool too_old = point.time <= now && now - point.time > policy.window.length;
    if (too_old && !newest && uses[point.name] == 1 && !protected_names.contains(point.name)) {
      removals.push_back(point.name);
    }
  }
  return removals;
}

}  // namespace crossover
