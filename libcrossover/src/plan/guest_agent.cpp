#include "plan/guest_agent.hpp"

#include <algorithm>

#include "crossover/drive.hpp"

namespace crossover {

bool has_guest_agent(const VmConfig& config) {
  return parse_pve_boolean(guest_agent_option(config, "enabled", "")).value_or(false);
}

/// "1", "enabled=1", "1,type=virtio": the value without a name is `enabled`.
std::string guest_agent_option(const VmConfig& config, std::string_view name, std::string_view alias) {
  const std::string agent = config.get("agent").value_or("");
  for (std::size_t begin = 0; begin <= agent.size();) {
    const std::size_t end = std::min(agent.find(',', begin), agent.size());
    const std::string part = agent.substr(begin, end - begin);
    const std::size_t equals = part.find('=');
    const std::string key = equals == std::string::npos ? "enabled" : part.substr(0, equals);
    if (key == name || key == alias) {
      const std::string value = equals == std::string::npos ? part : part.substr(equals + 1);
      const auto boolean = parse_pve_boolean(value);
      return boolean ? (*boolean ? "1" : "0") : value;
    }
    begin = end + 1;
  }
  return "";
}

}  // namespace crossover
