#include <doctest/doctest.h>

#include <array>
#include <random>
#include <string>

#include "ssh/deadline.hpp"
#include "ssh/duplex_process.hpp"
#include "ssh/stream_buffer.hpp"

using namespace crossover;

TEST_CASE("StreamBuffer: bytes come out in the order they went in") {
  StreamBuffer buffer;
  std::mt19937 random(3);
  std::string in;
  std::string out;
  std::array<std::byte, 64> chunk;
  for (int step = 0; step < 5000; ++step) {
    if (random() % 2 == 0) {
      const std::string some(random() % 64, static_cast<char>(step));
      buffer.append(some.data(), some.size());
      in += some;
    } else {
      const std::size_t count = buffer.take(std::span(chunk).first(random() % 64));
      out.append(reinterpret_cast<const char*>(chunk.data()), count);
    }
    REQUIRE(buffer.size() == in.size() - out.size());
  }
  out += buffer.take_all();
  CHECK(buffer.empty());
  CHECK((in == out));
}

TEST_CASE("TailBuffer: keeps exactly the last bytes") {
  TailBuffer tail(10);
  std::string all;
  for (int i = 0; i < 100; ++i) {
    const std::string some(static_cast<std::size_t>(i % 7), static_cast<char>('a' + i % 26));
    tail.append(some.data(), some.size());
    all += some;
    CHECK(tail.view() == all.substr(all.size() - std::min<std::size_t>(all.size(), 10)));
  }
}

TEST_CASE("one_line: text of a command fits into an error") {
  CHECK(one_line("") == "");
  CHECK(one_line(" \n\n") == "");
  CHECK(one_line("error: no such image\n") == "error: no such image");
  CHECK(one_line("one\ntwo\r\n") == "one; two");
  CHECK(one_line("\ttab\there\x1b[31m\x7f") == "tab here?[31m?");
  CHECK(one_line(std::string(5000, 'x')).size() == 2000);
}

TEST_CASE("Deadline: never, later and passed") {
  using namespace std::chrono_literals;
  CHECK(Deadline::never().poll_timeout() == -1);
  CHECK_FALSE(Deadline::never().passed());
  CHECK(Deadline::after(std::chrono::milliseconds::max()).poll_timeout() == -1);
  CHECK(Deadline::after(0ms).passed());
  CHECK(Deadline::after(0ms).poll_timeout() == 0);
  CHECK(Deadline::after(-5s).passed());
  CHECK_FALSE(Deadline::after(1h).passed());
  CHECK(Deadline::after(1h).poll_timeout() > 3590000);
  CHECK(Deadline::after(1h).sooner(Deadline::after(0ms)).passed());
  CHECK(Deadline::never().sooner(Deadline::after(0ms)).passed());
  CHECK_FALSE(Deadline::never().sooner(Deadline::never()).passed());
}
