// What every Shell promises, whichever host the commands run on.
#include "contract/shell_contract.hpp"

#include <doctest/doctest.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "crossover/error.hpp"

using namespace crossover;
using namespace crossover::test;
using namespace std::chrono_literals;

TEST_CASE_TEMPLATE("shell: a command's output, errors and exit status arrive", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  CHECK_FALSE(shell->host().empty());
  const auto result = shell->run({"sh", "-c", "printf out; printf err >&2; cat; exit 3"}, "+input", ample, {});
  CHECK(result.exit_status == 3);
  CHECK(result.output == "out+input");
  CHECK(result.errors == "err");
}

TEST_CASE_TEMPLATE("shell: every exit status arrives", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  for (const int status : {0, 1, 2, 126, 127, 128, 254, 255}) {
    CHECK(shell->run({"sh", "-c", "exit " + std::to_string(status)}, "", ample, {}).exit_status == status);
  }
}

TEST_CASE_TEMPLATE("shell: an end by signal is 128 and the signal's number", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  // exec: without it a shell in between would turn the signal into an exit status by itself.
  CHECK(shell->run({"perl", "-e", "kill 'TERM', $$; sleep 60"}, "", ample, {}).exit_status == 128 + SIGTERM);
  CHECK(shell->run({"perl", "-e", "kill 'KILL', $$; sleep 60"}, "", ample, {}).exit_status == 128 + SIGKILL);
}

TEST_CASE_TEMPLATE("shell: a missing command ends with 127 and says so", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  const auto result = shell->run({"no-such-command-here", "x"}, "some input", ample, {});
  CHECK(result.exit_status == 127);
  CHECK(result.errors.find("no-such-command-here") != std::string::npos);
  CHECK(result.errors.find("not found") != std::string::npos);
}

TEST_CASE_TEMPLATE("shell: arguments that cannot be given are refused", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  CHECK(code_of([&] { shell->run({}, "", ample, {}); }) == ErrorCode::usage);
  CHECK(code_of([&] { shell->run({"echo", std::string("a\0b", 3)}, "", ample, {}); }) == ErrorCode::usage);
}

TEST_CASE_TEMPLATE("shell: each element of argv arrives as one argument", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  const auto arrives = [&](const Argv& arguments) {
    Argv argv{"perl", "-e", "print map { length($_) . ':' . $_ } @ARGV", "--"};
    std::string expected;
    for (const std::string& argument : arguments) {
      argv.push_back(argument);
      expected += std::to_string(argument.size()) + ":" + argument;
    }
    const auto result = shell->run(argv, "", ample, {});
    CHECK(result.exit_status == 0);
    CHECK(result.output == expected);
  };
  arrives({"",
           " ",
           "a b",
           "",
           "'",
           "''",
           "\"",
           "\\",
           "$HOME",
           "`id`",
           "$(id)",
           "a\nb",
           "\n",
           "*",
           "~",
           "-n",
           "!x",
           "#",
           "a;b|c&d>e<f",
           "\t",
           "\x01\x7f",
           "\xff\xfe\x80",
           "gr\xc3\xbc\xc3\x9f",
           "a'b\"c\\d$e`f"});
  std::mt19937 random(20240501);
  const std::string alphabet("ab '\"\\$`\n\t!*?[]{}()<>|&;#~=%-\x01\x7f\x80\xc3\xff");
  for (int round = 0; round < Host::commands; ++round) {
    Argv arguments(random() % 12);
    for (std::string& argument : arguments) {
      for (auto left = random() % 20; left > 0; --left) argument += alphabet[random() % alphabet.size()];
    }
    arrives(arguments);
  }
}

TEST_CASE_TEMPLATE("shell: 64 MiB of binary data go both ways at once", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  const std::string data = random_bytes(std::size_t{64} << 20, 7);
  const auto result = shell->run({"cat"}, data, ample, {});
  CHECK(result.exit_status == 0);
  CHECK((result.output == data));
}

TEST_CASE_TEMPLATE("shell: a running command is written to and read from", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  const auto process = shell->start({"sh", "-c", "read a; echo got $a; read b; echo got $b; cat; exit 5"}, {});
  process->write(bytes_of("one\n"));
  CHECK(read_until(*process, "\n") == "got one\n");
  process->write(bytes_of("two\n"));
  CHECK(read_until(*process, "\n") == "got two\n");
  process->write(bytes_of("rest"));
  process->close_input();
  CHECK(read_until(*process, "rest") == "rest");
  std::array<std::byte, 16> buffer;
  CHECK(process->read(buffer) == 0);
  CHECK(process->read(buffer) == 0);
  const auto result = process->wait();
  CHECK(result.exit_status == 5);
  CHECK(result.output.empty());
}

TEST_CASE_TEMPLATE("shell: what was not read comes with wait()", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  const auto process = shell->start({"sh", "-c", "echo first; cat"}, {});
  CHECK(read_until(*process, "first\n") == "first\n");
  process->write(bytes_of("second"));
  CHECK(process->wait().output == "second");
}

TEST_CASE_TEMPLATE("shell: 64 MiB are streamed in and out of running commands", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  const std::string data = random_bytes(std::size_t{64} << 20, 8);
  const auto sink = shell->start({"sha256sum"}, {});
  for (std::size_t at = 0; at < data.size(); at += 1 << 20) sink->write(bytes_of({data.data() + at, 1 << 20}));
  const auto digest = sink->wait().output.substr(0, 64);
  CHECK(shell->run({"sha256sum"}, data, ample, {}).output.substr(0, 64) == digest);

  const auto source = shell->start({"sh", "-c", "head -c 67108864 /dev/zero"}, {});
  const std::string zeros = read_all(*source);
  CHECK(zeros.size() == 67108864);
  CHECK((zeros.find_first_not_of('\0') == std::string::npos));
  CHECK(source->wait().exit_status == 0);
}

TEST_CASE_TEMPLATE("shell: write() takes in what the command answers", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  const auto process = shell->start({"cat"}, {});
  // More than the pipes between hold, and as much as is promised.
  const std::string data = random_bytes(std::size_t{1} << 20, 11);
  process->write(bytes_of(data));
  CHECK((process->wait().output == data));
}

TEST_CASE_TEMPLATE("shell: an error does not show arguments", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  try {
    shell->run({"sh", "-c", "exec sleep 60", "token=abc"}, "", 100ms, {});
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::timeout);
    CHECK(error.subject() == shell->host() + ": sh");
    CHECK(std::string(error.what()).find("token") == std::string::npos);
  }
}

TEST_CASE_TEMPLATE("shell: standard error never blocks, and its last 64 KiB are kept", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  // 8 MiB of it before, between and after the other streams.
  const auto result = shell->run(
      {"perl", "-e",
       "$e = 'e' x 1048576; print STDERR $e for 1..4; print <STDIN>; print STDERR $e for 1..4; print STDERR 'end'"},
      "input", ample, {});
  CHECK(result.exit_status == 0);
  CHECK(result.output == "input");
  CHECK(result.errors.size() == 64 * 1024);
  CHECK(result.errors.ends_with("eeend"));

  const auto process =
      shell->start({"perl", "-e", "$| = 1; print STDERR 'e' x 4194304; print 'done'; print <STDIN>"}, {});
  CHECK(read_until(*process, "done") == "done");
  process->write(bytes_of("x"));
  const auto rest = process->wait();
  CHECK(rest.output == "x");
  CHECK(rest.errors.size() == 64 * 1024);
}

TEST_CASE_TEMPLATE("shell: run() does not mind a command that leaves its input", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  const auto result = shell->run({"sh", "-c", "echo early; exit 4"}, random_bytes(8 << 20, 9), ample, {});
  CHECK(result.exit_status == 4);
  CHECK(result.output == "early\n");
}

TEST_CASE_TEMPLATE("shell: writing to a command that has ended is an error with its reason", Host,
                   CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  const auto process = shell->start({"sh", "-c", "echo the disk is gone >&2; exit 1"}, {});
  const std::string chunk(1 << 20, 'x');
  try {
    for (int i = 0; i < 1000; ++i) process->write(bytes_of(chunk));
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::io);
    CHECK(error.cause().find("the disk is gone") != std::string::npos);
    CHECK(error.subject().find(shell->host()) != std::string::npos);
  }
  CHECK(process->wait().exit_status == 1);
}

TEST_CASE_TEMPLATE("shell: a command that takes longer than its limit is a timeout, and ended", Host,
                   CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  CHECK(shell->run({"echo", "usable"}, "", ample, {}).output == "usable\n");
  const auto begin = std::chrono::steady_clock::now();
  CHECK(code_of([&] { shell->run({"sleep", "60"}, "", 200ms, {}); }) == ErrorCode::timeout);
  CHECK(std::chrono::steady_clock::now() - begin < 20s);
  // Also while it does not take its input.
  CHECK(code_of([&] { shell->run({"sleep", "60"}, random_bytes(16 << 20, 1), 200ms, {}); }) == ErrorCode::timeout);
  CHECK(shell->run({"echo", "still", "usable"}, "", ample, {}).output == "still usable\n");
}

TEST_CASE_TEMPLATE("shell: a stop token that was triggered before lets nothing start", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  std::stop_source source;
  source.request_stop();
  CHECK_THROWS_AS(shell->run({"true"}, "", ample, source.get_token()), Cancelled);
  CHECK_THROWS_AS(shell->start({"true"}, source.get_token()), Cancelled);
}

TEST_CASE_TEMPLATE("shell: cancelling wakes up a read", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  std::stop_source source;
  const auto process = shell->start({"sh", "-c", "echo ready; exec sleep 60"}, source.get_token());
  CHECK(read_until(*process, "\n") == "ready\n");
  auto read = std::async(std::launch::async, [&] {
    std::array<std::byte, 16> buffer;
    CHECK_THROWS_AS(process->read(buffer), Cancelled);
  });
  source.request_stop();
  CHECK(read.wait_for(20s) == std::future_status::ready);
}

TEST_CASE_TEMPLATE("shell: cancelling wakes up a write", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  std::stop_source source;
  const auto process = shell->start({"sleep", "60"}, source.get_token());
  std::atomic<std::size_t> written = 0;
  auto write = std::async(std::launch::async, [&] {
    const std::string chunk(1 << 16, 'x');
    CHECK_THROWS_AS(
        for (;;) {
          process->write(bytes_of(chunk));
          written += chunk.size();
        },
        Cancelled);
  });
  while (written == 0) std::this_thread::yield();
  source.request_stop();
  CHECK(write.wait_for(20s) == std::future_status::ready);
}

TEST_CASE_TEMPLATE("shell: cancelling wakes up wait() and run()", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  std::stop_source source;
  const auto process = shell->start({"sh", "-c", "echo ready; exec sleep 60"}, source.get_token());
  CHECK(read_until(*process, "\n") == "ready\n");
  auto wait = std::async(std::launch::async, [&] { CHECK_THROWS_AS(process->wait(), Cancelled); });
  auto run = std::async(std::launch::async, [&] {
    CHECK_THROWS_AS(shell->run({"sleep", "60"}, "", ample, source.get_token()), Cancelled);
  });
  source.request_stop();
  CHECK(wait.wait_for(20s) == std::future_status::ready);
  CHECK(run.wait_for(20s) == std::future_status::ready);
}

TEST_CASE_TEMPLATE("shell: letting go of a running command ends it", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  auto process = shell->start({"sh", "-c", "echo $$; exec cat"}, {});
  const pid_t pid = std::stoi(read_until(*process, "\n"));
  REQUIRE(pid > 1);
  process.reset();
  CHECK(gone_within(pid, 20s));
}

TEST_CASE_TEMPLATE("shell: several commands run at once from several threads", Host, CROSSOVER_SHELLS) {
  const auto shell = Host::make();
  std::vector<std::future<void>> threads;
  for (int t = 0; t < 8; ++t) {
    threads.push_back(std::async(std::launch::async, [&shell, t] {
      for (int i = 0; i < Host::commands / 4; ++i) {
        const std::string text = std::to_string(t) + "/" + std::to_string(i);
        const auto result = shell->run({"sh", "-c", "cat; echo \"$1\" >&2; exit $2", "sh", text, std::to_string(i)},
                                       text, ample, {});
        CHECK(result.output == text);
        CHECK(result.errors == text + "\n");
        CHECK(result.exit_status == i);
      }
    }));
  }
  for (auto& thread : threads) thread.get();
}
