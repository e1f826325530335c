#include "ssh/login_failure.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace crossover;

namespace {

// Of OpenSSH 9.2's own logs, at level DEBUG1.
const std::string connected =
    "debug1: Connecting to 10.1.2.3 [10.1.2.3] port 22.\ndebug1: Connection established.\n"
    "debug1: Authenticating to 10.1.2.3:22 as 'root'\n"
    "debug1: Server host key: ssh-ed25519 SHA256:ggOzOu4bL/kaVAYWX+/sRRMcKiRevsNH8GjNgZ89RZ8\n";
const std::string offered =
    "debug1: SSH2_MSG_SERVICE_ACCEPT received\n"
    "debug1: Offering public key: /root/.ssh/my key ED25519 SHA256:ggOzOu4bL/kaVAYWX+/sRRMcKiRevsNH8GjNgZ89RZ8 "
    "explicit\n"
    "debug1: Offering public key: /root/.ssh/id_rsa RSA SHA256:xyz agent\n";

SshHost node() {
  SshHost host;
  host.name = host.host_key_alias = "pve02";
  host.address = "10.1.2.3";
  return host;
}

struct Failure {
  ErrorCode code;
  bool retryable;
  bool dropped;
  std::string text;
};

Failure failure(const std::string& log, const std::string& errors = {}, const SshHost& host = node()) {
  try {
    throw_login_failure(host, log, errors);
  } catch (const DroppedLogin& error) {
    return {error.code(), error.retryable(), true, error.what()};
  } catch (const Error& error) {
    return {error.code(), error.retryable(), false, error.what()};
  }
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("ssh's log: host keys") {
  const auto unknown = failure(connected + "No ED25519 host key is known for pve02 and you have requested strict "
                                           "checking.\r\nHost key verification failed.\n");
  CHECK(unknown.code == ErrorCode::host_key);
  CHECK_FALSE(unknown.retryable);
  CHECK(holds(unknown.text, "pve02: its host key ssh-ed25519 SHA256:ggOzOu4bL/kaVAYWX+/sRRMcKiRevsNH8GjNgZ89RZ8 is "
                            "not known"));
  CHECK(holds(unknown.text, "\"ssh -o 'HostKeyAlias=pve02' root@10.1.2.3\""));
  CHECK(holds(unknown.text, "--accept-new-host-keys"));

  const auto changed =
      failure(connected + "@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@@\n"
                          "Offending ECDSA key in /root/.ssh/known_hosts:7\nHost key verification failed.\n");
  CHECK(changed.code == ErrorCode::host_key);
  CHECK(holds(changed.text, "it shows ssh-ed25519 SHA256:ggOzOu4bL"));
  CHECK(holds(changed.text, "on record is the ECDSA key in /root/.ssh/known_hosts:7"));

  const auto revoked = failure(connected + "@       WARNING: REVOKED HOST KEY DETECTED!               @\n"
                                           "Host key verification failed.\n");
  CHECK(revoked.code == ErrorCode::host_key);
  CHECK(holds(revoked.text, "revoked"));

  const auto jump = failure("Connection closed by UNKNOWN port 65535\n", "Host key verification failed.\r\n");
  CHECK(jump.code == ErrorCode::host_key);
  CHECK(holds(jump.text, "on the way there: Host key verification failed."));
}

TEST_CASE("ssh's log: keys") {
  const auto denied = failure(connected + offered + "root@10.1.2.3: Permission denied (publickey).\n");
  CHECK(denied.code == ErrorCode::authentication);
  CHECK_FALSE(denied.retryable);
  CHECK(holds(denied.text, "as user root: permission denied; tried: /root/.ssh/my key, /root/.ssh/id_rsa; "));
  CHECK(holds(denied.text, "authorized_keys"));

  const auto many = failure(connected + offered +
                            "Received disconnect from 10.1.2.3 port 22:2: Too many authentication failures\n"
                            "Disconnected from 10.1.2.3 port 22\n");
  CHECK(many.code == ErrorCode::authentication);
  CHECK(holds(many.text, "too many authentication failures"));
  CHECK(holds(many.text, "IdentitiesOnly"));
  CHECK(holds(many.text, "/root/.ssh/my key"));

  const auto jump =
      failure("Connection closed by UNKNOWN port 65535\n", "root@jump: Permission denied (publickey).\r\n");
  CHECK(jump.code == ErrorCode::authentication);
  CHECK(holds(jump.text, "on the way there: root@jump"));
}

TEST_CASE("ssh's log: who was dropped before the login began tries again soon, and nobody else") {
  CHECK(failure("debug1: Connection established.\nkex_exchange_identification: Connection closed by remote host\n"
                "Connection closed by 10.1.2.3 port 22\n")
            .dropped);
  CHECK(failure("kex_exchange_identification: read: Connection reset by peer\n"
                "Connection reset by 10.1.2.3 port 22\n")
            .dropped);
  CHECK(failure(connected + "Connection closed by 10.1.2.3 port 22\n").dropped);
  for (const auto& other :
       {failure(connected + offered + "Connection closed by 10.1.2.3 port 22\n"),
        failure("ssh: connect to host 10.1.2.3 port 22: Connection refused\n"),
        failure("ssh: Could not resolve hostname pve09: Name or service not known\n"),
        failure("kex_exchange_identification: Connection closed by remote host\nConnection closed by UNKNOWN port "
                "65535\n",
                "nc: no route to host\n"),
        failure("")}) {
    CAPTURE(other.text);
    CHECK_FALSE(other.dropped);
    CHECK(other.code == ErrorCode::unreachable);
    CHECK(other.retryable);
    CHECK_FALSE(holds(other.text, "debug1"));
  }
}

TEST_CASE("ssh's log: what trying again does not help") {
  CHECK(failure(connected + "Unable to negotiate with 10.1.2.3 port 22: no matching cipher found. Their offer: x\n")
            .code == ErrorCode::unsupported);
  const auto option = failure("", "/root/.ssh/config: line 3: Bad configuration option: nosuch\r\n"
                                  "/root/.ssh/config: terminating, 1 bad configuration options\r\n");
  CHECK(option.code == ErrorCode::usage);
  CHECK(holds(option.text, "line 3"));
}

TEST_CASE("ssh's log: what the other side sent reaches no terminal as it is") {
  const auto odd = failure("banner \x1b[2J\n", "");
  CHECK_FALSE(holds(odd.text, "\x1b"));
}
