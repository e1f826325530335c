#include "ssh/login_keys.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "ssh/local_shell.hpp"

using namespace crossover;

namespace {

using Words = std::vector<std::string>;

/// A folder with keys that are made as they are asked for.
struct Keys {
  Keys() : folder((std::filesystem::temp_directory_path() / "login-keys-XXXXXX").string()) {
    REQUIRE(::mkdtemp(folder.data()) != nullptr);
  }
  ~Keys() { std::filesystem::remove_all(folder); }
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;

  void generate(const Words& words) const {
    Words argv{"ssh-keygen", "-q"};
    argv.insert(argv.end(), words.begin(), words.end());
    REQUIRE(LocalShell().run(argv, "", std::chrono::seconds(60), {}).exit_status == 0);
  }
  std::string make(const std::string& name, const std::string& passphrase = {}) const {
    generate({"-t", "ed25519", "-N", passphrase, "-C", "", "-f", folder + "/" + name});
    return folder + "/" + name;
  }
  /// What an agent says of the key or certificate.
  AgentKey in_agent(const std::string& file) const {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    std::istringstream words(text.str());
    std::string base64;
    words >> base64 >> base64;
    return {LocalShell().run({"base64", "-d"}, base64, std::chrono::seconds(60), {}).output, "comment of " + file};
  }
  void remove(const std::string& file) const { std::filesystem::remove(file); }

  std::string folder;
};

Words names(const LoginKeys& keys) {
  Words found;
  for (const LoginKey& key : keys.offered) found.push_back(key.name);
  return found;
}

SshConfig with(Words identities, Words certificates = {}) {
  SshConfig config;
  config.identities = std::move(identities);
  config.certificates = std::move(certificates);
  return config;
}

}  // namespace

TEST_CASE("login keys: files in their order, with their certificates") {
  const Keys keys;
  const std::string first = keys.make("first");
  const std::string second = keys.make("second");
  const std::string ca = keys.make("ca");
  keys.generate({"-s", ca, "-I", "id", "-n", "root", second + ".pub"});
  CHECK(names(find_login_keys(with({second, first}), {})) == Words{second, second + "-cert.pub", first});
  // CertificateFile comes first, and takes the place of the certificates beside the keys.
  std::filesystem::copy(second + "-cert.pub", keys.folder + "/other");
  const auto found = find_login_keys(with({first, second}, {keys.folder + "/other"}), {});
  CHECK(names(found) == Words{keys.folder + "/other", first, second});
  CHECK(found.offered.front().file == second);
  for (const LoginKey& key : found.offered) CHECK(load_login_key(key));
  CHECK(found.passed_over.empty());
  CHECK(found.beyond_libssh.empty());
}

TEST_CASE("login keys: the agent's that are configured, its others, then files") {
  const Keys keys;
  const std::string file = keys.make("file");
  const std::string both = keys.make("both");
  const std::string agents = keys.make("agents");
  const std::string other = keys.make("other");
  const std::vector<AgentKey> agent{keys.in_agent(other + ".pub"), keys.in_agent(agents + ".pub"),
                                    keys.in_agent(both + ".pub")};
  keys.remove(agents);
  SshConfig config = with({file, both, agents});
  auto found = find_login_keys(config, agent);
  CHECK(names(found) == Words{agents + " of the agent", both + " of the agent",
                              "comment of " + other + ".pub of the agent", file});
  CHECK(found.passed_over.empty());
  CHECK(found.offered.front().blob == agent[1].blob);
  config.identities_only = true;
  CHECK(names(find_login_keys(config, agent)) == Words{agents + " of the agent", both + " of the agent", file});
}

TEST_CASE("login keys: what is of no use is said, but for the names that ssh looks for by itself") {
  const Keys keys;
  const std::string locked = keys.make("locked", "secret");
  const std::string open = keys.make("open");
  REQUIRE(::chmod(open.c_str(), 0644) == 0);
  std::ofstream(keys.folder + "/nonsense") << "no key\n";
  REQUIRE(::chmod((keys.folder + "/nonsense").c_str(), 0600) == 0);
  const auto found = find_login_keys(
      with({locked, open, keys.folder + "/nonsense", keys.folder + "/gone", keys.folder + "/.ssh/id_ecdsa"}), {});
  CHECK(found.offered.empty());
  CHECK(found.passed_over == Words{locked + " (unreadable, or it has a passphrase)",
                                   open + " (others may read it, so ssh does not use it; chmod 600)",
                                   keys.folder + "/nonsense (unreadable, or it has a passphrase)",
                                   keys.folder + "/gone (No such file or directory)"});
}

TEST_CASE("login keys: what only the ssh program can use") {
  const Keys keys;
  // A security key as ssh-keygen -t ed25519-sk writes it; the private half only has to be there.
  const std::string public_key =
      "sk-ssh-ed25519@openssh.com "
      "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fAAAABHNzaDo= key\n";
  std::ofstream(keys.folder + "/id_sk.pub") << public_key;
  CHECK(find_login_keys(with({keys.folder + "/id_sk"}), {}).beyond_libssh.empty());
  std::ofstream(keys.folder + "/id_sk") << "private half\n";
  const auto found = find_login_keys(with({keys.folder + "/id_sk"}), {});
  CHECK(found.beyond_libssh == Words{"the security key " + keys.folder + "/id_sk"});
  CHECK(found.offered.empty());
  CHECK(find_login_keys(with({}), {keys.in_agent(keys.folder + "/id_sk.pub")}).beyond_libssh.size() == 1);

  // A certificate in a file whose key is in the agent alone.
  const std::string key = keys.make("key");
  const std::string ca = keys.make("ca");
  keys.generate({"-s", ca, "-I", "id", "-n", "root", key + ".pub"});
  const AgentKey in_agent = keys.in_agent(key + ".pub");
  keys.remove(key);
  CHECK(find_login_keys(with({key}), {in_agent}).beyond_libssh.size() == 1);
  CHECK(find_login_keys(with({key}), {}).beyond_libssh.empty());
  // The agent has the certificate, too.
  CHECK(find_login_keys(with({key}), {in_agent, keys.in_agent(key + "-cert.pub")}).beyond_libssh.empty());
}
