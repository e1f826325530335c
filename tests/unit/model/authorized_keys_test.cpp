#include "model/authorized_keys.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

using namespace crossover;

TEST_CASE("lines are read as sshd reads them") {
  const std::pair<std::string, KeyLine> rows[] = {
      {"ssh-ed25519 AAAA", {{}, "ssh-ed25519", "AAAA", ""}},
      {" \tssh-rsa   AAAA\tme at home \r", {{}, "ssh-rsa", "AAAA", "me at home"}},
      {"restrict ssh-ed25519 AAAA x", {{{"restrict", {}}}, "ssh-ed25519", "AAAA", "x"}},
      {R"(command="a b",RESTRICT,from="1.2.3.4,*.x" ssh-ed25519 AAAA x)",
       {{{"command", "a b"}, {"restrict", {}}, {"from", "1.2.3.4,*.x"}}, "ssh-ed25519", "AAAA", "x"}},
      // \" is a quote; other backslashes are themselves.
      {R"(command="sh -c \"a, b\" \\ \n" ssh-ed25519 AAAA)",
       {{{"command", R"(sh -c "a, b" \\ \n)"}}, "ssh-ed25519", "AAAA", ""}},
      {R"(environment="A=b c=d" ecdsa-sha2-nistp256 AAAA)",
       {{{"environment", "A=b c=d"}}, "ecdsa-sha2-nistp256", "AAAA", ""}},
      {"cert-authority ssh-ed25519-cert-v01@openssh.com AAAA",
       {{{"cert-authority", {}}}, "ssh-ed25519-cert-v01@openssh.com", "AAAA", ""}},
  };
  for (const auto& [line, expected] : rows) {
    CAPTURE(line);
    const auto read = parse_key_line(line);
    REQUIRE(read);
    CHECK(*read == expected);
  }
}

TEST_CASE("what sshd steps over is no key") {
  for (const std::string line :
       {"", "   ", "# ssh-ed25519 AAAA", "  # x", "ssh-ed25519", "AAAA", "restrict AAAA", "restrict", "a b c d",
        R"(command="a ssh-ed25519 AAAA)", R"(command=a ssh-ed25519 AAAA)", R"(command="a"x ssh-ed25519 AAAA)",
        R"(restrict, ssh-ed25519 AAAA)", R"(command="a\" ssh-ed25519 AAAA)"}) {
    CAPTURE(line);
    CHECK_FALSE(parse_key_line(line));
  }
}

TEST_CASE("options are found by name, the first of several") {
  const auto line = parse_key_line(R"(Command="a",command="b",restrict ssh-ed25519 AAAA)");
  REQUIRE(line);
  CHECK(line->value("command") == "a");
  CHECK(line->count("command") == 2);
  CHECK(line->has("restrict"));
  CHECK_FALSE(line->value("restrict"));
  CHECK_FALSE(line->has("from"));
}
