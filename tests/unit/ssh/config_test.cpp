#include "ssh/ssh_config.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "ssh/ssh_options.hpp"

using namespace crossover;

namespace {

using Words = std::vector<std::string>;

const std::string plain =
    "user root\nhostname 10.77.2.4\nport 2222\naddressfamily any\ncheckhostip no\nidentitiesonly no\n"
    "hostbasedauthentication no\ngssapiauthentication yes\npubkeyauthentication true\nstricthostkeychecking ask\n"
    "verifyhostkeydns false\nrequiredrsasize 1024\nciphers chacha20-poly1305@openssh.com,aes128-ctr\n"
    "hostkeyalgorithms ssh-ed25519,rsa-sha2-512\n"
    "identityfile ~/.ssh/a\nidentityfile none\nidentityfile ~/.ssh/b c\n"
    "globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2\n"
    "userknownhostsfile /root/.ssh/known_hosts /root/.ssh/known_hosts2\nconnecttimeout none\nproxycommand none\n";

}  // namespace

TEST_CASE("ssh -G: what it prints of an ordinary host") {
  const SshConfig config = parse_ssh_config(plain);
  CHECK(config.hostname == "10.77.2.4");
  CHECK(config.port == 2222);
  CHECK(config.user == "root");
  CHECK(config.host_key_alias.empty());
  CHECK(config.identities == Words{"~/.ssh/a", "~/.ssh/b c"});
  CHECK(config.certificates.empty());
  CHECK(config.user_known_hosts == Words{"/root/.ssh/known_hosts", "/root/.ssh/known_hosts2"});
  CHECK(config.global_known_hosts == Words{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"});
  CHECK_FALSE(config.accept_new_host_keys);
  CHECK_FALSE(config.identities_only);
  CHECK(config.identity_agent == "SSH_AUTH_SOCK");
  CHECK_FALSE(config.connect_timeout);
  CHECK(config.beyond_libssh.empty());
}

TEST_CASE("ssh -G: what libssh is not asked to do") {
  const auto beyond = [](const std::string& line) { return parse_ssh_config(line + "\n" + plain).beyond_libssh; };
  CHECK(beyond("proxyjump jump.example") == Words{"ProxyJump"});
  CHECK(beyond("knownhostscommand /bin/x") == Words{"KnownHostsCommand"});
  CHECK(beyond("revokedhostkeys /etc/ssh/krl") == Words{"RevokedHostKeys"});
  CHECK(beyond("revokedhostkeys none").empty());
  CHECK(beyond("pkcs11provider /usr/lib/x.so") == Words{"PKCS11Provider"});
  CHECK(beyond("preferredauthentications keyboard-interactive,password") ==
        Words{"PreferredAuthentications without publickey"});
  CHECK(beyond("preferredauthentications gssapi-with-mic,publickey").empty());
  for (const auto& [line, name] : {std::pair<std::string, std::string>{"proxycommand nc %h %p", "ProxyCommand"},
                                   {"checkhostip yes", "CheckHostIP"},
                                   {"verifyhostkeydns true", "VerifyHostKeyDNS"},
                                   {"hostbasedauthentication yes", "HostbasedAuthentication"},
                                   {"pubkeyauthentication false", "PubkeyAuthentication no"}}) {
    CAPTURE(line);
    std::string text = plain;
    const auto at = text.find(line.substr(0, line.find(' ') + 1));
    text.replace(at, text.find('\n', at) - at, line);
    CHECK(parse_ssh_config(text).beyond_libssh == Words{name});
  }
}

TEST_CASE("ssh -G: known-hosts files whose names cannot be told apart are ssh's to read") {
  const auto beyond = [](const std::string& line) { return parse_ssh_config(line).beyond_libssh.size(); };
  CHECK(beyond("userknownhostsfile /root/my hosts\n") == 1);
  CHECK(beyond("userknownhostsfile known_hosts\n") == 1);
  CHECK(beyond("userknownhostsfile ~/.ssh/known_hosts\n") == 1);  // an ssh that has not expanded it
  CHECK(beyond("globalknownhostsfile ~/x\n") == 1);
  CHECK(beyond("userknownhostsfile none\n") == 0);
  CHECK(beyond("userknownhostsfile /dev/null\n") == 0);
}

TEST_CASE("ssh -G: the names of keys are expanded by ssh itself") {
  const Words files{"~/.ssh/a b", "%d/\"x\"\\y", "/z"};
  CHECK(expansion_question(files) ==
        R"("~/.ssh/a b" /dev/null/crossover "%d/\"x\"\\y" /dev/null/crossover "/z" /dev/null/crossover)");
  const std::string separator = " /dev/null/crossover";
  const auto answer = [](const std::string& value, std::size_t files_asked) {
    return expansion_answer("port 22\nuserknownhostsfile " + value + "\n", files_asked);
  };
  CHECK(answer("/root/.ssh/a b" + separator + " /root/x" + separator, 2) == Words{"/root/.ssh/a b", "/root/x"});
  CHECK_FALSE(answer("/root/.ssh/a b" + separator, 2));
  CHECK_FALSE(answer("/root/.ssh/a" + separator + " /root/x", 2));
  CHECK_FALSE(answer("~/.ssh/a" + separator, 1));
  CHECK_FALSE(answer("%d/.ssh/a" + separator, 1));
  CHECK_FALSE(expansion_answer("", 1));
}

TEST_CASE("ssh is asked for a host, never for an option or a URI") {
  const auto refused = [](const std::string& name, const std::string& user = "root", const std::string& alias = {}) {
    SshHost host;
    host.host_key_alias = alias;
    host.name = name;
    host.user = user;
    try {
      (void)ssh_target(host);
    } catch (const Error& error) {
      return error.code() == ErrorCode::usage;
    }
    return false;
  };
  for (const char* name : {"", "-oProxyCommand=x", "ssh://pve04", "a b", "a\nb", "a\tb", "\x7f", "a;b", "$(id)",
                           "`id`", "a|b", "a'b"}) {
    CAPTURE(name);
    CHECK(refused(name));
  }
  CHECK(refused("pve04", "-l"));
  CHECK(refused("pve04", "a b"));
  CHECK(refused("pve04", "root", "$(id)"));
  for (const char* name : {"pve04", "10.0.0.1", "fd00::4", "fe80::1%vmbr0", "pve-04.example.org"}) {
    CAPTURE(name);
    CHECK_FALSE(refused(name));
  }
}

TEST_CASE("ssh's options for a node are Proxmox's") {
  SshHost host;
  host.name = host.host_key_alias = "pve02";
  host.address = "10.1.2.3";
  CHECK(ssh_options(host) == Words{"-o", "BatchMode=yes", "-o", "HostKeyAlias=\"pve02\""});
  CHECK(ssh_target(host) == "root@10.1.2.3");
  host.known_hosts = {"/tmp/100% \"mine\"", "/b"};
  host.port = 22;
  CHECK(ssh_options(host) == Words{"-o", "BatchMode=yes", "-o", "Port=22", "-o", "HostKeyAlias=\"pve02\"", "-o",
                                   R"(UserKnownHostsFile="/tmp/100%% \"mine\"" "/b")", "-o",
                                   "GlobalKnownHostsFile=none"});
}
