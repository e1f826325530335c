#include "diff_renderer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <string>

#include "crossover/error.hpp"

using namespace crossover;
using namespace crossover::cli;
using namespace std::string_literals;

namespace {

// A stream written out by hand, to be cut and broken.
const std::string header =
    "rbd diff v1\n"
    "f\3\0\0\0one"
    "t\3\0\0\0two"
    "s\0\0\1\0\0\0\0\0"s;
const std::string data = "w\0\x10\0\0\0\0\0\0\5\0\0\0\0\0\0\0hello"s;
const std::string zero = "z\0\x20\0\0\0\0\0\0\0\x10\0\0\0\0\0\0"s;

ByteSource bytes_of(const std::string& text) {
  // Small pieces: fields fall across them.
  return [&text, position = std::size_t{0}](std::span<std::byte> out) mutable {
    const std::size_t count = std::min<std::size_t>({7, out.size(), text.size() - position});
    std::copy_n(reinterpret_cast<const std::byte*>(text.data()) + position, count, out.begin());
    position += count;
    return count;
  };
}

template <typename Renderer>
std::string show(const std::string& stream, int error_number) {
  std::string out;
  Renderer renderer([&](std::string_view piece) { out += piece; });
  const DiffSummary summary = describe_diff(bytes_of(stream), renderer);
  renderer.summary(summary);
  CHECK((summary.fault ? summary.fault->error_number : 0) == error_number);
  return out;
}

}  // namespace

TEST_CASE("a sound stream as text") {
  CHECK(show<DiffTextRenderer>(header + data + zero + "e", 0) ==
        R"(format  rbd diff v1
from    'one'
to      'two'
size    65536

          offset           length  type
            4096                5  data
            8192             4096  zero

data    5 bytes in 1 extents
zero    4096 bytes in 1 extents
stream  77 bytes
)");
}

TEST_CASE("a full stream up to the head, of nothing") {
  CHECK(show<DiffTextRenderer>("rbd diff v1\ns\0\0\0\0\0\0\0\0e"s, 0) ==
        R"(format  rbd diff v1
from    nothing: a full diff
to      the head
size    0

          offset           length  type

data    0 bytes in 0 extents
zero    0 bytes in 0 extents
stream  22 bytes
)");
}

TEST_CASE("a stream that is cut short says where") {
  CHECK(show<DiffTextRenderer>(header + data.substr(0, 20), EBADMSG) ==
        R"(format  rbd diff v1
from    'one'
to      'two'
size    65536

          offset           length  type
            4096                5  data

data    3 bytes in 1 extents
zero    0 bytes in 0 extents
stream  57 bytes
WRONG   at byte 57: the stream ends inside a data record
)");
}

TEST_CASE("something that is no stream") {
  CHECK(show<DiffTextRenderer>("#!/bin/sh\nrm -rf\n", EINVAL) ==
        R"(
data    0 bytes in 0 extents
zero    0 bytes in 0 extents
stream  12 bytes
WRONG   at byte 0: the stream does not begin with the banner of an rbd diff
)");
  CHECK(show<DiffTextRenderer>("", EBADMSG).find("WRONG   at byte 0: ") != std::string::npos);
}

TEST_CASE("as JSON") {
  CHECK(show<DiffJsonRenderer>(header + data + zero + "e", 0) ==
        R"({"header":{"format":1,"from_snapshot":"one","end_snapshot":"two","size":65536},)"
        R"("extents":[{"offset":4096,"length":5,"type":"data"},{"offset":8192,"length":4096,"type":"zero"}],)"
        R"("totals":{"data_extents":1,"data_bytes":5,"zero_extents":1,"zero_bytes":4096,"stream_bytes":77},)"
        R"("fault":null})"
        "\n");
  const auto broken = nlohmann::json::parse(show<DiffJsonRenderer>(header + zero + data, EINVAL));
  CHECK(broken["fault"]["byte"] == 55);
  CHECK(broken["extents"].size() == 1);
  const auto nothing = nlohmann::json::parse(show<DiffJsonRenderer>("rbd", EBADMSG));
  CHECK(nothing["header"].is_null());
  CHECK(nothing["extents"].empty());
}

TEST_CASE("names are bytes that somebody else chose") {
  const std::string stream = "rbd diff v1\nt\4\0\0\0a\x1b[\xffs\0\0\0\0\0\0\0\0e"s;
  CHECK(show<DiffTextRenderer>(stream, 0).find("'a\\x1b[\\xff'") != std::string::npos);
  CHECK(nlohmann::json::accept(show<DiffJsonRenderer>(stream, 0)));
}

TEST_CASE("a source that fails is an exception, not a fault of the stream") {
  DiffTextRenderer renderer([](std::string_view) {});
  const ByteSource broken = [](std::span<std::byte>) -> std::size_t {
    throw Error(ErrorCode::io, "read", "file", "gone");
  };
  CHECK_THROWS_AS(describe_diff(broken, renderer), Error);
  std::stop_source stop;
  stop.request_stop();
  CHECK_THROWS_AS(describe_diff(broken, renderer, stop.get_token()), Cancelled);
}
