#include "ssh/ssh_agent.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

using namespace crossover;
using namespace std::chrono_literals;

namespace {

std::string number(std::size_t value) {
  return {static_cast<char>(value >> 24 & 0xff), static_cast<char>(value >> 16 & 0xff),
          static_cast<char>(value >> 8 & 0xff), static_cast<char>(value & 0xff)};
}

std::string text(const std::string& bytes) {
  return number(bytes.size()) + bytes;
}

/// An agent that answers every question with the same bytes, and keeps the last question.
class FixedAgent {
 public:
  explicit FixedAgent(std::string answer) : answer_(std::move(answer)) {
    folder_ = (std::filesystem::temp_directory_path() / "agent-XXXXXX").string();
    REQUIRE(::mkdtemp(folder_.data()) != nullptr);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, socket().c_str());
    listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener_.get(), 8) == 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~FixedAgent() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    std::filesystem::remove_all(folder_);
  }
  FixedAgent(const FixedAgent&) = delete;
  FixedAgent& operator=(const FixedAgent&) = delete;

  [[nodiscard]] std::string socket() const { return folder_ + "/socket"; }
  [[nodiscard]] int questions() const { return questions_; }

 private:
  void serve() {
    for (;;) {
      const UniqueFd client(::accept(listener_.get(), nullptr, nullptr));
      if (!client) return;
      char buffer[4096];
      // Whoever only looks whether somebody is there asks nothing.
      if (::recv(client.get(), buffer, sizeof buffer, 0) <= 0) continue;
      ++questions_;
      (void)::send(client.get(), answer_.data(), answer_.size(), MSG_NOSIGNAL);
    }
  }

  std::string answer_;
  std::string folder_;
  UniqueFd listener_;
  std::atomic<int> questions_ = 0;
  std::thread thread_;
};

/// What a client of OneKeyAgent gets for a request.
std::string ask(const UniqueFd& client, const std::string& request) {
  const std::string message = text(request);
  REQUIRE(::send(client.get(), message.data(), message.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(message.size()));
  std::string answer(4, '\0');
  if (::recv(client.get(), answer.data(), 4, MSG_WAITALL) != 4) return "closed";
  answer.resize(static_cast<unsigned char>(answer[3]) + 256U * static_cast<unsigned char>(answer[2]));
  REQUIRE(::recv(client.get(), answer.data(), answer.size(), MSG_WAITALL) == static_cast<ssize_t>(answer.size()));
  return answer;
}

}  // namespace

TEST_CASE("ssh agent: which one is meant") {
  ::setenv("SSH_AUTH_SOCK", "/run/agent", 1);
  ::setenv("OTHER_AGENT", "/run/other", 1);
  CHECK(agent_socket("SSH_AUTH_SOCK") == "/run/agent");
  CHECK(agent_socket("$OTHER_AGENT") == "/run/other");
  CHECK(agent_socket("/run/third") == "/run/third");
  CHECK(agent_socket("none").empty());
  ::unsetenv("SSH_AUTH_SOCK");
  CHECK(agent_socket("SSH_AUTH_SOCK").empty());
}

TEST_CASE("ssh agent: its keys, and answers that are none") {
  const StopEvent stop({});
  const auto keys = [&](const std::string& answer) {
    const FixedAgent agent(answer);
    return agent_keys(agent.socket(), stop, Deadline::after(30s));
  };
  const std::string odd("b\0c", 3);
  const auto two = keys(text("\x0c" + number(2) + text("blob") + text("name") + text(odd) + text("")));
  REQUIRE(two);
  REQUIRE(two->size() == 2);
  CHECK(two->front().blob == "blob");
  CHECK(two->front().comment == "name");
  CHECK(two->back().blob == odd);
  CHECK(keys(text("\x0c" + number(0)))->empty());
  // More are promised than there are; a string is longer than the message.
  CHECK(keys(text("\x0c" + number(1000000000) + text("blob") + text("name")))->size() == 1);
  CHECK(keys(text("\x0c" + number(1) + number(4000000000) + "x"))->empty());
  CHECK_FALSE(keys(text("\x05")));
  CHECK_FALSE(keys(number(4000000000)));
  CHECK_FALSE(keys(number(0)));
  CHECK_FALSE(keys("x"));
  CHECK(agent_keys("/nobody/there", stop, Deadline::after(30s))->empty());
  CHECK(agent_keys("", stop, Deadline::after(30s))->empty());
}

TEST_CASE("ssh agent: one key at a time, and nothing is signed with another") {
  const StopEvent stop({});
  const std::string signature = "\x0e" + text("signature");
  const FixedAgent real(text(signature));
  OneKeyAgent one(real.socket(), stop, Deadline::after(30s));
  const UniqueFd client = one.take_client();
  for (const std::string blob : {"first", "second"}) {
    one.offer({blob, "name"});
    CHECK(ask(client, "\x0b") == "\x0c" + number(1) + text(blob) + text("name"));
    CHECK(ask(client, "\x0d" + text(blob) + text("data") + number(0)) == signature);
  }
  const int asked = real.questions();
  CHECK(asked == 2);
  CHECK(ask(client, "\x0d" + text("first") + text("data") + number(0)) == "\x05");
  CHECK(ask(client, "\x0d") == "\x05");
  CHECK(ask(client, "\x13") == "\x05");  // remove all identities
  CHECK(real.questions() == asked);
}

TEST_CASE("ssh agent: who waits for one that is closed finds that out") {
  std::stop_source source;
  const StopEvent stop(source.get_token());
  OneKeyAgent one("/nobody/there", stop, Deadline::never());
  const UniqueFd client = one.take_client();
  one.offer({"blob", "name"});
  CHECK(ask(client, "\x0d" + text("blob") + text("data") + number(0)) == "\x05");
  source.request_stop();
  char byte = 0;
  CHECK(::recv(client.get(), &byte, 1, 0) == 0);
}
