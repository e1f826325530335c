// The question before a guest goes down, at a terminal as people have one.
#include "cli/ask.hpp"

#include <doctest/doctest.h>
#include <pty.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <stdexcept>
#include <string>

#include "crossover/error.hpp"

using namespace crossover;
using namespace crossover::cli;
using namespace std::chrono_literals;

namespace {

class Terminal {
 public:
  Terminal() {
    if (openpty(&keyboard_, &terminal_, nullptr, nullptr, nullptr) != 0) throw std::runtime_error("no terminal");
  }
  ~Terminal() {
    hang_up();
    close(terminal_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& keys) {
    REQUIRE(write(keyboard_, keys.data(), keys.size()) == static_cast<ssize_t>(keys.size()));
  }
  void hang_up() {
    if (keyboard_ >= 0) close(keyboard_);
    keyboard_ = -1;
  }
  std::future<bool> asked() {
    return std::async(std::launch::async, [this] { return ask(terminal_, "All of it goes.", stop.get_token()); });
  }

  std::stop_source stop;

 private:
  int keyboard_ = -1;
  int terminal_ = -1;
};

constexpr const char* end_of_input = "\x04";
constexpr const char* backspace = "\x7f";

}  // namespace

TEST_CASE("only the whole word yes says yes") {
  for (const char* keys : {"yes\n", "yes\r"}) {
    Terminal terminal;
    terminal.type(keys);
    CHECK(terminal.asked().get());
  }
  for (const char* keys : {"\n", "no\n", "y\n", "Y\n", "YES\n", "Yes\n", " yes\n", "yes \n", "yes please\n",
                           "yesno\n", "j\n", "\x1b[A\n", "no\nyes\n", "\nyes\n"}) {
    CAPTURE(keys);
    Terminal terminal;
    terminal.type(keys);
    CHECK_FALSE(terminal.asked().get());
  }
}

TEST_CASE("an answer may come slowly, and be corrected") {
  Terminal terminal;
  auto answer = terminal.asked();
  for (const std::string keys : {"yw", backspace, "e", "s"}) {
    terminal.type(keys);
    CHECK(answer.wait_for(50ms) == std::future_status::timeout);
  }
  terminal.type("\n");
  CHECK(answer.get());
}

TEST_CASE("each question takes its own line") {
  Terminal terminal;
  terminal.type("yes\nno\nyes\n");
  CHECK(terminal.asked().get());
  CHECK_FALSE(terminal.asked().get());
  CHECK(terminal.asked().get());
}

TEST_CASE("a terminal that says nothing more has not said yes") {
  Terminal terminal;
  SUBCASE("at once") { terminal.type(end_of_input); }
  SUBCASE("in the middle of the word") { terminal.type(std::string("yes") + end_of_input + end_of_input); }
  SUBCASE("because it is gone") { terminal.hang_up(); }
  CHECK_FALSE(terminal.asked().get());
}

TEST_CASE("who is interrupted while asked has not answered") {
  Terminal terminal;
  auto answer = terminal.asked();
  CHECK(answer.wait_for(50ms) == std::future_status::timeout);
  terminal.stop.request_stop();
  CHECK_THROWS_AS(answer.get(), Cancelled);
}
