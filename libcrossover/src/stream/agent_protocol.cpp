#include "stream/agent_protocol.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "crossover/error.hpp"
#include "stream/little_endian.hpp"
#include "stream/transfer_digest.hpp"

namespace crossover::stream {

namespace {

// Smaller ones come whole with the next piece.
constexpr std::size_t large_frame_bytes = std::size_t{64} << 10;
constexpr std::size_t hello_head_bytes = agent_magic.size() + 4 + 1;

struct LengthLimits {
  std::size_t least;
  std::size_t most;
};

std::optional<LengthLimits> limits_of(std::uint8_t type) {
  switch (static_cast<FrameType>(type)) {
    case FrameType::request:
      return LengthLimits{2, max_request_bytes};
    case FrameType::answer:
      return LengthLimits{2, max_answer_bytes};
    case FrameType::busy:
      return LengthLimits{0, 0};
    case FrameType::size:
      return LengthLimits{16, 16};
    case FrameType::data:
      return LengthLimits{block_header_bytes + 1, block_header_bytes + max_block_bytes};
    case FrameType::zero:
    case FrameType::end:
    case FrameType::mark:
      return LengthLimits{24, 24};
  }
  return std::nullopt;
}

/// The check field of a frame without flags.
std::uint16_t check_of(FrameType type, std::uint32_t length) {
  std::string fields;
  append_little_endian(fields, static_cast<std::uint8_t>(type));
  append_little_endian(fields, std::uint8_t{0});
  append_little_endian(fields, length);
  return static_cast<std::uint16_t>(hash_of(std::as_bytes(std::span(fields))));
}

/// What somebody said instead of the protocol, fit for an error's line.
std::string quoted(std::string_view text) {
  constexpr std::size_t longest = 120;
  std::string line;
  for (const char c : text.substr(0, longest)) line += c >= 0x20 && c < 0x7f ? c : '?';
  return line;
}

}  // namespace

std::string render_hello(const AgentHello& hello) {
  if (hello.version.size() > 255) throw Error(ErrorCode::usage, "greet", "", "the version is too long");
  std::string out(agent_magic);
  append_little_endian(out, hello.protocol);
  append_little_endian(out, static_cast<std::uint8_t>(hello.version.size()));
  return out + hello.version;
}

void write_frame_header(std::span<std::byte, frame_header_bytes> out, FrameType type, std::size_t length) {
  std::string header;
  append_little_endian(header, static_cast<std::uint8_t>(type));
  append_little_endian(header, std::uint8_t{0});
  append_little_endian(header, check_of(type, static_cast<std::uint32_t>(length)));
  append_little_endian(header, static_cast<std::uint32_t>(length));
  std::memcpy(out.data(), header.data(), out.size());
}

std::vector<std::byte> render_frame(FrameType type, std::string_view payload) {
  const auto limits = limits_of(static_cast<std::uint8_t>(type));
  if (!limits || payload.size() < limits->least || payload.size() > limits->most) {
    throw Error(
        ErrorCode::format, "write frame", "",
        fmt::format("{} bytes do not fit into a frame of type {}", payload.size(), static_cast<unsigned>(type)));
  }
  std::vector<std::byte> frame(frame_header_bytes + payload.size());
  write_frame_header(std::span(frame).first<frame_header_bytes>(), type, payload.size());
  if (!payload.empty()) std::memcpy(frame.data() + frame_header_bytes, payload.data(), payload.size());
  return frame;
}

void FrameDecoder::fail(const std::string& cause) const {
  throw Error(ErrorCode::format, "talk to", peer_, cause);
}

void FrameDecoder::feed(std::span<const std::byte> bytes) {
  while (large_ && !bytes.empty() && filled_ < large_->payload.size()) {
    const std::size_t count = std::min(bytes.size(), large_->payload.size() - filled_);
    std::memcpy(large_->payload.span().data() + filled_, bytes.data(), count);
    filled_ += count;
    bytes = bytes.subspan(count);
  }
  // What was given out is dropped when it is the larger part, so that each byte moves once on average.
  if (head_ > bytes_.size() - head_) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

std::string_view FrameDecoder::rest() const noexcept {
  return {reinterpret_cast<const char*>(bytes_.data()) + head_, bytes_.size() - head_};
}

void FrameDecoder::take(std::size_t count) noexcept {
  head_ += count;
  if (head_ == bytes_.size()) {
    bytes_.clear();
    head_ = 0;
  }
}

std::optional<AgentHello> FrameDecoder::hello() {
  const std::string_view text = rest();
  const std::size_t known = std::min(text.size(), agent_magic.size());
  if (text.substr(0, known) != agent_magic.substr(0, known)) {
    fail(fmt::format("something that is no crossover agent answers: '{}'", quoted(text)));
  }
  if (text.size() < hello_head_bytes) return std::nullopt;
  AgentHello hello;
  hello.protocol = read_little_endian<std::uint32_t>(text.substr(agent_magic.size()));
  const std::size_t length = read_little_endian<std::uint8_t>(text.substr(agent_magic.size() + 4));
  if (text.size() < hello_head_bytes + length) return std::nullopt;
  hello.version = text.substr(hello_head_bytes, length);
  take(hello_head_bytes + length);
  return hello;
}

std::span<std::byte> FrameDecoder::room() {
  return large_ ? large_->payload.span().subspan(filled_) : std::span<std::byte>();
}

std::optional<Frame> FrameDecoder::next() {
  if (large_) {
    if (filled_ < large_->payload.size()) return std::nullopt;
    return std::exchange(large_, std::nullopt);
  }
  const std::string_view text = rest();
  if (text.size() < frame_header_bytes) return std::nullopt;
  const auto type = read_little_endian<std::uint8_t>(text);
  const std::size_t length = read_little_endian<std::uint32_t>(text.substr(4));
  const auto limits = limits_of(type);
  if (!limits) fail(fmt::format("a frame of the unknown type {}", type));
  if (read_little_endian<std::uint8_t>(text.substr(1)) != 0) fail("a frame with flags");
  if (read_little_endian<std::uint16_t>(text.substr(2)) !=
      check_of(static_cast<FrameType>(type), static_cast<std::uint32_t>(length))) {
    fail(fmt::format("the header of a frame of type {} is not what was sent", type));
  }
  if (length < limits->least || length > limits->most) {
    fail(fmt::format("a frame of type {} with {} bytes", type, length));
  }
  if (text.size() - frame_header_bytes < length) {
    if (static_cast<FrameType>(type) != FrameType::data || length < large_frame_bytes) return std::nullopt;
    filled_ = text.size() - frame_header_bytes;
    large_.emplace(Frame{FrameType::data, OwnedBytes(length)});
    std::memcpy(large_->payload.span().data(), text.data() + frame_header_bytes, filled_);
    take(text.size());
    return std::nullopt;
  }
  Frame frame{static_cast<FrameType>(type),
              OwnedBytes::copy_of(std::span(bytes_).subspan(head_ + frame_header_bytes, length))};
  take(frame_header_bytes + length);
  return frame;
}

}  // namespace crossover::stream
