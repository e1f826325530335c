#include "plan/allowed_source.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "crossover/error.hpp"
#include "model/authorized_keys.hpp"
#include "model/ceph_caps.hpp"
#include "model/text.hpp"

namespace crossover {

namespace {

/// The mark in a keyring. It proves something only together with the key beside it: `ceph auth ... -o` replaces the
/// file, and a user that was made anew has another key.
constexpr std::string_view keyring_mark =
    "# This user was made by 'crossover allow-source', and goes with the last source that has it.";

/// The words of a command as a POSIX shell splits them; nothing where it would do more than that, or where a quote
/// does not end.
std::optional<std::vector<std::string>> shell_words(std::string_view command) {
  std::vector<std::string> words;
  bool in_word = false;
  const auto begin = [&]() -> std::string& {
    if (!std::exchange(in_word, true)) words.emplace_back();
    return words.back();
  };
  for (std::size_t at = 0; at < command.size(); ++at) {
    const char c = command[at];
    if (c == '\'') {
      const auto end = command.find('\'', at + 1);
      if (end == std::string_view::npos) return std::nullopt;
      begin() += command.substr(at + 1, end - at - 1);
      at = end;
    } else if (c == '"') {
      std::string& word = begin();
      for (++at; at < command.size() && command[at] != '"'; ++at) {
        if (command[at] == '$' || command[at] == '`') return std::nullopt;
        const std::string_view escapes = "$`\"\\";
        if (command[at] == '\\' && at + 1 < command.size() && escapes.find(command[at + 1]) != escapes.npos) ++at;
        word += command[at];
      }
      if (at == command.size()) return std::nullopt;
    } else if (c == '\\') {
      if (++at == command.size()) return std::nullopt;
      begin() += command[at];
    } else if (c == ' ' || c == '\t') {
      in_word = false;
    } else if (std::string_view("|&;<>()$`*?[]{}~#!\n\r").find(c) != std::string_view::npos) {
      return std::nullopt;
    } else {
      begin() += c;
    }
  }
  return words;
}

bool is_crossover(std::string_view word) {
  return word.substr(word.rfind('/') + 1) == "crossover";
}

/// "--option=value", or "--option" and the next word, of those that `crossover agent` has. Nothing if there is
/// anything else, or an option twice.
std::optional<std::map<std::string, std::string>> agent_options(const std::vector<std::string>& words,
                                                                std::size_t first) {
  std::map<std::string, std::string> options;
  for (std::size_t at = first; at < words.size(); ++at) {
    std::string name = words[at];
    std::string value;
    if (const auto equals = name.find('='); equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    } else if (++at < words.size()) {
      value = words[at];
    }
    constexpr std::string_view known[] = {"--allow", "--name",    "--pool",  "--vmid",
                                          "--user",  "--keyring", "--memory"};
    if (std::find(std::begin(known), std::end(known), name) == std::end(known) || value.empty() ||
        !options.emplace(name, value).second) {
      return std::nullopt;
    }
  }
  return options;
}

struct Line {
  std::size_t number;
  std::size_t begin;
  std::string_view text;  ///< without the newline
};

std::vector<Line> lines_of(std::string_view bytes) {
  std::vector<Line> lines;
  for (std::size_t begin = 0; begin < bytes.size();) {
    const std::size_t end = std::min(bytes.find('\n', begin), bytes.size());
    lines.push_back({lines.size() + 1, begin, bytes.substr(begin, end - begin)});
    begin = end + 1;
  }
  return lines;
}

const Line& line_of(const std::vector<Line>& lines, const AgentLine& agent) {
  return lines[agent.number - 1];
}

/// `bytes` without a line and its newline, and with `text` in its place.
std::string with_line(std::string_view bytes, const Line& line, std::string_view text) {
  const std::size_t end = std::min(line.begin + line.text.size() + 1, bytes.size());
  return fmt::format("{}{}{}", bytes.substr(0, line.begin), text, bytes.substr(end));
}

/// What a storage's images share with those of another storage, if they do.
std::string place_of(const std::string& storage, const StorageConfig& storages) {
  const auto rbd = storages.rbd(storage);
  if (!rbd) return "storage " + storage;
  return fmt::format("pool {}/{} of {}", rbd->pool, rbd->rados_namespace, fmt::join(rbd->monitors, ","));
}

/// What both reach, in words; nothing if there is nothing.
std::optional<std::string> overlap(const Restriction& wanted, const Restriction& other,
                                   const StorageConfig& storages) {
  for (const VmidRange& own : wanted.vmids) {
    for (const VmidRange& theirs : other.vmids) {
      const VmidRange both{std::max(own.first, theirs.first), std::min(own.last, theirs.last)};
      if (both.first > both.last) continue;
      for (const std::string& pool : wanted.pools) {
        for (const std::string& their_pool : other.pools) {
          if (pool != their_pool && place_of(pool, storages) != place_of(their_pool, storages)) continue;
          return fmt::format("{} {} on {}{}", both.first == both.last ? "VMID" : "VMIDs",
                             to_string(std::vector<VmidRange>{both}), pool,
                             pool == their_pool ? "" : fmt::format(", whose images are those of {},", their_pool));
        }
      }
    }
  }
  return std::nullopt;
}

std::string name_of(const AgentLine& line) {
  return line.command.restriction.name.empty()
             ? fmt::format("the agent without --name in line {}", line.number)
             : fmt::format("source {} (line {})", line.command.restriction.name, line.number);
}

std::string way_out(const AgentLine& line) {
  return line.command.restriction.name.empty()
             ? fmt::format("take line {} out", line.number)
             : fmt::format("'crossover allow-source --remove --name {}'", line.command.restriction.name);
}

/// The order and the way in which somebody wrote them do not count.
AgentCommand in_order(AgentCommand command) {
  std::sort(command.restriction.vmids.begin(), command.restriction.vmids.end());
  return command;
}

/// Why the line cannot be what the source has; empty: it can.
std::string find_conflict(const std::vector<Line>& lines, const std::vector<AgentLine>& agents,
                          const AgentCommand& command, const PublicKey& key, const AgentLine* own,
                          const StorageConfig& storages, const std::string& path) {
  for (const Line& line : lines) {
    if (own != nullptr && line.number == own->number) continue;
    // Wherever it stands in the line: what sshd cannot read today it may read with the next version.
    if (text::trim(line.text).starts_with('#') || line.text.find(key.base64) == std::string_view::npos) continue;
    const auto agent = std::find_if(agents.begin(), agents.end(),
                                    [&](const AgentLine& other) { return other.number == line.number; });
    return agent == agents.end()
               ? fmt::format(
                     "key taken: line {} of {} has this key without such a restriction, and sshd heeds the first "
                     "line with a key only; give a key that nothing else uses, or take that line out",
                     line.number, path)
               : fmt::format(
                     "key taken: it is the key of {} in {}, and sshd heeds the first line with a key only; give "
                     "each source a key of its own, or {} first",
                     name_of(*agent), path, way_out(*agent));
  }
  for (const AgentLine& other : agents) {
    if (own != nullptr && other.number == own->number) continue;
    if (!other.unreadable.empty()) {
      return fmt::format(
          "line not understood: line {} of {} starts a restricted agent, and what it allows cannot be told "
          "({}); write it as 'crossover allow-source' does, or take it out",
          other.number, path, other.unreadable);
    }
    if (const auto both = overlap(command.restriction, other.command.restriction, storages)) {
      return fmt::format("sources overlap: {} has {} already; give each source VMIDs of its own, or {} first",
                         name_of(other), *both, way_out(other));
    }
  }
  return {};
}

}  // namespace

std::optional<AgentCommand> parse_agent_command(std::string_view command, std::string& unreadable) {
  unreadable.clear();
  // An agent that is not restricted reaches everything anyway, as does every other key of root's.
  if (command.find("crossover") == std::string_view::npos || command.find("--allow") == std::string_view::npos) {
    return std::nullopt;
  }
  AgentCommand result;
  const auto refuse = [&](const char* why) {
    unreadable = why;
    return AgentCommand{};
  };
  const auto words = shell_words(command);
  if (!words) return refuse("a shell does more with its command than to split it into words");
  std::size_t at = 0;
  while (at + 1 < words->size() && !(is_crossover((*words)[at]) && (*words)[at + 1] == "agent")) ++at;
  if (at + 1 >= words->size()) return refuse("its command does not say 'crossover agent'");
  auto options = agent_options(*words, at + 2);
  if (!options || (*options)["--allow"] != "receive") return refuse("its options are not those of an agent");
  try {
    result.restriction = parse_restriction((*options)["--pool"], (*options)["--vmid"], (*options)["--name"]);
  } catch (const Error&) {
    return refuse("its --pool, --vmid or --name is none");
  }
  result.user = (*options)["--user"];
  result.keyring = (*options)["--keyring"];
  return result;
}

std::vector<AgentLine> agent_lines(std::string_view authorized_keys) {
  std::vector<AgentLine> agents;
  for (const Line& line : lines_of(authorized_keys)) {
    const auto key = parse_key_line(line.text);
    if (!key) continue;
    AgentLine agent;
    const auto command = parse_agent_command(key->value("command").value_or(std::string()), agent.unreadable);
    if (!command) continue;
    // sshd takes no line that has two.
    if (key->count("command") > 1) agent.unreadable = "it has two commands";
    agent.number = line.number;
    agent.command = *command;
    agent.type = key->type;
    agent.base64 = key->base64;
    agent.restricted = key->has("restrict");
    agents.push_back(std::move(agent));
  }
  return agents;
}

std::string render_agent_line(const AgentCommand& command, const PublicKey& key) {
  const Restriction& restriction = command.restriction;
  std::string text = fmt::format("crossover agent --allow receive --name {} --pool {} --vmid {}", restriction.name,
                                 fmt::join(restriction.pools, ","), to_string(restriction.vmids));
  if (!command.user.empty()) text += fmt::format(" --user {} --keyring {}", command.user, command.keyring);
  // Whatever the grammars above let through: what is read from the line again has to be what was meant, and no
  // more.
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return text::is_alnum(c) || std::string_view(" -_.,/").find(c) != std::string_view::npos;
  });
  const std::string line =
      fmt::format("command=\"{}\",restrict {} {} crossover:{}", text, key.type, key.base64, restriction.name);
  const std::vector<AgentLine> read = agent_lines(line);
  if (!plain || !is_source_name(restriction.name) || !parse_key(key.type, key.base64) || read.size() != 1 ||
      !read.front().unreadable.empty() || read.front().command != command) {
    throw Error(ErrorCode::usage, "write authorized_keys", restriction.name,
                "a value has more in it than letters, digits, '-', '_' and '.'");
  }
  return line;
}

KeysChange plan_allow(std::string_view authorized_keys, const AgentCommand& command, const PublicKey& key,
                      bool replace, const StorageConfig& storages, const std::string& path) {
  KeysChange change;
  change.line = render_agent_line(command, key);
  const std::vector<Line> lines = lines_of(authorized_keys);
  const std::vector<AgentLine> agents = agent_lines(authorized_keys);
  const auto is_own = [&](const AgentLine& line) {
    return line.unreadable.empty() && line.command.restriction.name == command.restriction.name;
  };
  const auto own = std::find_if(agents.begin(), agents.end(), is_own);
  if (own != agents.end()) change.before = *own;
  const bool same = own != agents.end() && own->restricted && own->type == key.type && own->base64 == key.base64 &&
                    in_order(own->command) == in_order(command);
  if (own != agents.end() && std::find_if(own + 1, agents.end(), is_own) != agents.end()) {
    change.conflict = fmt::format("source name taken: {} has several lines of source {}; take all but one out",
                                  path, command.restriction.name);
  } else if (own != agents.end() && !same && !replace) {
    change.conflict = fmt::format(
        "source name taken: {} is there with {}{}, {}{}; 'crossover allow-source --remove --name {}' first, or "
        "--replace "
        "puts the new line in the place of the old one",
        name_of(*own),
        fmt::format("VMIDs {} on {}", to_string(own->command.restriction.vmids),
                    fmt::join(own->command.restriction.pools, ",")),
        own->command.user.empty() ? "" : " as client." + own->command.user,
        own->type == key.type && own->base64 == key.base64 ? "this key" : "another key",
        own->restricted ? "" : " and without the option restrict", command.restriction.name);
  } else {
    change.conflict =
        find_conflict(lines, agents, command, key, own == agents.end() ? nullptr : &*own, storages, path);
  }
  if (!change.conflict.empty()) return change;
  change.changed = !same;
  if (same) {
    change.bytes = authorized_keys;
    change.line = line_of(lines, *own).text;
  } else if (own != agents.end()) {
    change.bytes = with_line(authorized_keys, line_of(lines, *own), change.line + "\n");
  } else {
    // A last line that does not end stays the last one, and stays without an end.
    const auto end = authorized_keys.rfind('\n');
    const std::size_t at = end == std::string_view::npos ? 0 : end + 1;
    change.bytes = fmt::format("{}{}\n{}", authorized_keys.substr(0, at), change.line, authorized_keys.substr(at));
  }
  return change;
}

KeysChange plan_remove(std::string_view authorized_keys, std::string_view name, const std::string& path) {
  KeysChange change;
  std::vector<std::string> names;
  for (const AgentLine& line : agent_lines(authorized_keys)) {
    if (!line.unreadable.empty() || line.command.restriction.name.empty()) continue;
    names.push_back(line.command.restriction.name);
    if (line.command.restriction.name != name) continue;
    if (change.before) {
      change.conflict =
          fmt::format("source name taken: lines {} and {} of {} are both source {}'s; take one out by hand",
                      change.before->number, line.number, path, name);
      return change;
    }
    change.before = line;
  }
  if (!change.before) {
    throw Error(ErrorCode::not_found, "remove source", std::string(name),
                names.empty()
                    ? fmt::format("{} has no source that has a name", path)
                    : fmt::format("{} has no source of that name; it has {}", path, fmt::join(names, ", ")));
  }
  const std::vector<Line> lines = lines_of(authorized_keys);
  change.line = line_of(lines, *change.before).text;
  change.bytes = with_line(authorized_keys, line_of(lines, *change.before), "");
  change.changed = true;
  return change;
}

bool uses_ceph_user(std::string_view authorized_keys, std::string_view user) {
  const std::vector<AgentLine> agents = agent_lines(authorized_keys);
  return std::any_of(agents.begin(), agents.end(), [user](const AgentLine& line) {
    return !line.unreadable.empty() || line.command.user == user;
  });
}

std::string source_keyring_path(std::string_view user) {
  return fmt::format("/etc/pve/priv/ceph.client.{}.keyring", user);
}

std::string render_source_keyring(std::string_view user, const std::string& key, bool made_here) {
  return fmt::format("{}{}[client.{}]\n\tkey = {}\n", made_here ? keyring_mark : "", made_here ? "\n" : "", user,
                     key);
}

SourceKeyring parse_source_keyring(std::string_view bytes, std::string_view user) {
  SourceKeyring keyring;
  const std::string section = fmt::format("[client.{}]", user);
  bool inside = false;
  for (const Line& line : lines_of(bytes)) {
    const std::string_view text = text::trim(line.text);
    if (text == keyring_mark) keyring.made_here = true;
    if (text.starts_with('[')) inside = text == section;
    if (!inside || !text.starts_with("key")) continue;
    std::string_view value = text::trim(text.substr(3));
    if (value.starts_with('=')) keyring.key = text::trim(value.substr(1));
  }
  return keyring;
}

}  // namespace crossover
