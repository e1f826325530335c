/// \file
/// The frames of a transfer, written and read, as agent_protocol.hpp defines them. Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "crossover/diff_stream.hpp"
#include "stream/agent_protocol.hpp"
#include "stream/owned_bytes.hpp"
#include "stream/transfer_digest.hpp"

namespace crossover::stream {

/// Makes data frames. One for each thread.
class BlockEncoder {
 public:
  BlockEncoder();
  ~BlockEncoder();
  BlockEncoder(const BlockEncoder&) = delete;
  BlockEncoder& operator=(const BlockEncoder&) = delete;

  struct Block {
    OwnedBytes frame;
    std::uint64_t hash = 0;
    bool compressed = false;
  };

  /// Makes the frame of `bytes` (1 byte to max_block_bytes, behind header_room_bytes of room), and of their memory
  /// if they are sent as they are. Pages of zeroes are left out; with `compress` the rest is compressed if that
  /// saves a sixteenth.
  Block encode(std::uint64_t offset, OwnedBytes bytes, bool compress);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::vector<std::byte> render_size(std::uint64_t size_bytes);
std::vector<std::byte> render_zero(std::uint64_t offset, std::uint64_t length_bytes);
/// Both with the count and the digest of the frames so far.
std::vector<std::byte> render_mark(const TransferDigest& digest);
std::vector<std::byte> render_end(const TransferDigest& digest);

struct SizeRecord {
  std::uint64_t size_bytes = 0;
};
struct DataRecord {
  std::uint64_t offset = 0;
  OwnedBytes bytes;
};
struct ZeroRecord {
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
};
/// The digest that was sent is the one of what came so far.
struct MarkRecord {};
/// The end; the digest that was sent is the one of what came.
struct EndRecord {
  Digest digest{};
};
using TransferRecord = std::variant<SizeRecord, DataRecord, ZeroRecord, MarkRecord, EndRecord>;

/// Reads the frames of transfers, one after the other. Whatever it gives out has passed its hash; what it refuses
/// is Error{format}.
class TransferDecoder {
 public:
  explicit TransferDecoder(std::string peer);
  ~TransferDecoder();
  TransferDecoder(const TransferDecoder&) = delete;
  TransferDecoder& operator=(const TransferDecoder&) = delete;

  /// Whether frames of this type are for it.
  static bool takes(FrameType type) noexcept;

  TransferRecord decode(Frame frame);

 private:
  struct Context;
  DataRecord decode_data(OwnedBytes payload);
  void check_hash(std::uint64_t expected, std::string_view hash) const;
  void check_digest(std::string_view payload) const;
  /// The bytes of a block that was packed.
  OwnedBytes unpack(std::span<const std::byte> content, std::uint64_t offset, std::size_t length,
                    std::uint8_t codec);
  void take_extent(std::uint64_t offset, std::uint64_t length_bytes);
  [[noreturn]] void fail(const std::string& cause) const;

  std::string peer_;
  std::unique_ptr<Context> context_;
  std::optional<TransferDigest> digest_;  // while a transfer goes on
  detail::DiffExtentRule extents_;
};

}  // namespace crossover::stream
