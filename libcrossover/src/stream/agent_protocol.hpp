/// \file
/// The bytes between a source and `crossover agent` on the destination: one connection, one process, over its
/// standard input and output. This comment is the description of the protocol; the types below read and write it.
/// Pure.
///
/// Integers are little-endian. Reserved fields are zero. Whoever reads something else than what is written here
/// gives the connection up with Error{format}.
///
/// **Hello.** Each side sends one at once, without waiting for the other's:
///
///     "crossover-agent\n"  16 bytes
///     u32 protocol version (10)
///     u8  length, then the library's version in so many bytes, such as "0.1.0"
///
/// Sides with different protocol versions part after it; the library's version is for messages only.
///
/// **Frames** follow: u8 type, u8 flags (0), u16 check, u32 length, then so many bytes. The check is the lowest
/// bits of XXH3-64 of the other six: a length that was changed on the way would let one side wait for what never
/// comes.
///
///     type         from     length        content
///     1 request    client   up to 8 MiB   JSON {"id", "op", and what the operation takes}
///     2 answer     server   up to 64 MiB  JSON {"id", "result"} or {"id", "error": {"code", "operation",
///                                         "subject", "cause", "retryable"}}
///     3 busy       server   0             the request is being worked on
///     16 size      both     16            u64 the image's size at the end of the diff, u64 hash
///     17 data      both     25 to 24+4Mi  see below
///     18 zero      both     24            u64 offset, u64 length, u64 hash
///     19 end       both     24            u64 number of data and zero frames, 16 bytes digest
///     20 mark      both     24            the same, of the frames so far
///
/// While a server works on a request, a transfer included, it sends a busy frame every five seconds, between other
/// frames. A client that hears nothing for 45 seconds while it waits for an answer takes the server for gone.
///
/// One request at a time: its answer comes before the next request. Strings in JSON are bytes, each written as
/// the code point of its number (U+0000 to U+00FF), for configurations and metadata need not be UTF-8.
///
/// **A transfer** is size, then data and zero frames in ascending order without overlaps, then end. The client
/// sends one after the answer to "held_write_diff"; the server then answers a second time, with its own digest in
/// hex, when everything is on stable storage. The server sends one after the answer to "read_diff". A side that
/// fails in the middle of a transfer sends no end; a server sends an answer with the error and, if it was writing,
/// ends. A client that goes away in the middle leaves a torn head and no snapshot.
///
/// "hold" comes before; its "memory_bytes", if there is one, is how much of a transfer's content the server may
/// have under way from then on, if that is less than what it was started with.
///
/// **Marks** stand between data and zero frames: when everything before one is on stable storage, whoever writes
/// may record that the transfer came as far. A mark whose count or digest is not what came ends the transfer, as a
/// wrong end does. One that goes on where another ended has neither frames nor a digest of what lies before.
///
/// Who sends a transfer and has nothing to send for five seconds sends a mark. A server that hears nothing for 45
/// seconds between size and end, or while it holds an image and waits for a request, takes the client for gone: a
/// host that lost its power says no goodbye. Who holds an image and has nothing to ask sends a "ping" every ten
/// seconds.
///
/// **Hashes.** Size, data and zero frames carry one each, so that a receiver that acts on them acts on what was
/// meant: what a diff wrote elsewhere by mistake no later part of it would mend. Of a size frame it is XXH3-64 of
/// its u64, of a zero frame XXH3-64 of its two, and of a data frame XXH3-64 of the raw bytes, with XXH3-64 of the
/// u64 offset and u64 raw length as its seed.
///
/// **Data** is u64 offset, u64 hash, u32 raw length (1 to 4 MiB), u8 codec, u8 and u16
/// reserved, then the bytes as the codec has them; they are never longer than the raw ones. The codec is a set of
/// bits: 2 sparse, then 1 zstd, applied in this order. Sparse leaves out zeroes: a bit for each page of 4096 bytes
/// of the block (its last may be shorter), lowest bit of the first byte first, unused bits zero, and then the pages
/// whose bit is set; the others are zeroes.
///
/// **The digest** is XXH3-128 in its canonical form (big-endian, as XXH128_canonicalFromHash writes it) over: the
/// u64 of the size frame; of each data frame a u64 offset, u64 raw length and u64 hash; of each zero frame a u64
/// offset, u64 length and the u64 0xffffffffffffffff. The codec is not in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stream/owned_bytes.hpp"

namespace crossover::stream {

inline constexpr std::string_view agent_magic = "crossover-agent\n";
inline constexpr std::uint32_t agent_protocol_version = 10;
inline constexpr std::size_t max_block_bytes = std::size_t{4} << 20;
inline constexpr std::size_t max_request_bytes = std::size_t{8} << 20;
inline constexpr std::size_t max_answer_bytes = std::size_t{64} << 20;
inline constexpr std::size_t frame_header_bytes = 8;
inline constexpr std::size_t block_header_bytes = 24;
static_assert(frame_header_bytes + block_header_bytes <= header_room_bytes);

/// What each side says first.
struct AgentHello {
  std::uint32_t protocol = agent_protocol_version;
  std::string version;

  bool operator==(const AgentHello&) const = default;
};

/// Throws Error{usage} if the version does not fit.
std::string render_hello(const AgentHello& hello);

enum class FrameType : std::uint8_t {
  request = 1,
  answer = 2,
  busy = 3,
  size = 16,
  data = 17,
  zero = 18,
  end = 19,
  mark = 20
};

struct Frame {
  FrameType type{};
  OwnedBytes payload;

  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(payload.span().data()), payload.size()};
  }
  bool operator==(const Frame&) const = default;
};

/// A frame's first bytes. `length` must be within the type's limits.
void write_frame_header(std::span<std::byte, frame_header_bytes> out, FrameType type, std::size_t length);

/// A whole frame.
std::vector<std::byte> render_frame(FrameType type, std::string_view payload);

/// Takes a byte stream in pieces of any size and gives the hello and the frames in it. Holds no more than one frame
/// and what the last piece brought beyond it; a frame's length is not believed before its bytes have come.
class FrameDecoder {
 public:
  /// `peer` stands in errors.
  explicit FrameDecoder(std::string peer) : peer_(std::move(peer)) {}

  void feed(std::span<const std::byte> bytes);

  /// Where to read what is missing of a large frame to, instead of feeding it; empty if there is none to be
  /// finished. What was read is told with filled(). Call it after next() gave nothing.
  std::span<std::byte> room();
  void filled(std::size_t count) noexcept { filled_ += count; }

  /// The hello; nothing as long as it is not complete. Call it until it gives one, before next(). Throws
  /// Error{format} as soon as the bytes cannot become one.
  std::optional<AgentHello> hello();

  /// The next frame; nothing as long as it is not complete. Throws Error{format}.
  std::optional<Frame> next();

  /// Whether every byte that came belonged to what was given out.
  [[nodiscard]] bool empty() const noexcept { return head_ == bytes_.size() && !large_; }

  /// What has come and was not given out, for a message about it.
  [[nodiscard]] std::string_view rest() const noexcept;

 private:
  [[noreturn]] void fail(const std::string& cause) const;
  void take(std::size_t count) noexcept;

  std::string peer_;
  std::vector<std::byte> bytes_;
  std::size_t head_ = 0;
  std::optional<Frame> large_;  // a data frame that has begun, and of whose payload so much has come
  std::size_t filled_ = 0;
};

}  // namespace crossover::stream
