#include "plan/guest_agent.hpp"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "crossover/drive.hpp"

namespace crossover {

namespace {

/// A boolean of the line `agent`, by any of its names; nothing if it is not there, or is none. "1", "enabled=1",
/// "1,type=virtio": the value without a name is `enabled`.
std::optional<bool> boolean_option(const VmConfig& config, std::initializer_list<std::string_view> names) {
  const std::string agent = config.get("agent").value_or("");
  for (std::size_t begin = 0; begin <= agent.size();) {
    const std::size_t end = std::min(agent.find(',', begin), agent.size());
    const std::string part = agent.substr(begin, end - begin);
    const std::size_t equals = part.find('=');
    const std::string key = equals == std::string::npos ? "enabled" : part.substr(0, equals);
    if (std::find(names.begin(), names.end(), key) != names.end()) {
      return parse_pve_boolean(equals == std::string::npos ? part : part.substr(equals + 1));
    }
    begin = end + 1;
  }
  return std::nullopt;
}

}  // namespace

bool has_guest_agent(const VmConfig& config) {
  return boolean_option(config, {"enabled"}).value_or(false);
}

bool is_freeze_wanted(const VmConfig& config) {
  return boolean_option(config, {"freeze-fs", "freeze-fs-on-backup", "guest-fsfreeze"}).value_or(true);
}

}  // namespace crossover
