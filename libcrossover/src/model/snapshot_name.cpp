#include "crossover/snapshot_name.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "crossover/error.hpp"
#include "text.hpp"

namespace crossover {

namespace {

using std::chrono::local_days;
using std::chrono::local_seconds;
using std::chrono::sys_days;
using std::chrono::sys_seconds;

constexpr std::string_view prefix = "crossover-";
constexpr std::string_view shell_tool_prefix = "mirror-";

bool is_job(std::string_view job) noexcept {
  return !job.empty() && job.size() <= max_job_length &&
         std::all_of(job.begin(), job.end(), [](char c) { return text::is_lower(c) || text::is_digit(c); });
}

unsigned number(std::string_view digits) noexcept {
  unsigned value = 0;
  for (const char c : digits) {
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  return value;
}

/// yyyymmdd and HHMMSS, which must be a moment that can be.
std::optional<sys_seconds> parse_moment(std::string_view date, std::string_view time) noexcept {
  if (date.size() != 8 || time.size() != 6 || !text::all_digits(date) || !text::all_digits(time)) {
    return std::nullopt;
  }
  const std::chrono::year_month_day day{std::chrono::year(static_cast<int>(number(date.substr(0, 4)))),
                                        std::chrono::month(number(date.substr(4, 2))),
                                        std::chrono::day(number(date.substr(6, 2)))};
  const std::chrono::hours hours(number(time.substr(0, 2)));
  const std::chrono::minutes minutes(number(time.substr(2, 2)));
  const std::chrono::seconds seconds(number(time.substr(4, 2)));
  if (!day.ok() || day.year() < std::chrono::year(1970) || hours.count() > 23 || minutes.count() > 59 ||
      seconds.count() > 59) {
    return std::nullopt;
  }
  return sys_days(day) + hours + minutes + seconds;
}

}  // namespace

std::string normalize_job(std::string_view name) {
  std::string job;
  for (const char c : name) {
    if (text::is_alnum(c) && job.size() < max_job_length) {
      job += text::to_lower(c);
    }
  }
  return job.empty() ? "default" : job;
}

std::string describe_job(std::string_view name) {
  return name.empty() ? "job without a name" : fmt::format("job '{}'", name);
}

std::string to_string(const SnapshotName& name) {
  const auto day = std::chrono::floor<std::chrono::days>(name.time);
  const std::chrono::year_month_day date(day);
  if (!is_job(name.job) || date.year() < std::chrono::year(1970) || date.year() > std::chrono::year(9999)) {
    throw Error(ErrorCode::usage, "name snapshot", name.job, "the job's name or the year cannot be written");
  }
  const std::chrono::hh_mm_ss time(name.time - day);
  return fmt::format("{}{}-{:04}{:02}{:02}T{:02}{:02}{:02}Z", prefix, name.job, static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), time.hours().count(),
                     time.minutes().count(), time.seconds().count());
}

std::optional<SnapshotName> parse_snapshot_name(std::string_view name) {
  constexpr std::size_t stamp_length = 16;  // yyyymmddTHHMMSSZ
  if (!name.starts_with(prefix) || name.size() < prefix.size() + 1 + 1 + stamp_length) {
    return std::nullopt;
  }
  const std::string_view stamp = name.substr(name.size() - stamp_length);
  const std::string_view job = name.substr(prefix.size(), name.size() - stamp_length - 1 - prefix.size());
  if (name[name.size() - stamp_length - 1] != '-' || !is_job(job) || stamp[8] != 'T' || stamp[15] != 'Z') {
    return std::nullopt;
  }
  const auto time = parse_moment(stamp.substr(0, 8), stamp.substr(9, 6));
  return time ? std::optional(SnapshotName{std::string(job), *time}) : std::nullopt;
}

std::optional<local_seconds> parse_shell_tool_snapshot_name(std::string_view name) noexcept {
  if (!name.starts_with(shell_tool_prefix) || name.size() != shell_tool_prefix.size() + 14) {
    return std::nullopt;
  }
  const auto moment =
      parse_moment(name.substr(shell_tool_prefix.size(), 8), name.substr(shell_tool_prefix.size() + 8));
  return moment ? std::optional(local_seconds(moment->time_since_epoch())) : std::nullopt;
}

}  // namespace crossover
