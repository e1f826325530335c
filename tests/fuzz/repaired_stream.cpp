#include "fuzz/repaired_stream.hpp"

#include <zstd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "stream/agent_protocol.hpp"
#include "stream/little_endian.hpp"
#include "stream/transfer_digest.hpp"

namespace crossover::test {

using namespace crossover::stream;

namespace {

constexpr std::size_t page_bytes = 4096;

/// What a sparse block stands for; nothing if its pages are not there.
std::optional<std::string> filled(std::string_view packed, std::size_t length) {
  const std::size_t pages = (length + page_bytes - 1) / page_bytes;
  const std::size_t map_bytes = (pages + 7) / 8;
  if (packed.size() < map_bytes) return std::nullopt;
  const std::string_view map = packed.substr(0, map_bytes);
  packed.remove_prefix(map_bytes);
  std::string out;
  for (std::size_t page = 0; page < pages; ++page) {
    const std::size_t bytes = std::min(page_bytes, length - out.size());
    const bool is_there = ((static_cast<unsigned char>(map[page / 8]) >> (page % 8)) & 1U) != 0;
    if (is_there && packed.size() < bytes) return std::nullopt;
    out.append(is_there ? std::string(packed.substr(0, bytes)) : std::string(bytes, '\0'));
    if (is_there) packed.remove_prefix(bytes);
  }
  return out;
}

/// The bytes of a block; nothing if there is no way to read it.
std::optional<std::string> unpacked(std::string_view content, std::size_t length, unsigned codec) {
  if (codec > 3 || length > max_block_bytes) return std::nullopt;
  std::string bytes(content);
  if ((codec & 1U) != 0) {
    bytes.assign(length, '\0');
    const std::size_t count = ZSTD_decompress(bytes.data(), bytes.size(), content.data(), content.size());
    if (ZSTD_isError(count) != 0) return std::nullopt;
    bytes.resize(count);
  }
  return (codec & 2U) != 0 ? filled(bytes, length) : bytes;
}

/// How long the payload of a frame is to be, of so many bytes that are left.
std::size_t length_of(FrameType type, std::size_t said, std::size_t left) {
  switch (type) {
    case FrameType::size:
      return 16;
    case FrameType::zero:
    case FrameType::mark:
    case FrameType::end:
      return 24;
    default:
      return std::min(said, left);
  }
}

void put(std::string& out, std::size_t offset, std::string_view bytes) {
  std::memcpy(out.data() + offset, bytes.data(), bytes.size());
}

void put_number(std::string& out, std::size_t offset, std::uint64_t number) {
  std::string field;
  append_little_endian(field, number);
  put(out, offset, field);
}

/// Makes a frame's payload fit, and counts it.
void repair(FrameType type, std::string& payload, TransferDigest& digest) {
  const auto number = [&payload](std::size_t offset) {
    return read_little_endian<std::uint64_t>(std::string_view(payload).substr(offset));
  };
  if (type == FrameType::size) {
    digest = {};
    digest.size(number(0));
    put_number(payload, 8, hash_of_size(number(0)));
  } else if (type == FrameType::zero) {
    digest.zero(number(0), number(8));
    put_number(payload, 16, hash_of_range(number(0), number(8)));
  } else if (type == FrameType::mark || type == FrameType::end) {
    std::string fields;
    append_little_endian(fields, digest.count());
    const Digest value = digest.value();
    fields.append(reinterpret_cast<const char*>(value.data()), value.size());
    put(payload, 0, fields);
  } else if (type == FrameType::data && payload.size() > block_header_bytes) {
    const auto length = read_little_endian<std::uint32_t>(std::string_view(payload).substr(16));
    const auto bytes = unpacked(std::string_view(payload).substr(block_header_bytes), length,
                                static_cast<unsigned char>(payload[20]));
    if (!bytes) return;
    const std::uint64_t hash = hash_of_block(number(0), std::as_bytes(std::span(*bytes)));
    put_number(payload, 8, hash);
    digest.data(number(0), length, hash);
  }
}

}  // namespace

std::string repaired(std::string_view stream) {
  const std::size_t head = agent_magic.size() + 5;
  if (stream.size() < head) return std::string(stream);
  const std::size_t hello = head + static_cast<unsigned char>(stream[head - 1]);
  std::string out(stream.substr(0, hello));
  stream.remove_prefix(std::min(stream.size(), hello));
  TransferDigest digest;
  while (stream.size() > frame_header_bytes) {
    const auto type = static_cast<FrameType>(stream[0]);
    const auto said = read_little_endian<std::uint32_t>(stream.substr(4));
    const std::size_t length = length_of(type, said, stream.size() - frame_header_bytes);
    if (length > stream.size() - frame_header_bytes) break;
    std::string payload(stream.substr(frame_header_bytes, length));
    repair(type, payload, digest);
    std::vector<std::byte> header(frame_header_bytes);
    write_frame_header(std::span(header).first<frame_header_bytes>(), type, length);
    out.append(reinterpret_cast<const char*>(header.data()), header.size());
    out += payload;
    stream.remove_prefix(frame_header_bytes + length);
  }
  return out.append(stream);
}

}  // namespace crossover::test
