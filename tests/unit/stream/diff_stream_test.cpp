#include "crossover/diff_stream.hpp"

#include <doctest/doctest.h>

#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/error.hpp"
#include "recorded_diff.hpp"

using namespace crossover;
using namespace crossover::test;
using namespace std::string_literals;

namespace {

// The fields below are written out by hand from the formats' description, not by the code under test.
const std::string v1_banner = "rbd diff v1\n";
const std::string v2_banner = "rbd diff v2\n";

std::string le32(std::uint32_t value) {
  std::string out;
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
  return out;
}
std::string le64(std::uint64_t value) {
  return le32(static_cast<std::uint32_t>(value)) + le32(static_cast<std::uint32_t>(value >> 32));
}
std::string name1(char tag, const std::string& name) {
  return tag + le32(static_cast<std::uint32_t>(name.size())) + name;
}
std::string size1(std::uint64_t size) {
  return "s" + le64(size);
}
std::string write1(std::uint64_t offset, const std::string& data) {
  return "w" + le64(offset) + le64(data.size()) + data;
}
std::string zero1(std::uint64_t offset, std::uint64_t length) {
  return "z" + le64(offset) + le64(length);
}

ErrorCode code_of(const std::string& stream, std::size_t piece = SIZE_MAX) {
  try {
    decode(stream, piece);
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::usage;  // stands for "accepted"
}

std::string cause_of(const std::string& stream) {
  try {
    decode(stream);
  } catch (const Error& error) {
    return error.cause();
  }
  return "accepted";
}

RecordedDiff sample(DiffFormat format) {
  RecordedDiff diff;
  diff.format = format;
  diff.head.from_snapshot = "a";
  diff.head.end_snapshot = "b2";
  if (format == DiffFormat::v2) diff.head.end_protected = true;
  diff.head.size_bytes = 0x0102030405060708;
  diff.extents = {{1, 3, false, "xyz"}, {4, 0x100000000, true, {}}};
  return diff;
}

const std::string golden_v1 =
    "rbd diff v1\n"
    "f\x01\0\0\0a"
    "t\x02\0\0\0b2"
    "s\x08\x07\x06\x05\x04\x03\x02\x01"
    "w\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0xyz"
    "z\x04\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0"
    "e"s;
const std::string golden_v2 =
    "rbd diff v2\n"
    "f\x05\0\0\0\0\0\0\0\x01\0\0\0a"
    "t\x06\0\0\0\0\0\0\0\x02\0\0\0b2"
    "p\x08\0\0\0\0\0\0\0\x01"
    "s\x08\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01"
    "w\x13\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0xyz"
    "z\x10\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0"
    "e"s;

RecordedDiff random_diff(std::mt19937_64& random, DiffFormat format) {
  const auto up_to = [&](std::uint64_t limit) {
    return std::uniform_int_distribution<std::uint64_t>(0, limit)(random);
  };
  RecordedDiff diff;
  diff.format = format;
  if (up_to(1) != 0) diff.head.from_snapshot = std::string(1 + up_to(20), 'f');
  if (up_to(1) != 0) diff.head.end_snapshot = std::string(up_to(9) == 0 ? max_diff_name_bytes : 1 + up_to(20), 't');
  if (format == DiffFormat::v2 && diff.head.end_snapshot) diff.head.end_protected = up_to(1) != 0;
  std::uint64_t position = 0;
  for (std::uint64_t count = up_to(12); count > 0; --count) {
    RecordedExtent extent;
    extent.offset = position + up_to(up_to(1) == 0 ? 0 : 1 << 20);
    extent.is_zero = up_to(2) == 0;
    extent.length = 1 + up_to(extent.is_zero ? 1U << 30 : 300);
    if (!extent.is_zero) {
      for (std::uint64_t byte = 0; byte < extent.length; ++byte)
        extent.content.push_back(static_cast<char>(up_to(255)));
    }
    position = extent.offset + extent.length;
    diff.extents.push_back(std::move(extent));
  }
  diff.head.size_bytes = position + up_to(1000);
  return diff;
}

}  // namespace

TEST_CASE("the golden streams are written and read byte for byte") {
  CHECK(encode(sample(DiffFormat::v1)) == golden_v1);
  CHECK(encode(sample(DiffFormat::v2)) == golden_v2);
  CHECK(decode(golden_v1) == sample(DiffFormat::v1));
  CHECK(decode(golden_v2) == sample(DiffFormat::v2));
  for (const std::string& golden : {golden_v1, golden_v2}) {
    const RecordedDiff diff = decode(golden, 1);
    CHECK(diff.headers == 1);
    CHECK(diff.ends == 1);
  }
}

TEST_CASE("a protection record that gives its true length is read too") {
  std::string stream = golden_v2;
  stream[stream.find("p\x08") + 1] = '\x01';
  CHECK(decode(stream) == sample(DiffFormat::v2));
}

TEST_CASE("the smallest stream is a banner, a size and an end") {
  CHECK(decode(v1_banner + size1(0) + "e").head == DiffHeader{});
  CHECK(decode(v2_banner + "s" + le64(8) + le64(0) + "e").head == DiffHeader{});
}

TEST_CASE("what was encoded is decoded again, however the bytes are cut") {
  std::mt19937_64 random(20240917);
  for (int round = 0; round < 300; ++round) {
    const RecordedDiff diff = random_diff(random, round % 2 == 0 ? DiffFormat::v1 : DiffFormat::v2);
    const std::string stream = encode(diff);
    RecordedDiff read;
    DiffDecoder decoder(read);
    std::string_view rest = stream;
    while (!rest.empty()) {
      const std::size_t piece = std::min<std::size_t>(rest.size(), random() % 40);
      decoder.feed(bytes_of(rest.substr(0, piece)));
      rest.remove_prefix(piece);
    }
    decoder.finish();
    REQUIRE(read == diff);
    REQUIRE(encode(read) == stream);
  }
}

TEST_CASE("a stream that ends early is refused at every byte") {
  for (const std::string& golden : {golden_v1, golden_v2}) {
    for (std::size_t length = 0; length < golden.size(); ++length) {
      CAPTURE(length);
      CHECK(code_of(golden.substr(0, length)) == ErrorCode::format);
      CHECK(code_of(golden.substr(0, length), 1) == ErrorCode::format);
    }
  }
}

TEST_CASE("a flipped bit is refused or is part of what is read") {
  std::mt19937_64 random(7);
  std::vector<std::string> streams{golden_v1, golden_v2};
  for (int count = 0; count < 6; ++count) {
    streams.push_back(encode(random_diff(random, count % 2 == 0 ? DiffFormat::v1 : DiffFormat::v2)));
  }
  for (const std::string& stream : streams) {
    for (std::size_t bit = 0; bit < stream.size() * 8; ++bit) {
      std::string damaged = stream;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
      try {
        // A stream that is accepted says exactly what it was read as: nothing in it was passed over.
        const RecordedDiff diff = decode(damaged);
        REQUIRE(encode(diff) == damaged);
      } catch (const Error& error) {
        REQUIRE(error.code() == ErrorCode::format);
      }
    }
  }
}

TEST_CASE("every order of records but the right one is refused") {
  const std::string f = name1('f', "a");
  const std::string t = name1('t', "b");
  const std::string s = size1(1000);
  const std::string w = write1(10, "abc");
  const std::string z = zero1(20, 5);
  struct Row {
    const char* what;
    std::string stream;
    const char* cause;
  };
  const std::vector<Row> rows{
      {"no banner", s + std::string(20, 'e'), "banner"},
      {"an unknown version", "rbd diff v3\n" + s + "e", "banner"},
      {"an image banner", "rbd image v2\n" + s + "e", "banner"},
      {"t before f", v1_banner + t + f + s + "e", "'f' out of its order"},
      {"f twice", v1_banner + f + f + s + "e", "'f' out of its order"},
      {"t twice", v1_banner + t + t + s + "e", "'t' out of its order"},
      {"s twice", v1_banner + s + s + "e", "'s' out of its order"},
      {"f after s", v1_banner + s + f + "e", "'f' out of its order"},
      {"t after s", v1_banner + s + t + "e", "'t' out of its order"},
      {"s after w", v1_banner + s + w + s + "e", "'s' out of its order"},
      {"f after w", v1_banner + s + w + f + "e", "'f' out of its order"},
      {"t after z", v1_banner + s + z + t + "e", "'t' out of its order"},
      {"w without s", v1_banner + f + t + w + "e", "before the size"},
      {"z without s", v1_banner + z + "e", "before the size"},
      {"e without s", v1_banner + "e", "before the size"},
      {"no e", v1_banner + s + w, "before its end record"},
      {"bytes after e", v1_banner + s + "e\n", "after the end record"},
      {"two ends", v1_banner + s + "ee", "after the end record"},
      {"two streams", v1_banner + s + "e" + v1_banner + s + "e", "after the end record"},
      {"an unknown tag", v1_banner + s + "x" + w + "e", "unknown record 'x'"},
      {"a zero tag", v1_banner + s + "\0"s + "e", "unknown record 0x00"},
      {"p in v1", v1_banner + t + "p\x01"s + s + "e", "unknown record 'p'"},
      {"descending", v1_banner + s + z + w + "e", "at 10 after one that ended at 25"},
      {"overlapping", v1_banner + s + w + zero1(12, 1) + "e", "at 12 after one that ended at 13"},
      {"the same twice", v1_banner + s + z + z + "e", "at 20 after one that ended at 25"},
      {"an empty w", v1_banner + s + write1(1, "") + "e", "empty extent"},
      {"an empty z", v1_banner + s + zero1(1, 0) + "e", "empty extent"},
      {"past the end", v1_banner + s + zero1(1001, 1) + "e", "in an image of 1000"},
      {"across the end", v1_banner + s + zero1(999, 2) + "e", "in an image of 1000"},
      {"in an empty image", v1_banner + size1(0) + zero1(0, 1) + "e", "in an image of 0"},
      {"overflowing", v1_banner + size1(~0ULL) + zero1(2, ~0ULL - 1) + "e", "extent of"},
      {"overflowing to nothing", v1_banner + size1(~0ULL) + zero1(~0ULL, 1) + "e", "extent of"},
      {"a huge w", v1_banner + size1(~0ULL) + "w" + le64(0) + le64(max_diff_data_bytes + 1), "data record of"},
      {"an endless w", v1_banner + size1(~0ULL) + "w" + le64(0) + le64(~0ULL), "data record of"},
      {"an empty name", v1_banner + name1('f', "") + s + "e", "name of 0 bytes"},
      {"a long name", v1_banner + name1('t', std::string(4097, 'n')) + s + "e", "name of 4097 bytes"},
      {"an endless name", v1_banner + "f" + le32(~0U) + s + "e", "name of 4294967295 bytes"},
      {"a name with a zero byte", v1_banner + name1('t', "a\0b"s) + s + "e", "zero byte"},
      {"v2: p without t", v2_banner + "p" + le64(8) + "\0"s + "s" + le64(8) + le64(0) + "e", "without an end"},
      {"v2: p of 2", v2_banner + "t" + le64(5) + name1('t', "b").substr(1) + "p" + le64(8) + "\x02"s, "neither"},
      {"v2: p before t", v2_banner + "p" + le64(8) + "\0t"s, "without an end"},
      {"v2: p of 2 bytes", v2_banner + "t" + le64(5) + name1('t', "b").substr(1) + "p" + le64(2), "'p' of 2 bytes"},
      {"v2: s too long", v2_banner + "s" + le64(9) + le64(0) + "xe", "'s' of 9 bytes"},
      {"v2: z too short", v2_banner + "s" + le64(8) + le64(9) + "z" + le64(15) + le64(1) + le64(1) + "e",
       "'z' of 15"},
      {"v2: w length apart", v2_banner + "s" + le64(8) + le64(9) + "w" + le64(18) + le64(1) + le64(1) + "ab",
       "record of 18"},
      {"v2: w endless", v2_banner + "s" + le64(8) + le64(9) + "w" + le64(~0ULL), "'w' of"},
      {"v2: name apart", v2_banner + "f" + le64(6) + name1('f', "a").substr(1) + "xs", "record of 6"},
      {"v2: name endless", v2_banner + "f" + le64(~0ULL) + name1('f', "a").substr(1), "'f' of"},
      {"v2: an unknown record", v2_banner + "q" + le64(1) + "xs" + le64(8) + le64(0) + "e", "unknown record 'q'"},
      {"v2 with v1 records", v2_banner + size1(16) + "e", "'s' of 16 bytes"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    CHECK(code_of(row.stream) == ErrorCode::format);
    CHECK(code_of(row.stream, 1) == ErrorCode::format);
    const std::string cause = cause_of(row.stream);
    CAPTURE(cause);
    CHECK(cause.find(row.cause) != std::string::npos);
    CHECK(cause.starts_with("at byte "));
  }
}

TEST_CASE("an error names the byte where the field began") {
  CHECK(cause_of(v1_banner + "x").starts_with("at byte 12:"));
  CHECK(cause_of(v1_banner + size1(5) + "z" + le64(9) + le64(9)).starts_with("at byte 22:"));
  CHECK(cause_of(v1_banner + size1(5)).starts_with("at byte 21:"));
  CHECK(cause_of(v1_banner + size1(5) + "e!").starts_with("at byte 22:"));
}

TEST_CASE("a decoder that has failed stays failed") {
  RecordedDiff out;
  DiffDecoder decoder(out);
  CHECK_THROWS_AS(decoder.feed(bytes_of(v1_banner + "x")), Error);
  CHECK_THROWS_AS(decoder.feed(bytes_of("e")), Error);
  CHECK_THROWS_AS(decoder.finish(), Error);
}

TEST_CASE("what a handler throws comes out, and the decoder stays failed") {
  struct Refusing final : DiffRecordHandler {
    void header(DiffFormat, const DiffHeader&) override {}
    void data_begin(std::uint64_t, std::uint64_t) override {}
    void data(std::uint64_t, std::span<const std::byte>) override {}
    void zero(std::uint64_t, std::uint64_t) override { throw std::domain_error("no"); }
    void end() override {}
  } refusing;
  DiffDecoder decoder(refusing);
  CHECK_THROWS_AS(decoder.feed(bytes_of(golden_v1)), std::domain_error);
  CHECK_THROWS_AS(decoder.finish(), Error);
}

TEST_CASE("data is handed on as it comes, never kept") {
  struct Counting final : DiffRecordHandler {
    std::uint64_t bytes = 0;
    std::size_t largest = 0;
    void header(DiffFormat, const DiffHeader&) override {}
    void data_begin(std::uint64_t, std::uint64_t) override {}
    void data(std::uint64_t offset, std::span<const std::byte> piece) override {
      CHECK(offset == bytes);
      bytes += piece.size();
      largest = std::max(largest, piece.size());
    }
    void zero(std::uint64_t, std::uint64_t) override {}
    void end() override {}
  } counting;
  DiffDecoder decoder(counting);
  const std::uint64_t length = 64 << 20;
  decoder.feed(bytes_of(v1_banner + size1(length) + "w" + le64(0) + le64(length)));
  const std::string piece(1 << 20, 'x');
  for (std::uint64_t given = 0; given < length; given += piece.size()) {
    decoder.feed(bytes_of(piece));
    CHECK(counting.bytes == given + piece.size());
  }
  decoder.feed(bytes_of("e"));
  decoder.finish();
  CHECK(counting.largest == piece.size());
}

TEST_CASE("an encoder refuses what a decoder would refuse") {
  std::string out;
  const auto encoder = [&out](DiffFormat format = DiffFormat::v1) {
    out.clear();
    return DiffEncoder(format, [&out](std::span<const std::byte> bytes) {
      out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    });
  };
  const DiffHeader header{.from_snapshot = {}, .end_snapshot = {}, .end_protected = {}, .size_bytes = 100};
  DiffEncoder early = encoder();
  CHECK_THROWS_AS(early.zero(0, 1), Error);
  CHECK_THROWS_AS(early.data_begin(0, 1), Error);
  CHECK_THROWS_AS(early.end(), Error);
  DiffHeader bad = header;
  bad.end_protected = true;
  CHECK_THROWS_AS(encoder().header(bad), Error);
  CHECK_THROWS_AS(encoder(DiffFormat::v2).header(bad), Error);
  bad = header;
  bad.from_snapshot = "";
  CHECK_THROWS_AS(encoder().header(bad), Error);
  bad.from_snapshot = std::string(4097, 'x');
  CHECK_THROWS_AS(encoder().header(bad), Error);
  CHECK(out.empty());

  DiffEncoder strict = encoder();
  strict.header(header);
  CHECK_THROWS_AS(strict.header(header), Error);
  CHECK_THROWS_AS(strict.zero(0, 0), Error);
  CHECK_THROWS_AS(strict.zero(50, 51), Error);
  strict.zero(10, 10);
  CHECK_THROWS_AS(strict.zero(19, 1), Error);
  strict.data_begin(20, 3);
  CHECK_THROWS_AS(strict.end(), Error);
  CHECK_THROWS_AS(strict.zero(30, 1), Error);
  CHECK_THROWS_AS(strict.data(bytes_of("abcd")), Error);
  strict.data(bytes_of("a"));
  strict.data(bytes_of("bc"));
  CHECK_THROWS_AS(strict.data(bytes_of("d")), Error);
  strict.end();
  CHECK_THROWS_AS(strict.end(), Error);
  CHECK(out == v1_banner + size1(100) + zero1(10, 10) + write1(20, "abc") + "e");
}
