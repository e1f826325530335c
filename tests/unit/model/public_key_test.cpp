#include "model/public_key.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "crossover/error.hpp"
#include "support/public_keys.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

std::string refusal(const std::string& bytes) {
  try {
    static_cast<void>(parse_public_key_file(bytes, "/k.pub"));
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::usage);
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a key of each type is read, and has the fingerprint ssh-keygen prints") {
  for (const KnownKey& known : known_keys) {
    CAPTURE(known.type);
    const PublicKey key =
        parse_public_key_file("# mine\n\n" + known.line() + " root@source, \"x\"\r\n\n", "/k.pub");
    CHECK(key == PublicKey{std::string(known.type), std::string(known.base64)});
    CHECK(fingerprint(key) == known.fingerprint);
    CHECK(parse_public_key_file(known.line(), "/k.pub") == key);
    CHECK(parse_public_key_file("  " + known.line() + "\t", "/k.pub") == key);
  }
}

TEST_CASE("a blob is taken as a whole, and only as a key of its type") {
  for (const KnownKey& known : known_keys) {
    CAPTURE(known.type);
    const std::string base64(known.base64);
    CHECK(parse_key(known.type, base64));
    for (const KnownKey& other : known_keys) {
      CHECK(parse_key(other.type, base64).has_value() == (other.type == known.type));
    }
    // Every length but the whole one, and every byte that is no base64.
    for (std::size_t length = 0; length < base64.size(); ++length) {
      CHECK_FALSE(parse_key(known.type, base64.substr(0, length)));
    }
    CHECK_FALSE(parse_key(known.type, base64 + "AAAA"));
    CHECK_FALSE(parse_key(known.type, base64 + "\n"));
    for (const char* byte : {" ", "\"", "-", "_", "\\", "\n", "=", "\x80"}) {
      std::string damaged = base64;
      damaged.replace(8, 1, byte);
      CHECK_FALSE(parse_key(known.type, damaged));
    }
  }
  // Bits behind the last byte, which are nothing's.
  std::string padded(ecdsa384_key.base64);
  REQUIRE(padded.ends_with("Q=="));
  padded[padded.size() - 3] = 'R';
  CHECK_FALSE(parse_key(ecdsa384_key.type, padded));
  CHECK_FALSE(parse_key("ssh-dss", ed25519_key.base64));
  // Whole by its lengths, but with a curve's point of another form, and an RSA key of 8 bits.
  CHECK_FALSE(parse_key("ssh-rsa", "AAAAB3NzaC1yc2EAAAABAwAAAAIAgQ=="));
  CHECK_FALSE(parse_key("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAAA=="));
}

TEST_CASE("what is no single public key is refused, and says what to do instead") {
  const std::string ed(ed25519_key.line());
  const std::pair<std::string, const char*> rows[] = {
      {"", "there is no public key in it"},
      {"# only a comment\n", "there is no public key in it"},
      {"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n-----END OPENSSH PRIVATE KEY-----\n",
       "this is a private key"},
      {"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n", "this is a private key"},
      {ed + "\n-----BEGIN PRIVATE KEY-----\n", "this is a private key"},
      {"PuTTY-User-Key-File-3: ssh-ed25519\n", "this is a private key"},
      {"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "ssh-keygen -i -f"},
      {"-----BEGIN PUBLIC KEY-----\nAAAA\n", "ssh-keygen -i -f"},
      {ed + "\n" + other_ed25519_key.line() + "\n", "more than one key"},
      {ed + "\n" + ed + "\n", "more than one key"},
      {"restrict " + ed, "there are options before the key"},
      {"command=\"sh\" " + ed, "there are options before the key"},
      {"command=\"a b\",no-pty " + ed, "there are options before the key"},
      {"from=\"*\" ssh-dss AAAA", "there are options before the key"},
      {"ssh-dss AAAAB3NzaC1kc3MAAACB", "type is not taken"},
      {"ssh-ed25519-cert-v01@openssh.com AAAA", "type is not taken"},
      {"ssh-ed25519", "no key of that type"},
      {"ssh-ed25519 AAAA", "no key of that type"},
      {"ssh-rsa " + std::string(ed25519_key.base64), "no key of that type"},
      {ed.substr(0, ed.size() - 8), "no key of that type"},
      {"SSH-ED25519 " + std::string(ed25519_key.base64), "there is no public key in it"},
      {"hello", "there is no public key in it"},
      {ed + std::string(std::size_t{70} << 10, ' '), "too long"},
  };
  for (const auto& [bytes, why] : rows) {
    CAPTURE(bytes.substr(0, 60));
    const std::string text = refusal(bytes);
    CHECK_MESSAGE(text.find(why) != std::string::npos, text);
    CHECK(text.find("/k.pub") != std::string::npos);
    CHECK_MESSAGE(text.find("b3BlbnNz") == std::string::npos, "what is in the file is shown");
  }
}
