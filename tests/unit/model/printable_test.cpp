#include "crossover/printable.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>

using crossover::printable;

TEST_CASE("text stays as it is, and what does something is shown") {
  CHECK(printable("") == "");
  CHECK(printable("web-01: ok, 3 GiB") == "web-01: ok, 3 GiB");
  CHECK(printable("Büro 日本 🙂") == "Büro 日本 🙂");
  CHECK(printable("\x1b[31mred\x07") == "\\x1b[31mred\\x07");
  CHECK(printable("one\ntwo\r\tthree\x7f") == "one\\ntwo\\x0d\\x09three\\x7f");
  CHECK(printable(std::string("a\0b", 3)) == "a\\x00b");
  // C1 in UTF-8 begins a control sequence where ESC [ does.
  CHECK(printable("\xc2\x9b" "31m") == "\\u009b31m");
  CHECK(printable("exe.\xe2\x80\xaegnp") == "exe.\\u202egnp");
  CHECK(printable("a\xe2\x80\xa8" "b\xe2\x81\xa9") == "a\\u2028b\\u2069");
}

TEST_CASE("bytes that are no UTF-8 are shown one by one") {
  CHECK(printable("\x9b" "31m") == "\\x9b31m");
  CHECK(printable("caf\xe9") == "caf\\xe9");
  CHECK(printable("\xc0\xaf") == "\\xc0\\xaf");
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");
  CHECK(printable("\xe2\x82") == "\\xe2\\x82");
  CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");
}

TEST_CASE("of any bytes nothing is left that does something, and twice is as once") {
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (std::size_t length = random() % 12; text.size() < length;) text += static_cast<char>(random());
    const std::string shown = printable(text);
    for (const char c : shown) CHECK((static_cast<unsigned char>(c) >= 0x20 && c != 0x7f));
    CHECK(shown.find("\xc2\x9b") == std::string::npos);
    CHECK(printable(shown) == shown);
  }
}
