#include "ssh/ssh_config.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "crossover/error.hpp"
#include "ssh/child_process.hpp"
#include "ssh/ssh_options.hpp"

namespace crossover {
namespace {

constexpr std::size_t files_in_a_question = 16;
constexpr std::string_view expanding_option = "userknownhostsfile";
// Between the names in an answer, which is joined by blanks: no name of a key.
constexpr std::string_view answer_separator = "/dev/null/crossover";

using SshSettings = std::multimap<std::string, std::string, std::less<>>;

SshSettings settings_in(std::string_view printed) {
  SshSettings settings;
  while (!printed.empty()) {
    const auto end = std::min(printed.find('\n'), printed.size());
    const std::string_view line = printed.substr(0, end);
    printed.remove_prefix(std::min(end + 1, printed.size()));
    const auto blank = line.find(' ');
    if (blank == std::string_view::npos) continue;
    settings.emplace(line.substr(0, blank), line.substr(blank + 1));
  }
  return settings;
}

std::string value_in(const SshSettings& settings, std::string_view option) {
  const auto found = settings.find(option);
  return found == settings.end() ? std::string() : found->second;
}

std::optional<unsigned> number_in(const SshSettings& settings, std::string_view option) {
  const std::string text = value_in(settings, option);
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool is_none(std::string_view value) {
  return value.empty() || value == "none";
}

bool is_yes(std::string_view value) {
  return value == "yes" || value == "true";
}

std::vector<std::string> files_in(const SshSettings& settings, std::string_view option) {
  std::vector<std::string> files;
  const auto [begin, end] = settings.equal_range(option);
  for (auto at = begin; at != end; ++at) {
    if (!is_none(at->second)) files.push_back(at->second);
  }
  return files;
}

// The names are joined by blanks. All that are files of ours begin with a slash; where a part does not, a name has
// a blank, or is one that ssh has not expanded, and only ssh knows.
std::vector<std::string> known_hosts_in(const SshSettings& settings, std::string_view option, SshConfig& config) {
  std::vector<std::string> files;
  std::string_view rest;
  const std::string value = value_in(settings, option);
  for (rest = value; !rest.empty();) {
    const auto end = std::min(rest.find(' '), rest.size());
    const std::string_view name = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (is_none(name)) continue;
    if (!name.starts_with('/')) {
      // ssh does not expand the names of GlobalKnownHostsFile either: there "~/x" is a file in a folder "~".
      config.beyond_libssh.push_back(std::string(option == expanding_option ? "UserKnownHostsFile"
                                                                            : "GlobalKnownHostsFile") +
                                     " with a blank or a relative path in a name");
      return files;
    }
    files.emplace_back(name);
  }
  return files;
}

bool contains_word(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const auto end = std::min(list.find(','), list.size());
    if (list.substr(0, end) == word) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

void note_beyond_libssh(const SshSettings& settings, SshConfig& config) {
  const auto note = [&](std::string text) { config.beyond_libssh.push_back(std::move(text)); };
  struct Named {
    std::string_view option;
    const char* name;
  };
  constexpr Named unless_none[] = {
      {"proxyjump", "ProxyJump"},           {"proxycommand", "ProxyCommand"},
      {"knownhostscommand", "KnownHostsCommand"}, {"revokedhostkeys", "RevokedHostKeys"},
      {"pkcs11provider", "PKCS11Provider"}, {"bindaddress", "BindAddress"},
      {"bindinterface", "BindInterface"},
  };
  for (const auto& [option, name] : unless_none) {
    if (!is_none(value_in(settings, option))) note(name);
  }
  constexpr Named if_yes[] = {{"checkhostip", "CheckHostIP"},
                              {"verifyhostkeydns", "VerifyHostKeyDNS"},
                              {"hostbasedauthentication", "HostbasedAuthentication"}};
  for (const auto& [option, name] : if_yes) {
    if (is_yes(value_in(settings, option))) note(name);
  }
  const std::string public_keys = value_in(settings, "pubkeyauthentication");
  if (public_keys == "no" || public_keys == "false") note("PubkeyAuthentication no");
  const std::string methods = value_in(settings, "preferredauthentications");
  if (!methods.empty() && !contains_word(methods, "publickey")) note("PreferredAuthentications without publickey");
}

std::string ask_ssh(const SshHost& host, std::vector<std::string> options, const StopEvent& stop,
                    Deadline deadline) {
  std::vector<std::string> argv{"ssh", "-G"};
  argv.insert(argv.end(), std::make_move_iterator(options.begin()), std::make_move_iterator(options.end()));
  argv.emplace_back("--");
  argv.push_back(ssh_target(host));
  const CommandResult result = ChildProcess(host.name, argv, stop.token()).run_to_end("", deadline);
  if (result.exit_status == 0) return result.output;
  const std::string said = one_line(result.errors);
  if (result.exit_status == 127) {
    throw Error(ErrorCode::unsupported, "read the ssh configuration for", host.name,
                "there is no ssh program on this host; install Debian's openssh-client");
  }
  throw Error(ErrorCode::usage, "read the ssh configuration for", host.name,
              said.empty() ? "'ssh -G' ended with status " + std::to_string(result.exit_status) : said);
}

}  // namespace

SshConfig parse_ssh_config(std::string_view printed) {
  const SshSettings settings = settings_in(printed);
  SshConfig config;
  config.hostname = value_in(settings, "hostname");
  config.port = number_in(settings, "port").value_or(22);
  config.user = value_in(settings, "user");
  config.host_key_alias = value_in(settings, "hostkeyalias");
  if (config.host_key_alias == "none") config.host_key_alias.clear();
  config.user_known_hosts = known_hosts_in(settings, expanding_option, config);
  config.global_known_hosts = known_hosts_in(settings, "globalknownhostsfile", config);
  const std::string strict = value_in(settings, "stricthostkeychecking");
  // "no" would take a key that has changed as well, which nothing here does.
  config.accept_new_host_keys = strict == "accept-new" || strict == "no" || strict == "off" || strict == "false";
  config.identities = files_in(settings, "identityfile");
  config.certificates = files_in(settings, "certificatefile");
  config.identities_only = is_yes(value_in(settings, "identitiesonly"));
  config.identity_agent = value_in(settings, "identityagent");
  if (config.identity_agent.empty()) config.identity_agent = "SSH_AUTH_SOCK";
  config.rsa_bits = number_in(settings, "requiredrsasize").value_or(1024);
  config.ciphers = value_in(settings, "ciphers");
  config.macs = value_in(settings, "macs");
  config.key_exchanges = value_in(settings, "kexalgorithms");
  config.host_key_algorithms = value_in(settings, "hostkeyalgorithms");
  config.public_key_algorithms = value_in(settings, "pubkeyacceptedalgorithms");
  if (config.public_key_algorithms.empty()) {
    config.public_key_algorithms = value_in(settings, "pubkeyacceptedkeytypes");  // before OpenSSH 8.5
  }
  config.address_family = value_in(settings, "addressfamily");
  if (const auto seconds = number_in(settings, "connecttimeout"); seconds && *seconds > 0) {
    config.connect_timeout = std::chrono::seconds(*seconds);
  }
  note_beyond_libssh(settings, config);
  return config;
}

std::string expansion_question(const std::vector<std::string>& files) {
  std::string names;
  for (const std::string& file : files) {
    names += ssh_config_word(file) + " " + std::string(answer_separator) + " ";
  }
  if (!names.empty()) names.pop_back();
  return names;
}

std::optional<std::vector<std::string>> expansion_answer(std::string_view printed, std::size_t files) {
  const std::string value = value_in(settings_in(printed), expanding_option);
  const std::string end = " " + std::string(answer_separator);
  std::vector<std::string> names;
  for (std::string_view rest = value; !rest.empty();) {
    const auto at = rest.find(end);
    if (at == std::string_view::npos) return std::nullopt;
    names.emplace_back(rest.substr(0, at));
    rest.remove_prefix(at + end.size());
    if (rest.starts_with(' ')) rest.remove_prefix(1);
  }
  const auto as_written = [](const std::string& name) { return name.starts_with('~') || name.starts_with("%d/"); };
  if (names.size() != files || std::any_of(names.begin(), names.end(), as_written)) return std::nullopt;
  return names;
}

SshConfig read_ssh_config(const SshHost& host, const StopEvent& stop, Deadline deadline) {
  SshConfig config = parse_ssh_config(ask_ssh(host, ssh_options(host), stop, deadline));
  for (auto* files : {&config.identities, &config.certificates}) {
    for (std::size_t begin = 0; begin < files->size(); begin += files_in_a_question) {
      const std::size_t count = std::min(files->size() - begin, files_in_a_question);
      const auto first = files->begin() + static_cast<std::ptrdiff_t>(begin);
      const auto last = first + static_cast<std::ptrdiff_t>(count);
      SshHost asked = host;
      asked.known_hosts.clear();
      std::vector<std::string> options = ssh_options(asked);
      options.insert(options.end(), {"-o", "UserKnownHostsFile=" + expansion_question({first, last})});
      const auto answer = expansion_answer(ask_ssh(asked, options, stop, deadline), count);
      if (!answer) {
        config.beyond_libssh.emplace_back("an IdentityFile or CertificateFile that 'ssh -G' does not expand");
        return config;
      }
      std::copy(answer->begin(), answer->end(), first);
    }
  }
  return config;
}

}  // namespace crossover
