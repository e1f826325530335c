/// \file
/// Transfers as plain values, for tests.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "crossover/error.hpp"
#include "stream/agent_protocol.hpp"
#include "stream/transfer_frames.hpp"

namespace crossover::test {

struct TransferExtent {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool is_zero = false;
  std::vector<std::byte> bytes;

  bool operator==(const TransferExtent&) const = default;
};

struct Transfer {
  std::uint64_t size_bytes = 0;
  std::vector<TransferExtent> extents;

  bool operator==(const Transfer&) const = default;
};

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline std::string to_hex_text(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

/// A copy, with room for a frame's header in front.
inline OwnedBytes with_room(std::span<const std::byte> bytes) {
  OwnedBytes copy(0, header_room_bytes);
  copy.append(bytes);
  return copy;
}

inline std::string greeting() {
  return stream::render_hello({stream::agent_protocol_version, "0.1.0"});
}

/// Random content for the extents that are data.
inline void fill(Transfer& transfer, std::mt19937_64& random) {
  for (TransferExtent& extent : transfer.extents) {
    if (extent.is_zero) continue;
    extent.bytes.resize(extent.length);
    for (std::byte& byte : extent.bytes) byte = static_cast<std::byte>(random());
  }
}

inline Transfer random_transfer(std::mt19937_64& random) {
  Transfer transfer{.size_bytes = (1 << 20) + random() % (8 << 20)};
  std::uint64_t position = 0;
  for (auto count = random() % 12; count > 0; --count) {
    position += random() % 3 == 0 ? 0 : random() % 100000;
    const std::uint64_t length = 1 + random() % (random() % 4 == 0 ? stream::max_block_bytes : 9000);
    if (position + length > transfer.size_bytes) break;
    transfer.extents.push_back({position, length, random() % 4 == 0, {}});
    position += length;
  }
  fill(transfer, random);
  for (TransferExtent& extent : transfer.extents) {
    if (random() % 2 == 0) std::fill(extent.bytes.begin(), extent.bytes.end(), std::byte{7});
  }
  return transfer;
}

/// The transfer's frames; each data extent has to fit into one.
inline std::string render_transfer(const Transfer& transfer) {
  std::string out = text_of(stream::render_size(transfer.size_bytes));
  stream::TransferDigest digest;
  digest.size(transfer.size_bytes);
  stream::BlockEncoder encoder;
  for (const TransferExtent& extent : transfer.extents) {
    // Each extent has its mark before it.
    out += text_of(stream::render_mark(digest));
    if (extent.is_zero) {
      out += text_of(stream::render_zero(extent.offset, extent.length));
      digest.zero(extent.offset, extent.length);
      continue;
    }
    const stream::BlockEncoder::Block block = encoder.encode(extent.offset, with_room(extent.bytes), true);
    out += text_of(block.frame.span());
    digest.data(extent.offset, extent.length, block.hash);
  }
  return out + text_of(stream::render_end(digest));
}

/// Reads a hello and one transfer with nothing behind it, fed in pieces. Throws Error{format}, for more than
/// `most_bytes` of data too.
inline Transfer read_transfer(std::string_view stream, std::size_t piece_bytes, std::uint64_t most_bytes = ~0ULL) {
  stream::FrameDecoder frames("peer");
  stream::TransferDecoder decoder("peer");
  Transfer transfer;
  bool greeted = false;
  bool ended = false;
  while (!stream.empty()) {
    // As who reads does it: into the frame that is being waited for, or fed.
    const std::span<std::byte> room = frames.room();
    const std::string_view piece =
        stream.substr(0, room.empty() ? piece_bytes : std::min(piece_bytes, room.size()));
    stream.remove_prefix(piece.size());
    if (room.empty()) {
      frames.feed(std::as_bytes(std::span(piece)));
    } else {
      std::copy_n(std::as_bytes(std::span(piece)).begin(), piece.size(), room.begin());
      frames.filled(piece.size());
    }
    if (!greeted && !(greeted = frames.hello().has_value())) continue;
    while (auto frame = frames.next()) {
      if (!stream::TransferDecoder::takes(frame->type)) throw Error(ErrorCode::format, "", "", "no transfer");
      stream::TransferRecord record = decoder.decode(*std::move(frame));
      if (const auto* size = std::get_if<stream::SizeRecord>(&record)) transfer.size_bytes = size->size_bytes;
      if (auto* data = std::get_if<stream::DataRecord>(&record)) {
        const std::uint64_t length = data->bytes.size();
        if (length > most_bytes) throw Error(ErrorCode::format, "", "", "more than was asked for");
        most_bytes -= length;
        const auto bytes = data->bytes.span();
        transfer.extents.push_back({data->offset, length, false, {bytes.begin(), bytes.end()}});
      }
      if (const auto* zero = std::get_if<stream::ZeroRecord>(&record)) {
        transfer.extents.push_back({zero->offset, zero->length_bytes, true, {}});
      }
      ended = std::holds_alternative<stream::EndRecord>(record);
    }
  }
  if (!ended || !frames.empty()) throw Error(ErrorCode::format, "", "", "the stream was cut off");
  return transfer;
}

}  // namespace crossover::test
