#include "ssh/quote_argv.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "crossover/error.hpp"
#include "ssh/local_shell.hpp"

using namespace crossover;

TEST_CASE("quote_argv: plain words stay readable, everything else is quoted") {
  const auto quoted = [](std::vector<std::string> argv) { return quote_argv(argv); };
  CHECK(quoted({"qm", "set", "100", "--lock", "backup"}) == "qm set 100 --lock backup");
  CHECK(quoted({"cat", "/etc/pve/qemu-server/100.conf"}) == "cat /etc/pve/qemu-server/100.conf");
  CHECK(quoted({"rbd", "diff", "data/vm-100-disk-0@crossover-x-20240501T000000Z"}) ==
        "rbd diff data/vm-100-disk-0@crossover-x-20240501T000000Z");
  CHECK(quoted({"echo", ""}) == "echo ''");
  CHECK(quoted({"echo", "a b"}) == "echo 'a b'");
  CHECK(quoted({"echo", "it's"}) == "echo 'it'\\''s'");
  CHECK(quoted({"echo", "'"}) == "echo ''\\'''");
  CHECK(quoted({"echo", "a\nb"}) == "echo 'a\nb'");
  CHECK(quoted({"A=1", "~", "*", "$x", "#"}) == "'A=1' '~' '*' '$x' '#'");
  CHECK(quoted({"echo", "\xff"}) == "echo '\xff'");
}

TEST_CASE("quote_argv: what no command can be given is refused") {
  CHECK_THROWS_AS(quote_argv({}), Error);
  CHECK_THROWS_AS(quote_argv({""}), Error);
  CHECK_THROWS_AS(quote_argv({"echo", std::string("a\0b", 3)}), Error);
}

TEST_CASE("quote_argv: a POSIX shell splits the line into the same words") {
  LocalShell shell;
  std::mt19937 random(1);
  const auto check = [&](const std::vector<std::string>& words) {
    std::vector<std::string> argv{"printf", "[%s]"};
    std::string expected;
    for (const std::string& word : words) expected += "[" + word + "]";
    argv.insert(argv.end(), words.begin(), words.end());
    const auto result = shell.run({"sh", "-c", quote_argv(argv)}, "", std::chrono::seconds(60), {});
    CHECK(result.exit_status == 0);
    CHECK(result.output == expected);
  };
  // Every byte alone, and at both ends of a word.
  for (int byte = 1; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    check({one, one + "x", "x" + one});
  }
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> words(1 + random() % 8);
    for (std::string& word : words) {
      for (auto left = random() % 30; left > 0; --left) word += static_cast<char>(1 + random() % 255);
    }
    check(words);
  }
}
