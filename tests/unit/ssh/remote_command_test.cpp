#include "ssh/remote_command.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "crossover/error.hpp"
#include "ssh/local_shell.hpp"

using namespace crossover;

namespace {

using Argv = std::vector<std::string>;

constexpr std::chrono::seconds ample{60};

// As sshd does it: the line is for the user's shell, what comes on the channel for the command.
CommandResult through(const std::string& shell, const RemoteCommand& command, const std::string& input) {
  return LocalShell().run({shell, "-c", command.line}, command.ahead + input, ample, {});
}

std::vector<std::string> login_shells() {
  std::vector<std::string> shells;
  for (const char* name : {"/bin/sh", "/bin/bash", "/bin/dash", "/bin/tcsh", "/usr/bin/fish", "/bin/zsh"}) {
    if (std::filesystem::exists(name)) shells.emplace_back(name);
  }
  return shells;
}

}  // namespace

TEST_CASE("a command arrives as it is, whatever the login shell") {
  std::string every_byte;
  for (int c = 1; c < 256; ++c) every_byte += static_cast<char>(c);
  const std::string script = "$| = 1; print scalar(@ARGV), \"!$_!\\n\" for @ARGV;\nprint <STDIN>;\nexit 3";
  for (const std::string& shell : login_shells()) {
    for (const SignalsAre signals : {SignalsAre::passed_on, SignalsAre::exit_statuses}) {
      CAPTURE(shell);
      const auto run = [&](const Argv& argv, const std::string& input) {
        return through(shell, remote_command(argv, signals), input);
      };
      const auto result = run({"perl", "-e", script, "--", "a b", "$x!", every_byte, "", "#end"}, "line\nrest");
      CHECK(result.exit_status == 3);
      CHECK(result.output == "5!a b!\n5!$x!!\n5!" + every_byte + "!\n5!!\n5!#end!\nline\nrest");
      const auto plain = run({"printf", "%s-%s", "a:b@c,d+e", "--f./"}, "");
      CHECK(plain.output == "a:b@c,d+e---f./");
      CHECK(run({"printf", "a=%s,", "b=c", "=d", "%self"}, "").output == "a=b=c,a==d,a=%self,");
      CHECK(run({"no-such-command", "x"}, "input").exit_status == 127);
      CHECK(run({"no-such-command", "x y"}, "input").exit_status == 127);
      CHECK(run({"/etc/passwd", "x"}, "").exit_status == 126);
      CHECK(run({"cat"}, "only input").output == "only input");
      CHECK(run({"perl", "-e", "kill 'TERM', $$; sleep 60"}, "").exit_status == 128 + 15);
    }
  }
}

TEST_CASE("a command that was cut on its way does not run") {
  const std::string trace = (std::filesystem::temp_directory_path() / "crossover-cut-command").string();
  for (const SignalsAre signals : {SignalsAre::passed_on, SignalsAre::exit_statuses}) {
    RemoteCommand command = remote_command({"touch", "--", trace, "a b", " #end", "c d"}, signals);
    const std::string whole = command.ahead;
    for (std::size_t size = 0; size < whole.size(); ++size) {
      command.ahead = whole.substr(0, size);
      CAPTURE(command.ahead);
      CHECK(through("/bin/sh", command, "").exit_status != 0);
      CHECK_FALSE(std::filesystem::exists(trace));
    }
  }
}

TEST_CASE("an agent whose key is restricted gets nothing ahead of its protocol, and is named in what was asked") {
  const RemoteCommand command = remote_command({"crossover", "agent", "--memory=268435456"}, SignalsAre::passed_on);
  CHECK(command.ahead.empty());
  CHECK(command.line.find("crossover agent --memory=268435456") != std::string::npos);
}

TEST_CASE("what is no command is refused") {
  for (const Argv& argv : {Argv{}, Argv{""}, Argv{"echo", std::string("a\0b", 3)}}) {
    try {
      (void)remote_command(argv, SignalsAre::passed_on);
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::usage);
    }
  }
}
