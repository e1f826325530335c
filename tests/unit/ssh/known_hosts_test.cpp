#include "ssh/known_hosts.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

using namespace crossover;

namespace {

struct Pair {
  explicit Pair(ssh_keytypes_e type, int bits = 0) {
    ssh_key made = nullptr;
    REQUIRE(ssh_pki_generate(type, bits, &made) == SSH_OK);
    key.reset(made);
    char* base64 = nullptr;
    REQUIRE(ssh_pki_export_pubkey_base64(made, &base64) == SSH_OK);
    text = std::string(ssh_key_type_to_char(ssh_key_type(made))) + " " + base64;
    ssh_string_free_char(base64);
  }
  SshKey key;
  std::string text;
};

}  // namespace

TEST_CASE("KnownHosts: which keys a host may show") {
  const Pair ours(SSH_KEYTYPE_ED25519);
  const Pair other(SSH_KEYTYPE_ED25519);
  const Pair rsa(SSH_KEYTYPE_RSA, 2048);
  using Verdict = KnownHosts::Verdict;
  const auto judge = [&](const std::string& text, unsigned port = 22) {
    KnownHosts known("pve04", port);
    known.add_text(text, "test");
    return known.judge(ours.key.get());
  };
  CHECK(judge("") == Verdict::unknown);
  CHECK(judge("# pve04 " + ours.text) == Verdict::unknown);
  CHECK(judge("pve04 " + ours.text) == Verdict::known);
  CHECK(judge("  pve04 " + ours.text + " a comment\r\n") == Verdict::known);
  CHECK(judge("a,pve*,b " + ours.text) == Verdict::known);
  CHECK(judge("pve040 " + ours.text) == Verdict::unknown);
  CHECK(judge("pve0 " + ours.text) == Verdict::unknown);
  CHECK(judge("xpve04 " + ours.text) == Verdict::unknown);
  CHECK(judge("pve04 " + other.text) == Verdict::changed);
  CHECK(judge("pve04 " + rsa.text) == Verdict::changed);
  CHECK(judge("pve04 " + other.text + "\npve04 " + ours.text) == Verdict::known);
  CHECK(judge("pve05 " + other.text + "\npve04 " + ours.text) == Verdict::known);
  CHECK(judge("pve04 ssh-ed25519 nonsense\npve04") == Verdict::unknown);
  CHECK(judge("pve04 no-such-type AAAA\npve04 " + ours.text) == Verdict::known);
  CHECK(judge("*,!pve04 " + ours.text) == Verdict::unknown);
  CHECK(judge("*,!pve05 " + ours.text) == Verdict::known);
  CHECK(judge("@revoked pve04 " + ours.text + "\npve04 " + ours.text) == Verdict::revoked);
  CHECK(judge("@revoked pve04 " + other.text + "\npve04 " + ours.text) == Verdict::known);
  CHECK(judge("@revoked pve04 " + other.text) == Verdict::unknown);
  CHECK(judge("@cert-authority pve04 " + ours.text) == Verdict::unknown);
  // A port of its own: with the port, or plain, which is good for its own key only.
  CHECK(judge("[pve04]:2222 " + ours.text, 2222) == Verdict::known);
  CHECK(judge("pve04 " + ours.text, 2222) == Verdict::known);
  CHECK(judge("pve04 " + other.text, 2222) == Verdict::unknown);
  CHECK(judge("pve04 " + other.text + "\n[pve04]:2222 " + ours.text, 2222) == Verdict::known);
  CHECK(judge("pve04 " + ours.text + "\n[pve04]:2222 " + other.text, 2222) == Verdict::changed);
  CHECK(judge("@revoked pve04 " + ours.text + "\n[pve04]:2222 " + ours.text, 2222) == Verdict::revoked);
  CHECK(judge("[pve04]:2223 " + ours.text, 2222) == Verdict::unknown);
  CHECK(judge("[pve04]:2222 " + ours.text) == Verdict::unknown);
}

TEST_CASE("KnownHosts: an alias is looked up as it stands") {
  const Pair ours(SSH_KEYTYPE_ED25519);
  KnownHosts known = KnownHosts::under_alias("pve02");
  known.add_text("[pve02]:2222 " + ours.text + "\n10.1.2.3 " + ours.text, "test");
  CHECK(known.empty());
  known.add_text("pve02 " + ours.text, "test");
  CHECK_FALSE(known.empty());
  CHECK(known.judge(ours.key.get()) == KnownHosts::Verdict::known);
}

TEST_CASE("KnownHosts: a certificate authority is one for its patterns only, and no key of the host") {
  const Pair authority(SSH_KEYTYPE_ED25519);
  for (const auto& [line, expected] : {std::pair<std::string, bool>{"@cert-authority pve0* ", true},
                                       {"@cert-authority\tpve04 ", true},
                                       {"@cert-authority pve05 ", false},
                                       {"@cert-authority *,!pve04 ", false},
                                       {"pve04 ", false}}) {
    CAPTURE(line);
    KnownHosts known("pve04", 22);
    known.add_text(line + authority.text, "test");
    CHECK(known.has_authority() == expected);
    CHECK(known.empty() == (line != "pve04 "));
  }
}

TEST_CASE("KnownHosts: known algorithms are asked for first, and none that is not allowed") {
  const Pair rsa(SSH_KEYTYPE_RSA, 2048);
  const Pair ecdsa(SSH_KEYTYPE_ECDSA_P256);
  const std::string allowed = "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256";
  KnownHosts known("pve04", 22);
  CHECK(known.algorithms(allowed) == allowed);
  known.add_text("pve04 " + rsa.text + "\n@revoked pve04 " + ecdsa.text, "test");
  CHECK(known.algorithms(allowed) == "rsa-sha2-512,rsa-sha2-256,ssh-ed25519,ecdsa-sha2-nistp256");
  CHECK(known.algorithms("ssh-ed25519") == "ssh-ed25519");
  known.add_text("pve04 " + ecdsa.text, "test");
  CHECK(known.algorithms(allowed) == "ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256,ssh-ed25519");
}

TEST_CASE("KnownHosts: a key is remembered, in a folder that may be missing") {
  std::string folder = (std::filesystem::temp_directory_path() / "known-hosts-XXXXXX").string();
  REQUIRE(::mkdtemp(folder.data()) != nullptr);
  const std::string file = folder + "/.ssh/known_hosts";
  const Pair ours(SSH_KEYTYPE_ED25519);
  KnownHosts("pve04", 2222).remember(ours.key.get(), file);
  KnownHosts("pve05", 22).remember(ours.key.get(), file);
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  CHECK(text.str() == "[pve04]:2222 " + ours.text + "\npve05 " + ours.text + "\n");
  struct stat status {};
  REQUIRE(::stat(file.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  KnownHosts again("pve05", 22);
  again.add_file(file);
  CHECK(again.judge(ours.key.get()) == KnownHosts::Verdict::known);
  CHECK(again.describe().find(file + " line 2") != std::string::npos);
  std::filesystem::remove_all(folder);
}
