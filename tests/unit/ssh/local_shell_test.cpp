// What only child processes promise; the rest is in the shell contract.
#include "ssh/local_shell.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>

#include "crossover/error.hpp"
#include "ssh/unique_fd.hpp"

using namespace crossover;
using namespace std::chrono_literals;

namespace {

std::string read_line(Process& process) {
  std::string text;
  std::array<std::byte, 1> byte;
  while (process.read(byte) == 1 && byte[0] != std::byte{'\n'}) text += static_cast<char>(byte[0]);
  return text;
}

bool gone(pid_t pid) {
  for (const auto end = std::chrono::steady_clock::now() + 20s; std::chrono::steady_clock::now() < end;) {
    if (::kill(pid, 0) != 0) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

}  // namespace

TEST_CASE("LocalShell: a name for messages") {
  CHECK_FALSE(LocalShell().host().empty());
  CHECK(LocalShell("here").host() == "here");
}

TEST_CASE("LocalShell: a child has its own process group, default signals, no mask and no foreign descriptors") {
  LocalShell shell;
  const UniqueFd leak(::open("/dev/null", O_RDONLY));  // without close-on-exec
  REQUIRE(leak);
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr1, nullptr);

  CHECK(shell.run({"sh", "-c", "kill -PIPE $$; echo alive"}, "", 60s, {}).exit_status == 128 + SIGPIPE);
  CHECK(shell.run({"sh", "-c", "kill -USR1 $$; echo alive"}, "", 60s, {}).exit_status == 128 + SIGUSR1);
  CHECK(shell.run({"perl", "-e", "print getpgrp() == $$ ? 'own' : 'shared'"}, "", 60s, {}).output == "own");
  CHECK(shell.run({"sh", "-c", "ls /proc/$$/fd"}, "", 60s, {}).output == "0\n1\n2\n");

  pthread_sigmask(SIG_UNBLOCK, &usr1, nullptr);
  ::signal(SIGPIPE, before);
}

TEST_CASE("LocalShell: a write to a closed pipe leaves no SIGPIPE behind") {
  LocalShell shell;
  for (int i = 0; i < 20; ++i) {
    CHECK(shell.run({"true"}, std::string(4 << 20, 'x'), 60s, {}).exit_status == 0);
  }
  sigset_t pending;
  sigpending(&pending);
  CHECK(sigismember(&pending, SIGPIPE) == 0);
}

TEST_CASE("LocalShell: a file that cannot be executed ends with 126") {
  CHECK(LocalShell().run({"/etc/passwd"}, "", 60s, {}).exit_status == 126);
  CHECK(LocalShell().run({"/no/such/file"}, "", 60s, {}).exit_status == 127);
}

TEST_CASE("LocalShell: letting go ends the whole group, also what does not listen to SIGTERM") {
  LocalShell shell;
  auto process = shell.start({"sh", "-c", "sleep 60 & echo $!; wait"}, {});
  const pid_t grandchild = std::stoi(read_line(*process));
  process.reset();
  CHECK(gone(grandchild));

  process = shell.start({"sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.1; done"}, {});
  const pid_t deaf = std::stoi(read_line(*process));
  process.reset();
  CHECK(::kill(deaf, 0) != 0);  // gone and reaped when the destructor returns
}

TEST_CASE("LocalShell: children of others are left alone") {
  const pid_t foreign = ::fork();
  if (foreign == 0) ::_exit(7);
  REQUIRE(foreign > 0);
  LocalShell shell;
  for (int i = 0; i < 5; ++i) CHECK(shell.run({"true"}, "", 60s, {}).exit_status == 0);
  int status = 0;
  REQUIRE(::waitpid(foreign, &status, 0) == foreign);
  CHECK(WEXITSTATUS(status) == 7);
}

TEST_CASE("LocalShell: a program that ignores SIGCHLD is told that the exit status is lost") {
  const auto before = ::signal(SIGCHLD, SIG_IGN);
  LocalShell shell;
  try {
    shell.run({"sh", "-c", "read x; exit 3"}, "", 60s, {});
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::io);
  }
  ::signal(SIGCHLD, before);
}

TEST_CASE("LocalShell: works in a program without standard descriptors") {
  const pid_t child = ::fork();
  if (child == 0) {
    for (const int fd : {0, 1, 2}) ::close(fd);
    const auto result = LocalShell().run({"sh", "-c", "cat; echo err >&2"}, "in", 60s, {});
    ::_exit(result.output == "in" && result.errors == "err\n" ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}
