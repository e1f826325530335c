#include "plan/pending_changes.hpp"

#include <algorithm>
#include <utility>

#include "crossover/drive.hpp"

namespace crossover {

std::vector<std::string> pending_keys(const VmConfig& config) {
  std::vector<std::string> keys;
  const auto add = [&keys](const std::string& key) {
    if (!key.empty() && std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  };
  for (const VmConfigSection& section : config.sections()) {
    if (section.kind != VmSectionKind::pending) continue;
    for (const VmConfigEntry& entry : section.entries) {
      if (entry.key != "delete") {
        add(entry.key);
        continue;
      }
      // "memory,!net1": the mark stands for "by force".
      std::string key;
      for (const char c : entry.value + ",") {
        if (c == ',' || c == ';' || c == ' ') {
          add(std::exchange(key, {}));
        } else if (c != '!') {
          key += c;
        }
      }
    }
  }
  return keys;
}

bool changes_disks(const std::vector<std::string>& pending) {
  return std::any_of(pending.begin(), pending.end(),
                     [](const std::string& key) { return parse_drive_key(key).has_value(); });
}

}  // namespace crossover
