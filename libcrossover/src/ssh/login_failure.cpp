#include "ssh/login_failure.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "ssh/duplex_process.hpp"
#include "ssh/quote_argv.hpp"
#include "ssh/ssh_options.hpp"

namespace crossover {
namespace {

constexpr std::string_view debug_mark = "debug1: ";

bool holds(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

template <typename Take>
void for_each_line(std::string_view text, Take&& take) {
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    take(line);
  }
}

// What follows `begin` on the last line that has it, up to `end`.
std::string_view rest_after(std::string_view text, std::string_view begin, std::string_view end = {}) {
  std::string_view found;
  for_each_line(text, [&](std::string_view line) {
    if (const auto at = line.find(begin); at != std::string_view::npos) found = line.substr(at + begin.size());
  });
  return end.empty() ? found : found.substr(0, std::min(found.find(end), found.size()));
}

// What ssh says to people.
std::string said_in(std::string_view log) {
  std::string text;
  for_each_line(log, [&](std::string_view line) {
    if (line.empty() || line.starts_with("debug") || line.starts_with('@')) return;
    text += std::string(line) + "\n";
  });
  return text;
}

std::string keys_offered(std::string_view log) {
  std::string keys;
  for_each_line(log, [&](std::string_view line) {
    constexpr std::string_view mark = "Offering public key: ";
    const auto at = line.find(mark);
    if (!line.starts_with(debug_mark) || at == std::string_view::npos) return;
    std::string_view key = line.substr(at + mark.size());
    // "/root/.ssh/id_rsa RSA SHA256:... explicit"
    if (const auto print = key.find(" SHA256:"); print != std::string_view::npos) {
      key = key.substr(0, key.rfind(' ', print - 1));
    }
    keys += (keys.empty() ? "" : ", ") + std::string(key);
  });
  return keys.empty() ? "no key at all" : keys;
}

[[noreturn]] void throw_host_key(const SshHost& host, std::string_view text, std::string_view log) {
  const std::string shown(rest_after(log, "debug1: Server host key: "));
  std::string cause = "its host key " + shown + " is not known; compare it with the host's own and run \"" +
                      ssh_by_hand(host) + "\" once, or use --accept-new-host-keys";
  if (holds(text, "REVOKED HOST KEY")) {
    cause = "it shows the host key " + shown + ", which is revoked";
  } else if (holds(text, "IDENTIFICATION HAS CHANGED")) {
    cause = "its host key has changed: it shows " + shown + ", on record is the " +
            std::string(rest_after(text, "Offending ")) +
            "; either the host was installed anew (then replace the key on record) or somebody else answers";
  } else if (holds(text, "host key is not permitted") || shown.empty()) {
    cause = said_in(log);
  }
  throw Error(ErrorCode::host_key, "connect to", host.name, one_line(cause));
}

}  // namespace

std::string ssh_by_hand(const SshHost& host) {
  std::vector<std::string> words{"ssh"};
  if (!host.config_file.empty()) words.insert(words.end(), {"-F", host.config_file});
  if (host.port != 0) words.insert(words.end(), {"-p", std::to_string(host.port)});
  if (!host.host_key_alias.empty()) words.insert(words.end(), {"-o", "HostKeyAlias=" + host.host_key_alias});
  words.push_back(ssh_target(host));
  return quote_argv(words);
}

std::string login_advice(const SshHost& host) {
  std::string advice =
      "put a public key of this side into that user's authorized_keys, or name its private key by IdentityFile in "
      "the ssh configuration";
  if (host.transport != SshTransport::openssh) {
    advice += "; if \"" + ssh_by_hand(host) + "\" logs in without a question, use --ssh=openssh";
  }
  return advice;
}

void throw_login_failure(const SshHost& host, std::string_view log, std::string_view errors) {
  const std::string said = said_in(log);
  const std::string text = std::string(log) + "\n" + std::string(errors);
  // A jump host's ssh, or a proxy command, speaks on standard error; then ours only finds its connection closed.
  const std::string by_proxy = one_line(errors);
  const std::string cause = one_line(by_proxy.empty() ? said : std::string(errors) + "\n" + said);
  const bool log_alone = by_proxy.empty();

  if (holds(text, "Host key verification failed") || holds(text, "REVOKED HOST KEY")) {
    if (!holds(log, "Host key verification failed")) {
      throw Error(ErrorCode::host_key, "connect to", host.name, "on the way there: " + by_proxy);
    }
    throw_host_key(host, text, log);
  }
  if (holds(text, "Too many authentication failures")) {
    throw Error(ErrorCode::authentication, "log in to", host.name,
                std::string(too_many_keys) + "; tried: " + one_line(keys_offered(log)));
  }
  if (holds(text, "Permission denied (") || holds(text, "Permission denied, please try again")) {
    if (!holds(log, "Permission denied (")) {
      throw Error(ErrorCode::authentication, "log in to", host.name, "on the way there: " + by_proxy);
    }
    throw Error(ErrorCode::authentication, "log in to", host.name,
                "as user " + one_line(rest_after(log, " as '", "'")) + ": permission denied; tried: " +
                    one_line(keys_offered(log)) + "; " + login_advice(host));
  }
  if (holds(text, "Unable to negotiate with")) {
    throw Error(ErrorCode::unsupported, "connect to", host.name, cause);
  }
  if (holds(text, "Bad configuration option") || holds(text, "bad configuration options") ||
      holds(text, "Bad SSH2 ") || holds(text, "Bad owner or permissions on")) {
    throw Error(ErrorCode::usage, "connect to", host.name, cause);
  }
  constexpr std::array<std::string_view, 4> dropped{"kex_exchange_identification: ",
                                                    "ssh_exchange_identification: ", "Connection closed by ",
                                                    "Connection reset by "};
  const bool login_began = holds(log, "SSH2_MSG_SERVICE_ACCEPT received");
  for (const std::string_view sign : dropped) {
    if (!login_began && log_alone && holds(said, sign)) throw DroppedLogin(host.name, cause);
  }
  throw Error(ErrorCode::unreachable, "connect to", host.name,
              cause.empty() ? "ssh ended without saying why" : cause, true);
}

}  // namespace crossover
