#include "ssh/ssh_session.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <optional>
#include <string_view>

#include "crossover/error.hpp"
#include "ssh/duplex_process.hpp"
#include "ssh/login_failure.hpp"
#include "ssh/ssh_agent.hpp"
#include "ssh/tcp_connect.hpp"

namespace crossover {
namespace {

void initialise_libssh() {
  // ssh_init() counts its calls under a lock of its own; once is enough and it stays for the process's life,
  // because sessions of any thread use it.
  static const int result = ssh_init();
  if (result != SSH_OK) throw Error(ErrorCode::io, "initialise", "libssh", "it failed");
}

int family_of(const std::string& name) {
  if (name == "inet") return AF_INET;
  if (name == "inet6") return AF_INET6;
  return AF_UNSPEC;
}

}  // namespace

void SshSession::FreeSession::operator()(ssh_session session) const noexcept {
  ssh_disconnect(session);
  ssh_free(session);
}

SshSession::SshSession(const SshRoute& route, const StopEvent& stop, Deadline deadline) : route_(route) {
  stop.check();
  initialise_libssh();
  session_.reset(ssh_new());
  if (!session_) throw std::bad_alloc();
  ssh_set_blocking(get(), 0);
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
  throw Error(ErrorCode::usage, "connect to", route_.host.name, std::string("libssh does not take ") + what);
}

void SshSession::configure() {
  const SshConfig& config = route_.config;
  const int no = 0;
  // `ssh -G` was asked; libssh reads the configuration otherwise than OpenSSH does.
  set(SSH_OPTIONS_PROCESS_CONFIG, &no, "its own options");
  // The name means nothing to libssh, which has rules for what names may look like: the socket is ours.
  set(SSH_OPTIONS_HOST, "localhost", "its own options");
  const int silent = SSH_LOG_NOLOG;
  set(SSH_OPTIONS_LOG_VERBOSITY, &silent, "its own options");
  // libssh is not to look for host keys in files of its own.
  set(SSH_OPTIONS_KNOWNHOSTS, "/dev/null", "its own options");
  set(SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null", "its own options");

  set(SSH_OPTIONS_USER, config.user.c_str(), "this user name");
  set(SSH_OPTIONS_CIPHERS_C_S, route_.ciphers.c_str(), "any of these ciphers");
  set(SSH_OPTIONS_CIPHERS_S_C, route_.ciphers.c_str(), "any of these ciphers");
  const auto set_list = [&](ssh_options_e option, const std::string& list, const char* what) {
    if (!list.empty()) set(option, list.c_str(), what);
  };
  set_list(SSH_OPTIONS_HMAC_C_S, config.macs, "any of the configured MACs");
  set_list(SSH_OPTIONS_HMAC_S_C, config.macs, "any of the configured MACs");
  set_list(SSH_OPTIONS_KEY_EXCHANGE, config.key_exchanges, "any of the configured KexAlgorithms");
  set_list(SSH_OPTIONS_PUBLICKEY_ACCEPTED_TYPES, config.public_key_algorithms,
           "any of the configured PubkeyAcceptedAlgorithms");
  // Its default is 2048, OpenSSH's 1024; it takes nothing below 768.
  const int bits = static_cast<int>(std::max(config.rsa_bits, 768U));
  set(SSH_OPTIONS_RSA_MIN_SIZE, &bits, "the configured RequiredRSASize");
}

void SshSession::connect(const StopEvent& stop, Deadline deadline) {
  const SshConfig& config = route_.config;
  const KnownHosts known = host_keys_on_record(route_.host, config).keys;
  // The host is to be asked for the keys that are known.
  if (const std::string algorithms = known.algorithms(config.host_key_algorithms); !algorithms.empty()) {
    set(SSH_OPTIONS_HOSTKEYS, algorithms.c_str(), "any of the configured HostKeyAlgorithms");
  }

  UniqueFd socket = tcp_connect(route_.host.name, config.hostname, config.port, family_of(config.address_family),
                                route_.host.keepalive, stop, deadline);
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
    const std::string cause = one_line(ssh_get_error(get()));
    if (cause.find("no match for method") != std::string::npos) {
      throw Error(ErrorCode::unsupported, "connect to", route_.host.name, cause);
    }
    throw DroppedLogin(route_.host.name, cause);
  }
  verify_host_key(known);
}

void SshSession::verify_host_key(const KnownHosts& known) {
  ssh_key shown = nullptr;
  if (ssh_get_server_publickey(get(), &shown) != SSH_OK) throw_broken("read the host key of");
  const SshKey key(shown);
  const auto fail = [&](const std::string& cause) {
    throw Error(ErrorCode::host_key, "connect to", route_.host.name, cause);
  };
  switch (known.judge(key.get())) {
    case KnownHosts::Verdict::known:
      return;
    case KnownHosts::Verdict::unknown:
      if (route_.accepts_new_host_keys() && !route_.config.user_known_hosts.empty()) {
        return known.remember(key.get(), route_.config.user_known_hosts.front());
      }
      return fail("its host key " + describe_key(key.get()) +
                  " is not known; compare it with the host's own and run \"" + ssh_by_hand(route_.host) +
                  "\" once, or use --accept-new-host-keys");
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
  const auto refuse = [&](const std::string& why) {
    std::string keys = tried.empty() ? "no key at all" : tried;
    for (const std::string& key : route_.keys.passed_over) keys += ", not " + key;
    throw Error(ErrorCode::authentication, "log in to", route_.host.name,
                "as user " + route_.config.user + ": " + why + "; tried: " + one_line(keys) + "; " +
                    login_advice(route_.host));
  };
  const auto succeeded = [&](const std::function<int()>& attempt) {
    const int result = drive(attempt, SSH_AUTH_AGAIN, stop, deadline);
    partial = partial || result == SSH_AUTH_PARTIAL;
    if (result == SSH_AUTH_SUCCESS) return true;
    if (broken()) {
      // A server that has seen enough wrong keys hangs up.
      const std::string_view cause = ssh_get_error(get());
      if (cause.find("Too many authentication failures") != std::string_view::npos) {
        refuse(std::string(too_many_keys));
      }
      throw_broken("log in to");
    }
    return false;
  };

  if (succeeded([&] { return ssh_userauth_none(get(), nullptr); })) return;
  if ((ssh_userauth_list(get(), nullptr) & SSH_AUTH_METHOD_PUBLICKEY) == 0) refuse("it takes no public keys");

  std::optional<OneKeyAgent> agent;
  const auto with_agent = [&](const LoginKey& key) {
    if (!agent) {
      agent.emplace(route_.agent, stop, deadline);
      UniqueFd client = agent->take_client();
      if (ssh_set_agent_socket(get(), client.get()) != SSH_OK) throw std::bad_alloc();
      client.release();
    }
    agent->offer({.blob = key.blob, .comment = key.name});
    return succeeded([&] { return ssh_userauth_agent(get(), nullptr); });
  };
  for (const LoginKey& key : route_.keys.offered) {
    tried += (tried.empty() ? "" : ", ") + key.name;
    if (key.file.empty()) {
      if (with_agent(key)) return;
      continue;
    }
    const SshKey loaded = load_login_key(key);
    if (!loaded) {
      tried += " (it cannot be read any more)";
    } else if (succeeded([&] { return ssh_userauth_publickey(get(), nullptr, loaded.get()); })) {
      return;
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
    throw Error(ErrorCode::io, "wait for", route_.host.name, std::strerror(errno));
  }
  stop.check();
}

int SshSession::drive(const std::function<int()>& call, int again, const StopEvent& stop, Deadline deadline) {
  for (;;) {
    const int result = call();
    if (result != again) return result;
    if (broken()) return -1;  // libssh goes on waiting for an answer
    if (deadline.passed()) {
      throw Error(ErrorCode::unreachable, "connect to", route_.host.name, "the ssh server did not answer in time",
                  true);
    }
    wait(stop, deadline);
  }
}

void SshSession::throw_broken(const std::string& operation) const {
  const std::string cause = one_line(ssh_get_error(get()));
  throw Error(ErrorCode::unreachable, operation, route_.host.name, cause.empty() ? "the connection broke" : cause,
              true);
}

}  // namespace crossover
