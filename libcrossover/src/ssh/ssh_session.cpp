#include "ssh/ssh_session.hpp"

#include <poll.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "ssh/duplex_process.hpp"
#include "ssh/known_hosts.hpp"
#include "ssh/tcp_connect.hpp"

namespace crossover {
namespace {

void initialise_libssh() {
  // ssh_init() counts its calls under a lock of its own; once is enough and it stays for the process's life,
  // because sessions of any thread use it.
  static const int result = ssh_init();
  if (result != SSH_OK) throw Error(ErrorCode::io, "initialise", "libssh", "it failed");
}

bool cpu_has_aes() {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_cpu_supports("aes") != 0;
#elif defined(__ARM_FEATURE_AES) || defined(__ARM_FEATURE_CRYPTO)
  return true;
#else
  return false;
#endif
}

std::string default_ciphers() {
  const std::string gcm = "aes128-gcm@openssh.com,aes256-gcm@openssh.com";
  const std::string chacha = "chacha20-poly1305@openssh.com";
  return (cpu_has_aes() ? gcm + "," + chacha : chacha + "," + gcm) + ",aes128-ctr,aes256-ctr";
}

std::string home_folder() {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    return found->pw_dir;
  }
  return "/";
}

// "~/x" and "%d/x" as ssh configurations have them.
std::string expand(const std::string& path) {
  if (path.starts_with("~/")) return home_folder() + path.substr(1);
  if (path.starts_with("%d/")) return home_folder() + "/.ssh" + path.substr(2);
  return path;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// Refuses: nobody is there to type a passphrase, and without a callback OpenSSL would ask the terminal itself.
int no_passphrase(const char*, char*, std::size_t, int, int, void*) {
  return -1;
}

}  // namespace

void SshSession::FreeSession::operator()(ssh_session session) const noexcept {
  ssh_disconnect(session);
  ssh_free(session);
}

SshSession::SshSession(const SshHost& host, const StopEvent& stop, Deadline deadline) : host_(host) {
  stop.check();
  initialise_libssh();
  session_.reset(ssh_new());
  if (!session_) throw std::bad_alloc();
  ssh_set_blocking(get(), 0);
  deadline = deadline.sooner(Deadline::after(host_.connect_timeout));
  configure();
  connect(stop, deadline);
  authenticate(stop, deadline);

  ssh_set_counters(get(), &traffic_, nullptr);
  event_.reset(ssh_event_new());
  if (!event_ || ssh_event_add_session(event_.get(), get()) != SSH_OK) throw_broken("log in to");
}

SshSession::~SshSession() = default;

void SshSession::set(ssh_options_e option, const void* value, const char* what) {
  if (ssh_options_set(get(), option, value) == 0) return;
  throw Error(ErrorCode::usage, "connect to", host_.name, std::string("libssh does not take ") + what);
}

std::string SshSession::get_option(ssh_options_e option) const {
  char* value = nullptr;
  if (ssh_options_get(get(), option, &value) != SSH_OK || value == nullptr) return {};
  std::string text = value;
  ssh_string_free_char(value);
  return text;
}

void SshSession::configure() {
  const std::string ciphers = default_ciphers();
  set(SSH_OPTIONS_CIPHERS_C_S, ciphers.c_str(), "the default ciphers");
  set(SSH_OPTIONS_CIPHERS_S_C, ciphers.c_str(), "the default ciphers");
  // Without a configuration the name means nothing to libssh, which has rules for what names may look like.
  set(SSH_OPTIONS_HOST, host_.use_config ? host_.name.c_str() : "localhost", "this host name");
  const int no = 0;
  set(SSH_OPTIONS_PROCESS_CONFIG, &no, "its own options");
  if (host_.use_config) {
    std::vector<const char*> files;
    for (const std::string& file : host_.config_files) files.push_back(file.c_str());
    if (files.empty()) files.push_back(nullptr);  // libssh's defaults
    for (const char* file : files) {
      if (ssh_options_parse_config(get(), file) != 0) {
        throw Error(ErrorCode::usage, "read the ssh configuration for", host_.name, ssh_get_error(get()));
      }
    }
  }
  // A LogLevel in the configuration would make libssh write to the program's standard error.
  const int silent = SSH_LOG_NOLOG;
  set(SSH_OPTIONS_LOG_VERBOSITY, &silent, "its own options");

  if (!host_.user.empty()) set(SSH_OPTIONS_USER, host_.user.c_str(), "this user name");
  if (!host_.ciphers.empty()) {
    set(SSH_OPTIONS_CIPHERS_C_S, host_.ciphers.c_str(), "any of these ciphers");
    set(SSH_OPTIONS_CIPHERS_S_C, host_.ciphers.c_str(), "any of these ciphers");
  }
  if (host_.user.empty()) {
    host_.user = get_option(SSH_OPTIONS_USER);
    if (host_.user.empty()) {
      set(SSH_OPTIONS_USER, nullptr, "the local user's name");
      host_.user = get_option(SSH_OPTIONS_USER);
    }
  }
  if (host_.port == 0) {
    unsigned port = 0;
    ssh_options_get_port(get(), &port);
    host_.port = port == 0 ? 22 : port;
  }
  if (host_.port > 65535) throw Error(ErrorCode::usage, "connect to", host_.name, "there is no such port");
}

void SshSession::connect(const StopEvent& stop, Deadline deadline) {
  std::vector<std::string> names{lower(host_.name)};
  if (host_.address.empty() && host_.use_config) {
    if (const std::string proxy = get_option(SSH_OPTIONS_PROXYCOMMAND); !proxy.empty() && proxy != "none") {
      throw Error(ErrorCode::unsupported, "connect to", host_.name,
                  "the ssh configuration asks for a proxy (ProxyCommand or ProxyJump)");
    }
    // The key of a host with an alias is on record under its HostName, as for OpenSSH.
    if (const std::string address = get_option(SSH_OPTIONS_HOST); !address.empty()) {
      host_.address = address;
      if (lower(address) != names.front()) names.insert(names.begin(), lower(address));
    }
  }
  if (host_.address.empty()) host_.address = host_.name;

  std::vector<std::string> files = host_.known_hosts;
  if (files.empty()) {
    const std::string user = get_option(SSH_OPTIONS_KNOWNHOSTS);
    const std::string global = get_option(SSH_OPTIONS_GLOBAL_KNOWNHOSTS);
    files = {user.empty() ? "~/.ssh/known_hosts" : user, global.empty() ? "/etc/ssh/ssh_known_hosts" : global};
  }
  for (std::string& file : files) file = expand(file);

  KnownHosts known(names, host_.port);
  known.add_text(host_.known_hosts_text, "given for " + host_.name);
  if (known.empty()) {
    for (const std::string& file : files) known.add_file(file);
  }
  // libssh is to ask for the keys we know, and not to look for them in files of its own.
  if (const std::string algorithms = known.algorithms(); !algorithms.empty()) {
    set(SSH_OPTIONS_HOSTKEYS, algorithms.c_str(), "the known host keys' algorithms");
  }
  set(SSH_OPTIONS_KNOWNHOSTS, "/dev/null", "its own options");
  set(SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null", "its own options");

  UniqueFd socket = tcp_connect(host_.name, host_.address, host_.port, host_.keepalive, stop, deadline);
  socket_t fd = socket.get();
  set(SSH_OPTIONS_FD, &fd, "a socket");
  const auto connect_step = [&] {
    const int result = ssh_connect(get());
    // Once the first step is through, the socket belongs to the session.
    if (ssh_get_fd(get()) == fd) socket.release();
    return result;
  };
  if (drive(connect_step, SSH_AGAIN, stop, deadline) != SSH_OK) {
    socket.release();  // libssh closes it on a failure too
    const std::string cause = ssh_get_error(get());
    if (cause.find("no match for method") != std::string::npos) {
      throw Error(ErrorCode::unsupported, "connect to", host_.name, cause);
    }
    throw_broken("connect to");
  }
  verify_host_key(known, files.front());
}

void SshSession::verify_host_key(const KnownHosts& known, const std::string& new_keys_file) {
  ssh_key shown = nullptr;
  if (ssh_get_server_publickey(get(), &shown) != SSH_OK) throw_broken("read the host key of");
  const SshKey key(shown);
  const std::string at_port = host_.port == 22 ? "" : "-p " + std::to_string(host_.port) + " ";
  const auto fail = [&](const std::string& cause) {
    throw Error(ErrorCode::host_key, "connect to", host_.name, cause);
  };
  switch (known.judge(key.get())) {
    case KnownHosts::Verdict::known:
      return;
    case KnownHosts::Verdict::unknown:
      if (host_.accept_new_host_keys) return known.remember(key.get(), new_keys_file);
      return fail("its host key " + describe_key(key.get()) +
                  " is not known; compare it with the host's own and run \"ssh " + at_port + host_.user + "@" +
                  host_.name + "\" once, or use --accept-new-host-keys");
    case KnownHosts::Verdict::revoked:
      return fail("it shows the host key " + describe_key(key.get()) + ", which is revoked");
    case KnownHosts::Verdict::changed:
      return fail("its host key has changed: it shows " + describe_key(key.get()) + ", on record is " +
                  known.describe() +
                  "; either the host was installed anew (then replace the key on record) or somebody else answers");
  }
}

void SshSession::authenticate(const StopEvent& stop, Deadline deadline) {
  std::string tried;
  bool partial = false;
  const auto note = [&](const std::string& what) { tried += (tried.empty() ? "" : ", ") + what; };
  const auto succeeded = [&](const std::function<int()>& attempt) {
    const int result = drive(attempt, SSH_AUTH_AGAIN, stop, deadline);
    partial = partial || result == SSH_AUTH_PARTIAL;
    return result == SSH_AUTH_SUCCESS;
  };
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::authentication, "log in to", host_.name,
                "as user " + host_.user + ": " + why + "; tried: " + (tried.empty() ? "no key at all" : tried) +
                    "; put a public key of this side into that user's authorized_keys, or name its private key");
  };
  const auto check = [&] {
    if (!broken()) return;
    // A server that has seen enough wrong keys hangs up.
    const std::string cause = ssh_get_error(get());
    if (cause.find("Too many authentication failures") != std::string::npos)
      refuse("it gave up after too many keys");
    throw_broken("log in to");
  };

  if (succeeded([&] { return ssh_userauth_none(get(), nullptr); })) return;
  check();
  if ((ssh_userauth_list(get(), nullptr) & SSH_AUTH_METHOD_PUBLICKEY) == 0) refuse("it takes no public keys");

  const auto try_file = [&](const std::string& path, bool wanted) {
    if (::access(path.c_str(), F_OK) != 0) {
      if (wanted) note(path + " (" + std::strerror(errno) + ")");
      return false;
    }
    ssh_key imported = nullptr;
    if (ssh_pki_import_privkey_file(path.c_str(), nullptr, no_passphrase, nullptr, &imported) != SSH_OK) {
      note(path + " (unreadable, or it has a passphrase)");
      return false;
    }
    const SshKey key(imported);
    note(path);
    const bool success = succeeded([&] { return ssh_userauth_publickey(get(), nullptr, key.get()); });
    if (!success) check();
    return success;
  };
  const auto try_agent = [&] {
    if (std::getenv("SSH_AUTH_SOCK") == nullptr) return false;
    note("the keys of the ssh agent");
    const bool success = succeeded([&] { return ssh_userauth_agent(get(), nullptr); });
    if (!success) check();
    return success;
  };

  if (!host_.identities.empty()) {
    for (const std::string& path : host_.identities) {
      if (try_file(expand(path), true)) return;
    }
    if (try_agent()) return;
  } else {
    std::vector<std::string> defaults;
    for (const char* type : {"ed25519", "ecdsa", "rsa"}) defaults.push_back(home_folder() + "/.ssh/id_" + type);
    const std::string configured = expand(get_option(SSH_OPTIONS_IDENTITY));
    if (std::find(defaults.begin(), defaults.end(), configured) == defaults.end() && !configured.empty() &&
        try_file(configured, true)) {
      return;
    }
    if (try_agent()) return;
    for (const std::string& path : defaults) {
      if (try_file(path, false)) return;
    }
  }
  refuse(partial ? "it wants more than a key" : "permission denied");
}

bool SshSession::broken() const noexcept {
  return ssh_is_connected(get()) == 0 || (ssh_get_status(get()) & (SSH_CLOSED | SSH_CLOSED_ERROR)) != 0;
}

bool SshSession::process() {
  const auto before = traffic_.in_bytes;
  // It reads at most 4 KiB, so it is called until nothing is left; the limit keeps callers responsive.
  for (int i = 0; i < 64; ++i) {
    const auto seen = traffic_.in_bytes;
    const int result = ssh_event_dopoll(event_.get(), 0);
    if (result == SSH_ERROR || traffic_.in_bytes == seen) break;
  }
  return traffic_.in_bytes != before;
}

void SshSession::wait(const StopEvent& stop, Deadline deadline) {
  const bool sending = (ssh_get_poll_flags(get()) & SSH_WRITE_PENDING) != 0;
  std::array<pollfd, 2> fds{
      {{.fd = ssh_get_fd(get()), .events = static_cast<short>(POLLIN | (sending ? POLLOUT : 0)), .revents = 0},
       {.fd = stop.fd(), .events = POLLIN, .revents = 0}}};
  if (::poll(fds.data(), fds.size(), deadline.poll_timeout()) < 0 && errno != EINTR) {
    throw Error(ErrorCode::io, "wait for", host_.name, std::strerror(errno));
  }
  stop.check();
}

int SshSession::drive(const std::function<int()>& call, int again, const StopEvent& stop, Deadline deadline) {
  for (;;) {
    const int result = call();
    if (result != again) return result;
    if (deadline.passed()) {
      throw Error(ErrorCode::unreachable, "connect to", host_.name, "the ssh server did not answer in time", true);
    }
    wait(stop, deadline);
  }
}

void SshSession::throw_broken(const std::string& operation) const {
  const std::string cause = one_line(ssh_get_error(get()));
  throw Error(ErrorCode::unreachable, operation, host_.name, cause.empty() ? "the connection broke" : cause, true);
}

}  // namespace crossover
