#include "ssh/ssh_route.hpp"

#include <libssh/libssh.h>

#include <memory>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

#include "crossover/error.hpp"

namespace crossover {
namespace {

// An agent that hangs, such as a forwarded one whose other end is gone, is done without.
constexpr std::chrono::seconds agent_patience{5};

bool cpu_has_aes() {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_cpu_supports("aes") != 0;
#elif defined(__ARM_FEATURE_AES) || defined(__ARM_FEATURE_CRYPTO)
  return true;
#else
  return false;
#endif
}

// OpenSSH begins with the cipher that is fastest without AES in the processor. Only the order is ours.
std::string preferred_ciphers(const std::string& configured) {
  if (!cpu_has_aes() || !configured.starts_with("chacha20-poly1305@openssh.com")) return configured;
  std::string first;
  std::string last;
  for (std::string_view rest = configured; !rest.empty();) {
    const auto end = std::min(rest.find(','), rest.size());
    const std::string_view name = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    ((name.find("-gcm@") == std::string_view::npos ? last : first) += ",") += name;
  }
  return (first + last).substr(1);
}

// Lists of which libssh knows nothing at all.
std::vector<std::string> unknown_to_libssh(const SshConfig& config, const std::string& ciphers) {
  const std::unique_ptr<ssh_session_struct, decltype(&ssh_free)> session(ssh_new(), ssh_free);
  if (!session) throw std::bad_alloc();
  struct List {
    const char* name;
    const std::string& value;
    ssh_options_e option;
  };
  const List lists[] = {{"Ciphers", ciphers, SSH_OPTIONS_CIPHERS_C_S},
                        {"MACs", config.macs, SSH_OPTIONS_HMAC_C_S},
                        {"KexAlgorithms", config.key_exchanges, SSH_OPTIONS_KEY_EXCHANGE},
                        {"HostKeyAlgorithms", config.host_key_algorithms, SSH_OPTIONS_HOSTKEYS},
                        {"PubkeyAcceptedAlgorithms", config.public_key_algorithms,
                         SSH_OPTIONS_PUBLICKEY_ACCEPTED_TYPES}};
  std::vector<std::string> unknown;
  for (const List& list : lists) {
    if (list.value.empty() || ssh_options_set(session.get(), list.option, list.value.c_str()) == 0) continue;
    unknown.push_back(std::string("none of the ") + list.name + " is one of libssh's");
  }
  return unknown;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

HostKeysOnRecord host_keys_on_record(const SshHost& host, const SshConfig& config) {
  HostKeysOnRecord record{config.host_key_alias.empty() ? KnownHosts(config.hostname, config.port)
                                                        : KnownHosts::under_alias(config.host_key_alias),
                          false};
  record.keys.add_text(host.known_hosts_text, "given for " + host.name);
  record.text_decides = !record.keys.empty() || record.keys.has_authority();
  if (record.text_decides) return record;
  for (const std::string& file : config.user_known_hosts) record.keys.add_file(file);
  for (const std::string& file : config.global_known_hosts) record.keys.add_file(file);
  return record;
}

SshRoute find_ssh_route(const SshHost& host, const StopEvent& stop, Deadline deadline) {
  SshRoute route{.host = host, .config = read_ssh_config(host, stop, deadline)};
  route.ciphers = host.ciphers.empty() ? preferred_ciphers(route.config.ciphers) : host.ciphers;
  if (host.transport == SshTransport::openssh) {
    route.openssh = true;
    route.why = "as asked for";
    return route;
  }
  route.agent = agent_socket(route.config.identity_agent);
  const auto agent = agent_keys(route.agent, stop, deadline.sooner(Deadline::after(agent_patience)));
  route.keys = find_login_keys(route.config, agent.value_or(std::vector<AgentKey>()));
  if (!agent) route.keys.passed_over.push_back("the ssh agent at " + route.agent + " (it does not answer)");

  std::vector<std::string> reasons = route.config.beyond_libssh;
  for (std::string& reason : unknown_to_libssh(route.config, route.ciphers)) reasons.push_back(std::move(reason));
  if (host.transport == SshTransport::libssh) {
    if (!reasons.empty()) {
      throw Error(ErrorCode::unsupported, "connect to", host.name,
                  "libssh does not do what is configured for it: " + joined(reasons) +
                      "; leave out --ssh=libssh, and the ssh program is taken");
    }
    for (std::string& key : route.keys.beyond_libssh) {
      route.keys.passed_over.push_back(std::move(key) + " (nothing for libssh)");
    }
    route.why = "as asked for";
    return route;
  }
  if (host_keys_on_record(host, route.config).keys.has_authority()) {
    reasons.emplace_back("a @cert-authority for it among the known hosts");
  }
  for (std::string& key : route.keys.beyond_libssh) reasons.push_back(std::move(key));
  route.openssh = !reasons.empty();
  route.why = reasons.empty() ? "which does all that is configured for it"
                              : "which alone does what is configured for it: " + joined(reasons);
  return route;
}

}  // namespace crossover
