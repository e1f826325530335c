// The agent's protocol, byte by byte.
#include "stream/agent_protocol.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>

#include "crossover/error.hpp"
#include "stream/transfer_frames.hpp"
#include "unit/stream/recorded_transfer.hpp"

using namespace crossover;
using namespace crossover::stream;
using namespace crossover::test;
using namespace std::string_literals;

namespace {

/// What came of a stream: how it was understood, or the error's cause.
std::string outcome(std::string_view stream, std::size_t piece = 4096) {
  try {
    read_transfer(stream, piece);
    return "read";
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::format);
    return error.cause();
  }
}

/// A frame with the check field its header should have, changed by `wrong`.
std::string cause_of(FrameType type, std::uint8_t flags, std::uint16_t wrong, const std::string& payload) {
  std::array<std::byte, frame_header_bytes> header{};
  write_frame_header(header, type, payload.size());
  header[1] = std::byte{flags};
  header[2] ^= static_cast<std::byte>(wrong);
  header[3] ^= static_cast<std::byte>(wrong >> 8);
  return outcome(greeting() + text_of(header) + payload);
}

/// Of a header alone.
std::string cause_of_length(FrameType type, std::size_t length) {
  std::array<std::byte, frame_header_bytes> header{};
  write_frame_header(header, type, length);
  return outcome(greeting() + text_of(header));
}

}  // namespace

TEST_CASE("a hello has the bytes the protocol says") {
  CHECK(render_hello({1, "0.1.0"}) == "crossover-agent\n\x01\0\0\0\x05"s + "0.1.0");
  FrameDecoder decoder("peer");
  const std::string hello = render_hello({7, "12.0"});
  for (const char c : hello) {
    CHECK_FALSE(decoder.hello());
    decoder.feed(std::as_bytes(std::span(&c, 1)));
  }
  CHECK(decoder.hello() == AgentHello{7, "12.0"});
  CHECK(decoder.empty());
}

TEST_CASE("anything else than a hello is refused at its first wrong byte") {
  for (const std::string& text : {"Welcome to pve04!\n"s, "crossover-agenT"s, "\0"s, "bash: crossover"s}) {
    FrameDecoder decoder("peer");
    decoder.feed(std::as_bytes(std::span(text)));
    CHECK_THROWS_AS(decoder.hello(), Error);
  }
}

TEST_CASE("a transfer has the bytes the protocol says") {
  TransferDigest digest;
  const std::string content = "0123456789abcdef";
  const auto bytes = std::as_bytes(std::span(content));
  BlockEncoder encoder;
  const BlockEncoder::Block block = encoder.encode(0x1000, with_room(bytes), true);
  CHECK_FALSE(block.compressed);
  CHECK(block.hash == 0xb4dccc32351a0ffdULL);
  CHECK(to_hex_text(block.frame.span()) ==
        "110093bd28000000"
        "0010000000000000"
        "fd0f1a3532ccdcb4"
        "1000000000000000"
        "30313233343536373839616263646566");
  digest.size(0x10000);
  digest.data(0x1000, content.size(), block.hash);
  digest.zero(0x2000, 0x3000);
  CHECK(to_hex_text(render_size(0x10000)) == "10004dd9100000000000010000000000b025d2cff4975ff5");
  CHECK(to_hex_text(render_zero(0x2000, 0x3000)) ==
        "12001833180000000020000000000000003000000000000091a2e7f6d29839e5");
  CHECK(to_hex_text(render_end(digest)) == "1300a42318000000020000000000000032366e72c93ab3839a193e19544f8c04");
  // The same but for the header.
  CHECK(to_hex_text(render_mark(digest)).substr(16) == to_hex_text(render_end(digest)).substr(16));
  CHECK(to_hex_text(render_mark(digest)).starts_with("1400"));
}

TEST_CASE("whatever goes in comes out, in pieces of any size") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20; ++round) {
    const Transfer transfer = random_transfer(random);
    const std::string stream = greeting() + render_transfer(transfer);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{4096}, stream.size()}) {
      const bool is_same = read_transfer(stream, piece) == transfer;
      CHECK(is_same);
    }
  }
}

TEST_CASE("a stream that is cut off is never taken for a whole one") {
  std::mt19937_64 random(2);
  Transfer transfer{.size_bytes = 1 << 20};
  transfer.extents = {{0, 300, false, {}}, {5000, 4096, true, {}}, {20000, 700, false, {}}};
  fill(transfer, random);
  const std::string stream = greeting() + render_transfer(transfer);
  for (std::size_t length = 0; length < stream.size(); ++length) {
    CHECK(outcome(stream.substr(0, length)) == "the stream was cut off");
  }
  CHECK(outcome(stream) == "read");
}

TEST_CASE("a bit that flips is noticed before the end") {
  std::mt19937_64 random(3);
  Transfer transfer{.size_bytes = 1 << 20};
  transfer.extents = {{4096, 200, false, {}}, {8192, 4096, true, {}}, {20000, 600, false, {}}};
  fill(transfer, random);
  transfer.extents[2].bytes.assign(600, std::byte{'x'});  // this one is compressed
  const std::string stream = greeting() + render_transfer(transfer);
  const std::size_t begin = greeting().size();
  for (std::size_t bit = begin * 8; bit < stream.size() * 8; ++bit) {
    std::string flipped = stream;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    CAPTURE(bit);
    // A compressed block has a few bits that mean nothing: what comes out is then the same.
    const bool is_noticed = outcome(flipped) != "read" || read_transfer(flipped, 4096) == transfer;
    CHECK(is_noticed);
  }
}

TEST_CASE("frames that are not of the protocol are refused") {
  CHECK(cause_of(FrameType{0}, 0, 0, "xx").starts_with("a frame of the unknown type 0"));
  CHECK(cause_of(FrameType{4}, 0, 0, "xx").starts_with("a frame of the unknown type 4"));
  CHECK(cause_of(FrameType::size, 1, 0, std::string(16, '\0')) == "a frame with flags");
  CHECK(cause_of(FrameType::size, 0, 256, std::string(16, '\0')) ==
        "the header of a frame of type 16 is not what was sent");
  CHECK(cause_of(FrameType::size, 0, 0, std::string(7, '\0')) == "a frame of type 16 with 7 bytes");
  CHECK(cause_of(FrameType::data, 0, 0, std::string(24, '\0')) == "a frame of type 17 with 24 bytes");
  CHECK(cause_of(FrameType::zero, 0, 0, std::string(24, '\0')) == "content before a size");
  // A length over the cap is refused before anything of it has come.
  CHECK(cause_of_length(FrameType::data, 4194329) == "a frame of type 17 with 4194329 bytes");
  CHECK(cause_of_length(FrameType::request, 67108865) == "a frame of type 1 with 67108865 bytes");
}

TEST_CASE("a transfer is refused that is out of order") {
  const std::string size = text_of(render_size(8192));
  const std::string zero = text_of(render_zero(4096, 4096));
  CHECK(outcome(greeting() + size + size) == "a second size");
  CHECK(outcome(greeting() + size + zero + zero).starts_with("an extent at 4096 after"));
  CHECK(outcome(greeting() + size + text_of(render_zero(4096, 4097))).starts_with("an extent of 4097 bytes"));
  CHECK(outcome(greeting() + size + text_of(render_zero(4096, ~0ULL))).starts_with("an extent of"));
  CHECK(outcome(greeting() + size + text_of(render_zero(0, 0))).starts_with("an empty extent"));
  TransferDigest other;
  other.size(8192);
  CHECK(outcome(greeting() + size + zero + text_of(render_end(other))).starts_with("1 frames came, and 0"));
  CHECK(outcome(greeting() + size + zero + text_of(render_mark(other))).starts_with("1 frames came, and 0"));
  other.zero(0, 4096);
  CHECK(outcome(greeting() + size + zero + text_of(render_mark(other))).starts_with("the digest of what came"));
  CHECK(outcome(greeting() + size + zero + text_of(render_end(other))).starts_with("the digest of what came"));
}

TEST_CASE("pages of zeroes are not sent, with and without compression") {
  std::mt19937_64 random(5);
  for (const bool compress : {false, true}) {
    for (int round = 0; round < 100; ++round) {
      CAPTURE(round);
      // Pages that are full, empty, or hold one byte, in blocks that do not end with a page.
      std::vector<std::byte> content(1 + random() % (16 * 4096));
      std::size_t full = 0;
      for (std::size_t begin = 0; begin < content.size(); begin += 4096) {
        const std::size_t end = std::min(content.size(), begin + 4096);
        const auto kind = random() % 3;
        if (kind == 0) continue;
        full += end - begin;
        if (kind == 1) {
          content[begin + random() % (end - begin)] = std::byte{1};
        } else {
          for (std::size_t at = begin; at < end; ++at) content[at] = static_cast<std::byte>(random() | 1);
        }
      }
      BlockEncoder encoder;
      const BlockEncoder::Block block = encoder.encode(4096, with_room(content), compress);
      const std::size_t head = frame_header_bytes + block_header_bytes;
      CHECK(block.frame.size() <= head + std::min(content.size(), full + 2));
      FrameDecoder frames("peer");
      const std::string bytes = greeting() + text_of(render_size(1 << 20)) + text_of(block.frame.span());
      frames.feed(std::as_bytes(std::span(bytes)));
      REQUIRE(frames.hello());
      TransferDecoder decoder("peer");
      (void)decoder.decode(*frames.next());
      const auto record = decoder.decode(*frames.next());
      const bool is_same = std::ranges::equal(std::get<DataRecord>(record).bytes.span(), content);
      CHECK(is_same);
    }
  }
}

TEST_CASE("a map of pages that does not fit its pages is refused") {
  std::vector<std::byte> content(3 * 4096);
  content[4096] = std::byte{9};
  BlockEncoder encoder;
  const OwnedBytes encoded = encoder.encode(0, with_room(content), false).frame;
  const std::vector<std::byte> frame(encoded.span().begin(), encoded.span().end());
  const std::size_t map = frame_header_bytes + block_header_bytes;
  REQUIRE(frame.size() == map + 1 + 4096);
  REQUIRE(frame[map] == std::byte{2});
  // More pages than there are bytes, fewer, another one, and a page past the block's end.
  for (const unsigned wrong : {3U, 0U, 4U, 10U, 255U}) {
    CAPTURE(wrong);
    std::vector<std::byte> changed = frame;
    changed[map] = static_cast<std::byte>(wrong);
    const std::string bytes = greeting() + text_of(render_size(1 << 20)) + text_of(changed);
    FrameDecoder frames("peer");
    frames.feed(std::as_bytes(std::span(bytes)));
    REQUIRE(frames.hello());
    TransferDecoder decoder("peer");
    (void)decoder.decode(*frames.next());
    CHECK_THROWS_AS(decoder.decode(*frames.next()), Error);
  }
}

TEST_CASE("what does not shrink by a sixteenth is sent as it is") {
  BlockEncoder encoder;
  std::mt19937_64 random(4);
  const auto encoded = [&](std::size_t noise, std::size_t text) {
    std::vector<std::byte> content;
    for (std::size_t i = 0; i < noise; ++i) content.push_back(static_cast<std::byte>(random()));
    content.resize(noise + text, std::byte{'t'});
    return encoder.encode(0, with_room(content), true);
  };
  CHECK_FALSE(encoded(max_block_bytes, 0).compressed);
  CHECK_FALSE(encoded(max_block_bytes / 100 * 97, max_block_bytes / 100 * 3).compressed);
  CHECK(encoded(max_block_bytes / 2, max_block_bytes / 2).compressed);
  CHECK(encoded(0, max_block_bytes).frame.size() < 1000);
  CHECK_FALSE(encoded(1, 0).compressed);
}
