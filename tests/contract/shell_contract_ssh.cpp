// What only a shell behind ssh promises.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <atomic>
#include <fstream>
#include <future>
#include <sstream>
#include <tuple>
#include <utility>

#include "contract/shell_contract.hpp"
#include "ssh/tcp_connect.hpp"
#include "ssh/unique_fd.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

std::string contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// "ssh-ed25519 AAAA..." of one of the server folder's public keys.
std::string public_key(const std::string& name) {
  const std::string line = contents(SshServer::file(name + ".pub"));
  return line.substr(0, line.find(' ', line.find(' ') + 1));
}

std::string key_name() {
  return "[127.0.0.1]:" + std::to_string(SshServer::port());
}

// A file in the server's folder, which is removed with it.
std::string write_file(const std::string& name, const std::string& text) {
  const std::string path = SshServer::file(name);
  std::ofstream(path) << text;
  return path;
}

std::string fingerprint(const std::string& name) {
  const std::string text =
      LocalShell().run({"ssh-keygen", "-lf", SshServer::file(name + ".pub")}, "", ample, {}).output;
  const auto begin = text.find("SHA256:");
  return text.substr(begin, text.find_first_of(" \n", begin) - begin);
}

// Logs in, runs something, and returns which connection it was.
std::string connection(Shell& shell) {
  const auto result = shell.run({"printenv", "SSH_CONNECTION"}, "", ample, {});
  CHECK(result.exit_status == 0);
  return result.output;
}

std::string failure(const SshHost& host, ErrorCode code, bool retryable = false) {
  SshShell shell(host);
  try {
    shell.run({"true"}, "", ample, {});
  } catch (const Error& error) {
    CHECK(error.code() == code);
    CHECK(error.retryable() == retryable);
    CHECK(error.subject().find(host.name) != std::string::npos);
    return error.what();
  }
  FAIL("no error");
  return {};
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct Listener {
  Listener() : fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(fd.get(), 8) == 0);
    socklen_t size = sizeof address;
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
  }
  UniqueFd fd;
  unsigned port;
};

}  // namespace

TEST_CASE("ssh: a host key that is not known is refused, with what to do") {
  SshHost host = SshServer::host();
  host.known_hosts = {write_file("empty", "")};
  const std::string text = failure(host, ErrorCode::host_key);
  CHECK(has(text, "127.0.0.1"));
  CHECK(has(text, "not known"));
  CHECK(has(text, "ssh-ed25519 " + fingerprint("ssh_host_ed25519_key")));
  CHECK(has(text, "\"ssh -F none -p " + std::to_string(host.port) + " root@127.0.0.1\""));
  CHECK(has(text, "--accept-new-host-keys"));
}

TEST_CASE("ssh: a host key that has changed is refused, with both keys") {
  SshHost host = SshServer::host();
  host.known_hosts = {write_file("changed", key_name() + " " + public_key("other_key") + "\n")};
  for (const bool accept : {false, true}) {
    host.accept_new_host_keys = accept;
    const std::string text = failure(host, ErrorCode::host_key);
    CHECK(has(text, "changed"));
    CHECK(has(text, fingerprint("ssh_host_ed25519_key")));
    CHECK(has(text, fingerprint("other_key")));
    CHECK(has(text, host.known_hosts.front() + " line 1"));
  }
}

TEST_CASE("ssh: a new host key is accepted and kept when asked for") {
  SshHost host = SshServer::host();
  host.known_hosts = {write_file("new", "# no newline at the end"), SshServer::file("no-such-file")};
  host.accept_new_host_keys = true;
  SshShell first(host);
  connection(first);
  CHECK(contents(host.known_hosts.front()) ==
        "# no newline at the end\n" + key_name() + " " + public_key("ssh_host_ed25519_key") + "\n");
  host.accept_new_host_keys = false;
  SshShell second(host);
  connection(second);
}

TEST_CASE("ssh: the host is asked for the kind of key that is on record") {
  for (const std::string type : {"ed25519", "ecdsa", "rsa"}) {
    SshHost host = SshServer::host();
    host.known_hosts = {
        write_file("only-" + type, key_name() + " " + public_key("ssh_host_" + type + "_key") + "\n")};
    SshShell shell(host);
    connection(shell);
  }
}

TEST_CASE("ssh: known-hosts files: hashed names, plain names, several files, revoked keys, exceptions") {
  SshHost host = SshServer::host();
  const std::string key = public_key("ssh_host_ed25519_key");

  const std::string hashed = write_file("hashed", key_name() + " " + key + "\n");
  REQUIRE(LocalShell().run({"ssh-keygen", "-H", "-f", hashed}, "", ample, {}).exit_status == 0);
  REQUIRE(contents(hashed).starts_with("|1|"));
  const std::string plain = write_file("plain", "other,127.0.0.*\t" + key + "\n");
  const std::string empty = write_file("empty", "");
  for (const std::vector<std::string>& files :
       {std::vector<std::string>{hashed}, {plain}, {empty, plain}, {SshServer::file("missing"), hashed}}) {
    host.known_hosts = files;
    SshShell shell(host);
    connection(shell);
  }
  host.known_hosts = {write_file("revoked", "127.0.0.1 " + key + "\n@revoked * " + key + "\n")};
  CHECK(has(failure(host, ErrorCode::host_key), "revoked"));
  host.known_hosts = {write_file("exception", "*,!127.0.0.1,!" + key_name() + " " + key + "\n")};
  CHECK(has(failure(host, ErrorCode::host_key), "not known"));
  host.known_hosts = {write_file("authority", "@cert-authority * " + key + "\n")};
  CHECK(has(failure(host, ErrorCode::host_key), "not known"));
}

TEST_CASE("ssh: known-hosts lines given for a host decide alone") {
  SshHost host = SshServer::host();
  host.name = host.host_key_alias = "pve04";
  host.address = "127.0.0.1";
  const std::string right = "pve04 " + public_key("ssh_host_rsa_key") + "\n";
  const std::string wrong = "pve04 " + public_key("other_key") + "\n";

  host.known_hosts = {write_file("empty", "")};
  host.known_hosts_text = right;
  SshShell shell(host);
  connection(shell);
  CHECK(shell.host() == "pve04");

  host.known_hosts_text = wrong;
  CHECK(has(failure(host, ErrorCode::host_key), "given for pve04 line 1"));
  host.known_hosts = {write_file("right", right)};
  CHECK(has(failure(host, ErrorCode::host_key), "changed"));

  // Lines for other names leave it to the files.
  host.known_hosts_text = "pve05 " + public_key("other_key") + "\n";
  SshShell other(host);
  connection(other);
  host.known_hosts = {write_file("empty", "")};
  CHECK(has(failure(host, ErrorCode::host_key), "not known"));
}

TEST_CASE("ssh: keys the host refuses are named") {
  SshHost host = SshServer::host();
  host.identities = {SshServer::file("other_key"), SshServer::file("no-such-key")};
  const std::string text = failure(host, ErrorCode::authentication);
  CHECK(has(text, "user root"));
  CHECK(has(text, "127.0.0.1"));
  CHECK(has(text, host.identities[0]));
  CHECK(has(text, host.identities[1] + " (No such file or directory)"));
  CHECK(has(text, "authorized_keys"));

  // The next one is tried.
  host.identities = {SshServer::file("other_key"), SshServer::file("user_key")};
  SshShell shell(host);
  connection(shell);
}

TEST_CASE("ssh: a key with a passphrase is passed over without a question") {
  const std::string locked = SshServer::file("locked_key");
  REQUIRE(LocalShell()
              .run({"ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", "secret", "-f", locked}, "", ample, {})
              .exit_status == 0);
  SshHost host = SshServer::host();
  host.identities = {locked};
  CHECK(has(failure(host, ErrorCode::authentication), "passphrase"));
}

TEST_CASE("ssh: the agent's keys log in") {
  LocalShell local;
  const std::string socket = SshServer::file("agent");
  const auto agent = local.start({"ssh-agent", "-D", "-a", socket}, {});
  REQUIRE(read_until(*agent, ";").find("SSH_AUTH_SOCK") == 0);
  ::setenv("SSH_AUTH_SOCK", socket.c_str(), 1);
  REQUIRE(local.run({"ssh-add", SshServer::file("user_key")}, "", ample, {}).exit_status == 0);
  SshHost host = SshServer::host();
  host.identities = {SshServer::file("other_key")};
  {
    SshShell shell(host);
    connection(shell);
  }
  host.identities = {};
  SshShell shell(host);
  connection(shell);
  ::unsetenv("SSH_AUTH_SOCK");
}

TEST_CASE("ssh: an alias of the ssh configuration is followed") {
  const std::string config = write_file(
      "config", "LogLevel DEBUG3\nHost backup\n  HostName 127.0.0.1\n  Port " + std::to_string(SshServer::port()) +
                    "\n  User root\n  IdentityFile " + SshServer::file("user_key") + "\n  UserKnownHostsFile " +
                    SshServer::file("known_hosts") + "\nHost jump\n  ProxyJump backup\n");
  SshHost host;
  host.name = "backup";
  host.port = 0;
  host.user = "";
  host.config_file = config;
  SshShell shell(host);
  connection(shell);

  host.transport = SshTransport::libssh;
  host.name = "jump";
  CHECK(has(failure(host, ErrorCode::unsupported), "ProxyJump"));
}

TEST_CASE("ssh: ciphers can be chosen, and must exist") {
  SshHost host = SshServer::host();
  for (const char* cipher :
       {"aes256-ctr", "chacha20-poly1305@openssh.com", "no-such-cipher,aes128-gcm@openssh.com"}) {
    host.ciphers = cipher;
    SshShell shell(host);
    connection(shell);
  }
  host.ciphers = "no-such-cipher";
  failure(host, ErrorCode::usage);
  host.ciphers = "3des-cbc";
  CHECK(has(failure(host, ErrorCode::unsupported), "3des-cbc"));
}

TEST_CASE("ssh: a closed port, a name nobody has and a server that says nothing are unreachable") {
  SshHost host = SshServer::host();
  {
    Listener listener;
    host.port = listener.port;
  }
  CHECK(has(failure(host, ErrorCode::unreachable, true), "refused"));

  host.name = "no-such-host.invalid";
  host.connect_timeout = 3s;
  CHECK(has(failure(host, ErrorCode::unreachable, true), "no-such-host.invalid"));

  const Listener silent;
  host = SshServer::host();
  host.known_hosts_text = "127.0.0.1 " + public_key("other_key") + "\n";
  host.port = silent.port;
  host.connect_timeout = 200ms;
  CHECK(has(failure(host, ErrorCode::unreachable, true), "did not answer in time"));
}

TEST_CASE("ssh: cancelling wakes up a login") {
  const Listener silent;
  SshHost host = SshServer::host();
  host.port = silent.port;
  SshShell shell(host);
  std::stop_source source;
  auto start = std::async(std::launch::async,
                          [&] { CHECK_THROWS_AS(shell.start({"true"}, source.get_token()), Cancelled); });
  const UniqueFd accepted(::accept(silent.fd.get(), nullptr, nullptr));  // it is connected now
  source.request_stop();
  CHECK(start.wait_for(20s) == std::future_status::ready);
}

namespace {

/// Takes connections for the server that with-sshd has started, and hangs up on the first so many of them.
class Front {
 public:
  explicit Front(int drops) : drops_(drops), thread_([this](const std::stop_token& stop) { accept_all(stop); }) {}

  [[nodiscard]] unsigned port() const { return listener_.port; }
  [[nodiscard]] int taken() const { return taken_; }

 private:
  void accept_all(const std::stop_token& stop) {
    const StopEvent stopped(stop);
    std::vector<std::jthread> forwarding;
    for (;;) {
      std::array<pollfd, 2> fds{{{.fd = listener_.fd.get(), .events = POLLIN, .revents = 0},
                                 {.fd = stopped.fd(), .events = POLLIN, .revents = 0}}};
      ::poll(fds.data(), fds.size(), -1);
      if (stop.stop_requested()) return;
      UniqueFd client(::accept4(listener_.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (++taken_ <= drops_) continue;
      forwarding.emplace_back([client = std::move(client)](const std::stop_token& end) { forward(client, end); });
    }
  }

  static void forward(const UniqueFd& client, const std::stop_token& stop) {
    const StopEvent stopped(stop);
    const UniqueFd server = tcp_connect("server", "127.0.0.1", SshServer::port(), AF_INET, std::chrono::seconds(15),
                                        stopped, Deadline::after(ample));
    std::array<char, 65536> buffer;
    for (;;) {
      std::array<pollfd, 3> fds{{{.fd = client.get(), .events = POLLIN, .revents = 0},
                                 {.fd = server.get(), .events = POLLIN, .revents = 0},
                                 {.fd = stopped.fd(), .events = POLLIN, .revents = 0}}};
      ::poll(fds.data(), fds.size(), -1);
      if (fds[2].revents != 0) return;
      for (const auto& [from, to, ready] : {std::tuple(client.get(), server.get(), fds[0].revents),
                                            std::tuple(server.get(), client.get(), fds[1].revents)}) {
        if (ready == 0) continue;
        const ssize_t count = ::recv(from, buffer.data(), buffer.size(), 0);
        if (count <= 0 || ::send(to, buffer.data(), static_cast<std::size_t>(count), MSG_NOSIGNAL) != count) return;
      }
    }
  }

  Listener listener_;
  int drops_;
  std::atomic<int> taken_ = 0;
  std::jthread thread_;
};

}  // namespace

TEST_CASE("ssh: a server that has too many logins at once is asked again") {
  for (const SshTransport transport : {SshTransport::libssh, SshTransport::openssh}) {
    SshHost host = SshServer::host();
    host.transport = transport;
    host.host_key_alias = "front";
    host.known_hosts_text = "front " + public_key("ssh_host_ed25519_key") + "\n";
    {
      const Front front(2);
      host.port = front.port();
      SshShell shell(host);
      connection(shell);
      CHECK(front.taken() == 3);
    }
    const Front front(1000);
    host.port = front.port();
    failure(host, ErrorCode::unreachable, true);
    CHECK(front.taken() == 5);
  }
}

TEST_CASE("ssh: the login shell may be tcsh or fish") {
  for (const std::string shell : {"tcsh", "fish"}) {
    if (LocalShell().run({shell, "-c", "true"}, "", ample, {}).exit_status != 0) {
      REQUIRE_MESSAGE(std::getenv("CROSSOVER_TESTS_COMPLETE") == nullptr, shell, " is missing");
      continue;
    }
    for (const SshTransport transport : {SshTransport::libssh, SshTransport::openssh}) {
      SshHost host = SshServer::host();
      host.identities = {SshServer::file(shell + "_key")};
      host.transport = transport;
      SshShell there(host);
      const std::string script = "print \"@ARGV!\\n\", <STDIN>;\nexit 5";
      const auto result = there.run({"perl", "-e", script, "--", "$x", "it's", "a\nb"}, "input", ample, {});
      CHECK(result.output == "$x it's a\nb!\ninput");
      CHECK(result.exit_status == 5);
      CHECK(there.run({"no-such-command"}, "", ample, {}).exit_status == 127);
      CHECK(there.run({"printf", "%s", "plain"}, "", ample, {}).output == "plain");
    }
  }
}

TEST_CASE("ssh: a connection is used again") {
  const auto shell = SshServer::make();
  const std::string first = connection(*shell);
  CHECK(connection(*shell) == first);
  CHECK(shell->run({"sh", "-c", "exit 9"}, "unread input", ample, {}).exit_status == 9);
  CHECK(connection(*shell) == first);
}

TEST_CASE("ssh: a connection that died while idle is replaced") {
  const auto shell = SshServer::make();
  const auto result = shell->run({"sh", "-c", "echo $PPID; echo $SSH_CONNECTION"}, "", ample, {});
  const pid_t server = std::stoi(result.output);
  REQUIRE(server > 1);
  REQUIRE(::kill(server, SIGKILL) == 0);
  REQUIRE(gone_within(server, 20s));
  const std::string second = connection(*shell);
  CHECK_FALSE(second.empty());
  CHECK_FALSE(result.output.ends_with(second));
}

TEST_CASE("ssh: a server killed in the middle is unreachable, for reads, writes and run()") {
  const auto shell = SshServer::make();
  const auto begin = [&] {
    auto process = shell->start({"sh", "-c", "echo $PPID; exec sleep 60"}, {});
    const pid_t server = std::stoi(read_until(*process, "\n"));
    REQUIRE(server > 1);
    return std::pair(std::move(process), server);
  };
  const auto check = [](const Error& error) {
    CHECK(error.code() == ErrorCode::unreachable);
    CHECK(error.retryable());
  };
  {
    auto [process, server] = begin();
    ::kill(server, SIGKILL);
    try {
      const std::string chunk(1 << 20, 'x');
      for (;;) process->write(bytes_of(chunk));
    } catch (const Error& error) {
      check(error);
    }
    CHECK(code_of([&p = *process] { p.wait(); }) == ErrorCode::unreachable);
  }
  {
    auto [process, server] = begin();
    auto read = std::async(std::launch::async, [&p = *process] {
      std::array<std::byte, 16> buffer;
      return code_of([&] { p.read(buffer); });
    });
    ::kill(server, SIGKILL);
    CHECK(read.get() == ErrorCode::unreachable);
  }
  CHECK(code_of([&] {
          shell->run({"sh", "-c", "kill -9 $PPID; sleep 60"}, "", ample, {});
        }) == ErrorCode::unreachable);
  CHECK_FALSE(connection(*shell).empty());
}

TEST_CASE("ssh: no more than max_sessions connections at once") {
  SshHost host = SshServer::host();
  host.max_sessions = 2;
  SshShell shell(host);
  auto first = shell.start({"cat"}, {});
  auto second = shell.start({"cat"}, {});
  CHECK(code_of([&] { shell.run({"true"}, "", 100ms, {}); }) == ErrorCode::timeout);

  std::stop_source source;
  std::atomic<bool> waiting = false;
  auto cancelled = std::async(std::launch::async, [&] {
    waiting = true;
    CHECK_THROWS_AS(shell.start({"true"}, source.get_token()), Cancelled);
  });
  while (!waiting) std::this_thread::yield();
  source.request_stop();
  CHECK(cancelled.wait_for(20s) == std::future_status::ready);

  auto third = std::async(std::launch::async, [&] { return shell.run({"echo", "third"}, "", ample, {}).output; });
  CHECK(first->wait().exit_status == 0);
  CHECK(third.get() == "third\n");
  second.reset();  // its place is free again, too
  auto fourth = shell.start({"cat"}, {});
  auto fifth = shell.start({"cat"}, {});
  CHECK(fourth->wait().exit_status == 0);
  CHECK(fifth->wait().exit_status == 0);
}

TEST_CASE("ssh: a process outlives its shell") {
  std::unique_ptr<Process> process;
  {
    const auto shell = SshServer::make();
    process = shell->start({"cat"}, {});
  }
  process->write(bytes_of("still here"));
  CHECK(process->wait().output == "still here");
}

// Not a promise but a measurement, run by hand: with-sshd test-shell-contract -ns -tc="ssh: throughput*"
TEST_CASE("ssh: throughput of bulk writes and reads" * doctest::skip()) {
  constexpr std::size_t total = std::size_t{1} << 30;
  const std::string data = random_bytes(std::size_t{1} << 20, 1);
  const auto seconds = [](auto&& call) {
    const auto begin = std::chrono::steady_clock::now();
    call();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const auto report = [&](const char* what, double time) {
    MESSAGE(std::string(what), ": ", total / time / 1e6, " MB/s");
  };
  const auto write = [&](Shell& shell, const std::vector<std::string>& argv) {
    const auto process = shell.start(argv, {});
    for (std::size_t at = 0; at < total; at += data.size()) process->write(bytes_of(data));
    CHECK(process->wait().exit_status == 0);
  };
  const auto read = [&](Shell& shell, const std::vector<std::string>& argv) {
    const auto process = shell.start(argv, {});
    std::vector<std::byte> buffer(std::size_t{1} << 20);
    std::size_t count = 0;
    while (const std::size_t some = process->read(buffer)) count += some;
    CHECK(count == total);
    CHECK(process->wait().exit_status == 0);
  };
  const std::string drain = "exec cat >/dev/null";
  const std::string fill = "exec head -c " + std::to_string(total) + " /dev/zero";
  const auto openssh = [](const std::string& command) {
    return std::vector<std::string>{"ssh",
                                    "-F",
                                    "/dev/null",
                                    "-i",
                                    SshServer::file("user_key"),
                                    "-o",
                                    "UserKnownHostsFile=" + SshServer::file("known_hosts"),
                                    "-c",
                                    "aes128-gcm@openssh.com",
                                    "-p",
                                    std::to_string(SshServer::port()),
                                    "root@127.0.0.1",
                                    command};
  };
  const auto ours = SshServer::make();
  LocalShell local;
  for (int round = 0; round < 3; ++round) {
    report("libssh  write", seconds([&] { write(*ours, {"sh", "-c", drain}); }));
    report("openssh write", seconds([&] { write(local, openssh(drain)); }));
    report("libssh  read ", seconds([&] { read(*ours, {"sh", "-c", fill}); }));
    report("openssh read ", seconds([&] { read(local, openssh(fill)); }));
  }
}
