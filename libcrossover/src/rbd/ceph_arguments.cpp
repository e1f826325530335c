#include "rbd/ceph_arguments.hpp"

#include <optional>
#include <sstream>
#include <vector>

namespace crossover::rbd {

namespace {

constexpr std::string_view client_prefix = "client.";

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

/// Gives an option's value, from `--option=value` or the next word.
std::optional<std::string> value_of(const std::vector<std::string>& words, std::size_t& index,
                                    std::string_view option) {
  const std::string& word = words[index];
  if (word == option) {
    if (index + 1 == words.size()) return std::nullopt;
    return words[++index];
  }
  if (!option.starts_with("--") || !word.starts_with(std::string(option) + "=")) return std::nullopt;
  return word.substr(option.size() + 1);
}

void fill(std::string& member, const std::string& value) {
  if (member.empty()) member = value;
}

}  // namespace

void apply_early_arguments(CephAccess& access, std::string_view ceph_args) {
  const std::vector<std::string> words = words_of(ceph_args);
  // The last of several counts, and none of them replaces what the caller set.
  CephAccess found;
  found.user.clear();
  for (std::size_t index = 0; index < words.size(); ++index) {
    const auto take = [&](std::string& member, std::string_view option) {
      const std::optional<std::string> value = value_of(words, index, option);
      if (value) member = *value;
      return value.has_value();
    };
    std::string name;
    if (take(found.user, "--id") || take(found.user, "--user") || take(found.cluster_name, "--cluster") ||
        take(found.conf, "--conf") || take(found.conf, "-c")) {
      continue;
    }
    if ((take(name, "--name") || take(name, "-n")) && name.starts_with(client_prefix)) {
      found.user = name.substr(client_prefix.size());
    }
  }
  fill(access.user, found.user);
  fill(access.cluster_name, found.cluster_name);
  fill(access.conf, found.conf);
}

}  // namespace crossover::rbd
