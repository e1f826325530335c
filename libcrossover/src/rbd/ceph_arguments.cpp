#include "rbd/ceph_arguments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <sstream>

#include "crossover/error.hpp"

namespace crossover::rbd {

namespace {

constexpr int exit_syntax = 1;
constexpr const char* read_options = "read options of Ceph";

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

/// An option's value, from `--option=value` (`-o=value`, as Ceph has it) or the next word; nothing: another word.
std::optional<std::string> value_of(const std::vector<std::string>& words, std::size_t& index,
                                    std::string_view option) {
  const std::string& word = words[index];
  if (word == option) {
    if (index + 1 == words.size()) {
      throw Error(ErrorCode::usage, read_options, word, "its value is missing", false, exit_syntax);
    }
    return words[++index];
  }
  if (!word.starts_with(std::string(option) + "=")) return std::nullopt;
  return word.substr(option.size() + 1);
}

[[noreturn]] void refuse_no_client(const std::string& name) {
  throw Error(ErrorCode::usage, read_options, fmt::format("'{}'", name), "it is the name of no client", false,
              EACCES);
}

/// The id of "client.ID".
std::string client_of(const std::string& name) {
  constexpr std::array types{"client", "auth", "mon", "osd", "mds", "mgr"};
  const std::string type = name.substr(0, name.find('.'));
  if (name.find('.') == std::string::npos || std::find(types.begin(), types.end(), type) == types.end()) {
    throw Error(ErrorCode::usage, read_options, fmt::format("'{}'", name), "it is no name: client.ID is expected",
                false, exit_syntax);
  }
  if (type != types.front()) refuse_no_client(name);
  return name.substr(type.size() + 1);
}

void fill(std::string& member, const std::optional<std::string>& value) {
  if (member.empty() && value) member = *value;
}

}  // namespace

EarlyArguments take_early_arguments(const std::vector<std::string>& words) {
  EarlyArguments found;
  std::size_t index = 0;
  const auto take = [&](std::optional<std::string>& member, std::string_view option) {
    std::optional<std::string> value = value_of(words, index, option);
    if (!value) return false;
    member = std::move(value);
    return true;
  };
  for (; index < words.size() && words[index] != "--"; ++index) {
    std::optional<std::string> name;
    if (take(found.cluster_name, "--cluster") || take(found.conf, "--conf") || take(found.conf, "-c")) continue;
    if (take(found.user, "--id") || take(found.user, "--user")) {
      if (found.user->empty()) refuse_no_client("client.");
    } else if (take(name, "--name") || take(name, "-n")) {
      found.user = client_of(*name);
      if (found.user->empty()) refuse_no_client(*name);
    } else {
      found.rest.push_back(words[index]);
    }
  }
  found.rest.insert(found.rest.end(), words.begin() + static_cast<std::ptrdiff_t>(index), words.end());
  return found;
}

void apply_early_arguments(CephAccess& access, std::string_view ceph_args) {
  const EarlyArguments found = take_early_arguments(words_of(ceph_args));
  fill(access.user, found.user);
  fill(access.cluster_name, found.cluster_name);
  fill(access.conf, found.conf);
}

}  // namespace crossover::rbd
