#include "crossover/retention.hpp"

#include <doctest/doctest.h>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <random>

#include "crossover/error.hpp"

namespace {

using namespace crossover;
using namespace std::chrono_literals;
using Names = std::vector<std::string>;

constexpr std::chrono::sys_seconds now = std::chrono::sys_days(std::chrono::year(2026) / 11 / 23);

std::string refusal(const char* text) {
  try {
    static_cast<void>(parse_keep_window("--keeplocal", text));
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::usage);
    return error.what();
  }
  return {};
}

std::string policy_refusal(const std::string& text) {
  try {
    static_cast<void>(parse_retention("--keepremote", text));
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::usage);
    return error.what();
  }
  return {};
}

RetentionPolicy policy(const char* text) {
  return parse_retention("--keepremote", text);
}

RetentionPoint point(std::chrono::sys_seconds time) {
  return {fmt::format("crossover-x-{:%Y%m%dT%H%M%SZ}", time), time};
}

/// What stays of the points.
std::vector<RetentionPoint> pruned(std::vector<RetentionPoint> points, const RetentionPolicy& policy,
                                   std::chrono::sys_seconds at,
                                   const std::set<std::string, std::less<>>& kept = {}) {
  const Names gone = plan_removals(points, policy, at, kept);
  std::erase_if(points,
                [&](const RetentionPoint& p) { return std::find(gone.begin(), gone.end(), p.name) != gone.end(); });
  return points;
}

bool earlier(const RetentionPoint& a, const RetentionPoint& b) {
  return a.time < b.time;
}

Names names_of(const std::vector<RetentionPoint>& points) {
  Names names;
  for (const RetentionPoint& p : points) names.push_back(p.name);
  return names;
}

/// The policy in other words: of each period, written as text, the newest point.
std::set<std::string> wanted(const std::vector<RetentionPoint>& all, const RetentionPolicy& p,
                             std::chrono::sys_seconds at) {
  std::set<std::string> names{all.back().name};
  for (const RetentionPoint& one : all) {
    if (at - one.time <= p.window.length) names.insert(one.name);
  }
  const auto newest_of = [&](const auto& period, std::uint32_t count) {
    std::map<std::string, std::string, std::greater<>> newest;
    for (const RetentionPoint& one : all) newest[period(one.time)] = one.name;
    for (const auto& [of, name] : newest) {
      if (count-- == 0) break;
      names.insert(name);
    }
  };
  newest_of([](auto time) { return fmt::format("{:%Y-%m-%d %H:%M:%S}", time); }, p.last);
  newest_of([](auto time) { return fmt::format("{:%Y-%m-%d %H}", time); }, p.hourly);
  newest_of([](auto time) { return fmt::format("{:%Y-%m-%d}", time); }, p.daily);
  newest_of([](auto time) { return fmt::format("{:%G-%V}", time); }, p.weekly);
  newest_of([](auto time) { return fmt::format("{:%Y-%m}", time); }, p.monthly);
  return names;
}

}  // namespace

TEST_CASE("windows are read and written") {
  struct Row {
    const char* text;
    std::chrono::seconds length;
    const char* written;
  };
  const Row rows[] = {
      {"0s", 0s, "0s"},       {"0d", 0s, "0s"},      {"3600s", 1h, "1h"},          {"90m", 90min, "90m"},
      {"12h", 12h, "12h"},    {"2d", 48h, "2d"},     {"7d", 168h, "1w"},           {"1w", 168h, "1w"},
      {"100s", 100s, "100s"}, {"0007d", 168h, "1w"}, {"36500d", 876000h, "36500d"}};
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const KeepWindow window = parse_keep_window("--keeplocal", row.text);
    CHECK(window.length == row.length);
    CHECK(to_string(window) == row.written);
    CHECK(parse_keep_window("", to_string(window)) == window);
  }
}

TEST_CASE("what is no window is refused with option, value and what is allowed") {
  for (const char* text : {"", "7", "d", "-1d", "+1d", "1.5d", "1 d", " 1d", "1d ", "1D", "1y", "2d3h", "0x1d",
                           "36501d", "99999999999999999999s", "18446744073709551615w"}) {
    CAPTURE(text);
    const std::string what = refusal(text);
    CHECK(what.find("--keeplocal=" + std::string(text)) != std::string::npos);
    CHECK(what.find("s, m (minutes), h, d or w") != std::string::npos);
  }
  CHECK(refusal("7").find("unit is missing") != std::string::npos);
}

TEST_CASE("points older than the window go, and never what must stay") {
  const auto at = [](const char* name, std::chrono::seconds age) { return RetentionPoint{name, now - age}; };
  struct Row {
    const char* what;
    std::vector<RetentionPoint> points;
    std::chrono::seconds window;
    std::set<std::string, std::less<>> kept;
    Names removed;
  };
  const Row rows[] = {
      {"nothing there", {}, 0s, {}, {}},
      {"only one", {at("a", 24h)}, 0s, {}, {}},
      {"zero keeps the newest", {at("a", 3h), at("b", 2h), at("c", 1h)}, 0s, {}, {"a", "b"}},
      {"zero keeps none of this very second", {at("a", 0s), at("b", -1s)}, 0s, {}, {"a"}},
      {"zero keeps the base too", {at("a", 3h), at("b", 2h), at("c", 1h)}, 0s, {"b"}, {"a"}},
      {"inside the window", {at("a", 3h), at("b", 2h), at("c", 1h)}, 4h, {}, {}},
      {"at the edge", {at("a", 7201s), at("b", 7200s), at("c", 7199s), at("d", 0s)}, 2h, {}, {"a"}},
      {"all old", {at("a", 99h), at("b", 98h), at("c", 97h)}, 1h, {}, {"a", "b"}},
      {"protected and not there", {at("a", 3h), at("b", 1h)}, 0s, {"x"}, {"a"}},
      {"a time to come stays", {at("a", 3h), at("b", -5h), at("c", 1h), at("d", 0s)}, 0s, {}, {"a", "c"}},
      {"the clock was set back: last made and latest stay", {at("a", 9h), at("b", 1h), at("c", 5h)}, 0s, {}, {"a"}},
      {"one name twice", {at("a", 9h), at("a", 8h), at("b", 7h), at("c", 1h)}, 0s, {}, {"b"}},
      {"everything in the future", {at("a", -9h), at("b", -8h)}, 0s, {}, {}},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    CHECK(plan_removals(row.points, RetentionPolicy{{row.window}}, now, row.kept) == row.removed);
  }
}

TEST_CASE("rules are read in any order, each once, and written in theirs") {
  CHECK(policy("2d") == RetentionPolicy{{48h}});
  const RetentionPolicy all{.window = {}, .last = 3, .hourly = 24, .daily = 7, .weekly = 4, .monthly = 6};
  CHECK(policy("last=3,hourly=24,daily=7,weekly=4,monthly=6") == all);
  CHECK(policy("monthly=6,daily=7,last=3,weekly=4,hourly=24") == all);
  CHECK(policy("daily=9999") == RetentionPolicy{.window = {}, .daily = 9999});
  for (const char* text :
       {"0s", "2d", "last=1", "hourly=24,daily=7", "last=3,hourly=24,daily=7,weekly=4,monthly=6"}) {
    CHECK(to_string(policy(text)) == text);
  }
}

TEST_CASE("rules that are none are refused with the part that is wrong") {
  const std::pair<const char*, const char*> rows[] = {
      {"", "no value"},
      {"7", "the unit is missing"},
      {"daily", "no time span"},
      {"daily=", "'daily=' needs a number from 1 to 9999"},
      {"daily=0", "'daily=0' needs a number from 1 to 9999"},
      {"daily=-1", "'daily=-1' needs a number from 1 to 9999"},
      {"daily=7d", "'daily=7d' needs a number from 1 to 9999"},
      {"daily=10000", "'daily=10000' needs a number from 1 to 9999"},
      {"daily=99999999999999999999", "needs a number from 1 to 9999"},
      {"daily=7,daily=7", "'daily=7' comes twice"},
      {"yearly=1", "'yearly=1' is no rule"},
      {"Daily=7", "'Daily=7' is no rule"},
      {" daily=7", "' daily=7' is no rule"},
      {"daily=7,", "'' is no rule"},
      {"2d,daily=7", "'2d' is no rule"},
      {"daily=7,2d", "'2d' is no rule"},
      {"=7", "'=7' is no rule"},
      {"daily=7 weekly=4", "'daily=7 weekly=4' needs a number"},
  };
  for (const auto& [text, why] : rows) {
    CAPTURE(text);
    const std::string what = policy_refusal(text);
    CAPTURE(what);
    CHECK(what.find(fmt::format("--keepremote={}", text)) != std::string::npos);
    CHECK(what.find(why) != std::string::npos);
    CHECK(what.find("last=3,hourly=24,daily=7") != std::string::npos);
  }
}

TEST_CASE("a rule keeps the newest point of each of its last periods that have one") {
  using std::chrono::sys_days;
  using std::chrono::year;
  const auto day = [](int month, int of_month) {
    return sys_days(year(2026) / month / of_month) + std::chrono::hours(0);
  };
  // 2026-11-22 is a Sunday, 23 a Monday: the last week of the year before ended in January.
  const std::vector<RetentionPoint> points = {
      point(day(1, 4) + 9h),   point(day(10, 31) + 23h),   point(day(11, 1)),
      point(day(11, 20) + 1h), point(day(11, 20) + 2h),    point(day(11, 22) + 23h + 59min),
      point(day(11, 23)),      point(day(11, 23) + 59min), point(day(11, 23) + 1h)};
  const auto kept = [&](const char* text) {
    std::string digits;
    for (const RetentionPoint& p : pruned(points, policy(text), day(11, 23) + 5h)) {
      digits += static_cast<char>('0' + (std::find(points.begin(), points.end(), p) - points.begin()));
    }
    return digits;
  };
  CHECK(kept("last=1") == "8");
  CHECK(kept("last=3") == "678");
  CHECK(kept("hourly=2") == "78");
  CHECK(kept("hourly=4") == "4578");
  CHECK(kept("daily=1") == "8");
  CHECK(kept("daily=3") == "458");
  CHECK(kept("weekly=2") == "58");
  CHECK(kept("weekly=3") == "258");
  CHECK(kept("monthly=2") == "18");
  CHECK(kept("monthly=3") == "018");
  CHECK(kept("last=2,monthly=2") == "178");
  CHECK(kept("daily=9999") == "012458");
}

TEST_CASE("whatever the points: never the newest, never more than before, the same again") {
  std::mt19937 random(4);
  const auto below = [&random](std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); };
  for (int round = 0; round < 2000; ++round) {
    CAPTURE(round);
    std::vector<RetentionPoint> points;
    std::set<std::string, std::less<>> kept;
    for (std::uint32_t i = below(40); i > 0; --i) {
      // Mostly later than the one before, now and then after a clock that was set back or ahead.
      const std::chrono::hours age(below(10) == 0 ? static_cast<int>(below(2000)) - 100
                                                  : static_cast<int>(i * below(30)));
      points.push_back(point(now - age + std::chrono::seconds(below(3000))));
      if (below(8) == 0) kept.insert(points.back().name);
    }
    RetentionPolicy less{
        {std::chrono::hours(below(3) * below(100))}, below(4), below(30), below(9), below(6), below(8)};
    const std::vector<RetentionPoint> left = pruned(points, less, now, kept);
    // The same question has one answer, and nothing more goes the second time.
    CHECK(plan_removals(points, less, now, kept) == plan_removals(points, less, now, kept));
    CHECK(plan_removals(left, less, now, kept).empty());
    // A rule more, or a wider one, removes nothing more.
    RetentionPolicy more = less;
    ++more.daily;
    more.hourly += below(3);
    more.window.length += std::chrono::hours(below(50));
    const Names gone = plan_removals(points, less, now, kept);
    for (const std::string& name : plan_removals(points, more, now, kept)) {
      CHECK(std::find(gone.begin(), gone.end(), name) != gone.end());
    }
    if (points.empty()) continue;
    const Names there = names_of(left);
    const auto has = [&there](const std::string& name) {
      return std::find(there.begin(), there.end(), name) != there.end();
    };
    CHECK(has(points.back().name));
    CHECK(has(std::max_element(points.begin(), points.end(), earlier)->name));
    for (const std::string& name : kept) CHECK(has(name));
    for (const RetentionPoint& p : points) CHECK((p.time <= now || has(p.name)));
    // Points of a time to come, of a clock that was ahead, cost the others nothing.
    std::vector<RetentionPoint> past = points;
    std::erase_if(past, [](const RetentionPoint& p) { return p.time > now; });
    const std::vector<RetentionPoint> left_of_past = pruned(past, less, now, kept);
    for (const RetentionPoint& p : left_of_past) {
      // But for the two that stay of any list, for being its newest.
      const bool newest = p == past.back() || p.time == std::max_element(past.begin(), past.end(), earlier)->time;
      CHECK((has(p.name) || newest));
    }
  }
}

TEST_CASE("pruned at every step of a year, exactly what the policy says of the whole year is there") {
  for (const char* text : {"0s", "3d", "last=5", "hourly=24,daily=7,weekly=4,monthly=6", "monthly=12,last=2",
                           "weekly=60", "daily=400"}) {
    CAPTURE(text);
    const RetentionPolicy p = policy(text);
    std::mt19937 random(7);
    std::chrono::sys_seconds at = now;
    std::vector<RetentionPoint> all;
    std::vector<RetentionPoint> there;
    for (int step = 0; at < now + 366 * 24h; ++step) {
      // About every four hours, with holes of days.
      at += std::chrono::minutes(random() % 480 + 1) + std::chrono::days(random() % 60 == 0 ? random() % 20 : 0);
      all.push_back(point(at));
      there.push_back(all.back());
      there = pruned(there, p, at);
      if (step % 40 != 0 && at < now + 360 * 24h) continue;
      const std::set<std::string> expected = wanted(all, p, at);
      CHECK(names_of(there) == Names(expected.begin(), expected.end()));
    }
  }
}
