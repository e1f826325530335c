#include "ssh/ssh_options.hpp"

#include <algorithm>
#include <string_view>

#include "crossover/error.hpp"
#include "ssh/duplex_process.hpp"

namespace crossover {
namespace {

// What names of hosts and users are made of, and no shell has a rule for: the ssh configuration may put them into a
// command (ProxyCommand, Match exec), and a node's name and address come from its cluster.
void check_name(const SshHost& host, const std::string& name, std::string_view what) {
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._:%@+-").find(c) != std::string_view::npos;
  });
  if (plain && !name.starts_with('-')) return;
  throw Error(ErrorCode::usage, "connect to", one_line(host.name),
              "'" + one_line(name) + "' is no " + std::string(what) +
                  ": letters, digits and . _ : % @ + - may be in it, and no '-' at its beginning");
}

// For options whose values have tokens: a path that is meant as it stands.
std::string without_tokens(const std::string& path) {
  std::string text;
  for (const char c : path) text += c == '%' ? std::string("%%") : std::string(1, c);
  return text;
}

}  // namespace

std::string ssh_config_word(const std::string& word) {
  std::string text = "\"";
  for (const char c : word) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + '"';
}

std::vector<std::string> ssh_options(const SshHost& host) {
  std::vector<std::string> words;
  const auto add = [&](const std::string& option) {
    words.emplace_back("-o");
    words.push_back(option);
  };
  if (!host.config_file.empty()) {
    words.emplace_back("-F");
    words.push_back(host.config_file);
  }
  add("BatchMode=yes");
  if (host.port != 0) add("Port=" + std::to_string(host.port));
  if (!host.host_key_alias.empty()) add("HostKeyAlias=" + ssh_config_word(host.host_key_alias));
  if (!host.known_hosts.empty()) {
    std::string files;
    for (const std::string& file : host.known_hosts) {
      files += (files.empty() ? "" : " ") + ssh_config_word(without_tokens(file));
    }
    add("UserKnownHostsFile=" + files);
    add("GlobalKnownHostsFile=none");
  }
  for (const std::string& file : host.identities) add("IdentityFile=" + ssh_config_word(without_tokens(file)));
  return words;
}

std::string ssh_target(const SshHost& host) {
  const std::string& address = host.address.empty() ? host.name : host.address;
  if (address.empty()) throw Error(ErrorCode::usage, "connect to", "a host", "it has no name");
  check_name(host, address, "host's name or address");
  check_name(host, host.host_key_alias, "host's name");
  check_name(host, host.user, "user's name");
  return host.user.empty() ? address : host.user + "@" + address;
}

}  // namespace crossover
