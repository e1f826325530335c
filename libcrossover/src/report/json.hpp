/// \file
/// How reports are written as JSON.
#pragma once

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "crossover/report.hpp"

namespace crossover {

inline std::string render_time(std::chrono::sys_seconds time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

inline nlohmann::ordered_json to_value(const std::vector<FormerImage>& images) {
  nlohmann::ordered_json values = nlohmann::ordered_json::array();
  for (const FormerImage& former : images) values.push_back({{"image", former.image}, {"points", former.points}});
  return values;
}

/// Names come from configurations, which need not be UTF-8. In ASCII, for somebody may look at it on a terminal.
inline std::string render_json(const nlohmann::ordered_json& value) {
  return value.dump(2, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace crossover
