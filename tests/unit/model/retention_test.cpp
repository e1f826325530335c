#include "crossover/retention.hpp"

#include <doctest/doctest.h>

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
