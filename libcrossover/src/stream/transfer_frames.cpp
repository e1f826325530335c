#include "stream/transfer_frames.hpp"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include "crossover/error.hpp"
#include "stream/little_endian.hpp"

namespace crossover::stream {

namespace {

enum Codec : std::uint8_t { raw = 0, zstd = 1, sparse = 2 };

constexpr std::size_t headers_bytes = frame_header_bytes + block_header_bytes;
constexpr int compression_level = 1;
constexpr std::size_t page_bytes = 4096;

/// Makes a frame of a block's bytes.
void put_headers(OwnedBytes& block, std::uint64_t offset, std::uint64_t hash, std::size_t raw_bytes,
                 std::uint8_t codec) {
  const std::size_t length = block_header_bytes + block.size();
  block.put_before(headers_bytes);
  write_frame_header(block.span().first<frame_header_bytes>(), FrameType::data, length);
  std::string header;
  append_little_endian(header, offset);
  append_little_endian(header, hash);
  append_little_endian(header, static_cast<std::uint32_t>(raw_bytes));
  append_little_endian(header, codec);
  append_little_endian(header, std::uint8_t{0});
  append_little_endian(header, std::uint16_t{0});
  std::memcpy(block.span().data() + frame_header_bytes, header.data(), header.size());
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::size_t page_count(std::size_t raw_bytes) {
  return (raw_bytes + page_bytes - 1) / page_bytes;
}

bool is_zero(std::span<const std::byte> bytes) {
  return bytes.front() == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

/// The block without its pages of zeroes; nothing if it has none.
std::optional<OwnedBytes> without_zero_pages(std::span<const std::byte> bytes) {
  const std::size_t pages = page_count(bytes.size());
  std::vector<std::byte> map((pages + 7) / 8);
  std::size_t kept_bytes = 0;
  const auto page = [&](std::size_t number) {
    const std::size_t begin = number * page_bytes;
    return bytes.subspan(begin, std::min(page_bytes, bytes.size() - begin));
  };
  const auto is_kept = [&](std::size_t number) {
    return (map[number / 8] >> (number % 8) & std::byte{1}) != std::byte{0};
  };
  for (std::size_t number = 0; number < pages; ++number) {
    if (is_zero(page(number))) continue;
    map[number / 8] |= std::byte{1} << (number % 8);
    kept_bytes += page(number).size();
  }
  if (map.size() + kept_bytes >= bytes.size()) return std::nullopt;
  OwnedBytes out(map.size() + kept_bytes, header_room_bytes);
  out.truncate(0);
  out.append(map);
  for (std::size_t number = 0; number < pages; ++number) {
    if (is_kept(number)) out.append(page(number));
  }
  return out;
}

/// What without_zero_pages() made, as it was; false if it is no such thing.
bool fill_zero_pages(std::span<const std::byte> packed, std::span<std::byte> bytes) {
  const std::size_t pages = page_count(bytes.size());
  const std::size_t map_bytes = (pages + 7) / 8;
  if (packed.size() < map_bytes) return false;
  const std::span<const std::byte> map = packed.first(map_bytes);
  std::span<const std::byte> rest = packed.subspan(map_bytes);
  for (std::size_t number = 0; number < 8 * map_bytes; ++number) {
    const bool is_kept = (map[number / 8] >> (number % 8) & std::byte{1}) != std::byte{0};
    if (number >= pages) {
      if (is_kept) return false;
      continue;
    }
    const std::size_t begin = number * page_bytes;
    const std::span<std::byte> page = bytes.subspan(begin, std::min(page_bytes, bytes.size() - begin));
    if (!is_kept) {
      std::memset(page.data(), 0, page.size());
    } else if (rest.size() < page.size()) {
      return false;
    } else {
      std::memcpy(page.data(), rest.data(), page.size());
      rest = rest.subspan(page.size());
    }
  }
  return rest.empty();
}

std::vector<std::byte> render_digest(FrameType type, const TransferDigest& digest) {
  std::string payload;
  append_little_endian(payload, digest.count());
  payload += text_of(digest.value());
  return render_frame(type, payload);
}

}  // namespace

struct BlockEncoder::Context {
  Context() : zstd(ZSTD_createCCtx()) {
    if (zstd == nullptr) throw std::bad_alloc();
  }
  ~Context() { ZSTD_freeCCtx(zstd); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  ZSTD_CCtx* zstd;
  std::vector<std::byte> packed;  // what is being compressed goes there first
};

BlockEncoder::BlockEncoder() : context_(std::make_unique<Context>()) {}
BlockEncoder::~BlockEncoder() = default;

BlockEncoder::Block BlockEncoder::encode(std::uint64_t offset, OwnedBytes bytes, bool compress) {
  const std::size_t raw_bytes = bytes.size();
  Block block;
  block.hash = hash_of_block(offset, bytes.span());
  std::uint8_t codec = raw;
  if (auto kept = without_zero_pages(bytes.span())) {
    bytes = *std::move(kept);
    codec = sparse;
  }
  // With no more room than what pays, zstd gives up early on what does not compress.
  const std::size_t most = bytes.size() - bytes.size() / 16;
  if (compress && most < bytes.size()) {
    std::vector<std::byte>& packed = context_->packed;
    packed.resize(max_block_bytes);
    const std::size_t length = ZSTD_compressCCtx(context_->zstd, packed.data(), most, bytes.span().data(),
                                                 bytes.size(), compression_level);
    if (ZSTD_isError(length) == 0) {
      // Blocks wait by the dozen until they are sent: with no more memory than they need.
      bytes = OwnedBytes(length, header_room_bytes);
      std::memcpy(bytes.span().data(), packed.data(), length);
      codec |= zstd;
      block.compressed = true;
    }
  }
  put_headers(bytes, offset, block.hash, raw_bytes, codec);
  block.frame = std::move(bytes);
  return block;
}

std::vector<std::byte> render_size(std::uint64_t size_bytes) {
  std::string payload;
  append_little_endian(payload, size_bytes);
  append_little_endian(payload, hash_of_size(size_bytes));
  return render_frame(FrameType::size, payload);
}

std::vector<std::byte> render_zero(std::uint64_t offset, std::uint64_t length_bytes) {
  std::string payload;
  append_little_endian(payload, offset);
  append_little_endian(payload, length_bytes);
  append_little_endian(payload, hash_of_range(offset, length_bytes));
  return render_frame(FrameType::zero, payload);
}

std::vector<std::byte> render_mark(const TransferDigest& digest) {
  return render_digest(FrameType::mark, digest);
}

std::vector<std::byte> render_end(const TransferDigest& digest) {
  return render_digest(FrameType::end, digest);
}

struct TransferDecoder::Context {
  Context() : zstd(ZSTD_createDCtx()) {
    if (zstd == nullptr) throw std::bad_alloc();
  }
  ~Context() { ZSTD_freeDCtx(zstd); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  ZSTD_DCtx* zstd;
  std::vector<std::byte> packed;  // a block's bytes before its pages of zeroes are filled in
};

TransferDecoder::TransferDecoder(std::string peer)
    : peer_(std::move(peer)), context_(std::make_unique<Context>()) {}
TransferDecoder::~TransferDecoder() = default;

bool TransferDecoder::takes(FrameType type) noexcept {
  return type != FrameType::request && type != FrameType::answer;
}

void TransferDecoder::fail(const std::string& cause) const {
  throw Error(ErrorCode::format, "read transfer from", peer_, cause);
}

void TransferDecoder::take_extent(std::uint64_t offset, std::uint64_t length_bytes) {
  const std::string wrong = extents_.take(offset, length_bytes);
  if (!wrong.empty()) fail(wrong);
}

DataRecord TransferDecoder::decode_data(OwnedBytes payload) {
  const std::string_view header = text_of(payload.span().first(block_header_bytes));
  const std::span<const std::byte> content = payload.span().subspan(block_header_bytes);
  DataRecord record;
  record.offset = read_little_endian<std::uint64_t>(header);
  const auto hash = read_little_endian<std::uint64_t>(header.substr(8));
  const std::size_t length = read_little_endian<std::uint32_t>(header.substr(16));
  const auto codec = read_little_endian<std::uint8_t>(header.substr(20));
  if (header.substr(21) != std::string_view("\0\0\0", 3)) fail("a block whose reserved fields are set");
  if (codec > (sparse | zstd)) fail(fmt::format("a block of the unknown codec {}", codec));
  if (length > max_block_bytes) fail(fmt::format("a block of {} bytes", length));
  take_extent(record.offset, length);
  if (content.size() > length || (codec == raw && content.size() != length)) {
    fail(fmt::format("a block of {} bytes with {} bytes of content", length, content.size()));
  }
  if (codec == raw) {
    payload.drop_front(block_header_bytes);
    record.bytes = std::move(payload);
  } else {
    record.bytes = unpack(content, record.offset, length, codec);
  }
  if (hash_of_block(record.offset, record.bytes.span()) != hash) {
    fail(fmt::format("the block at {} is not what was sent: its checksum differs", record.offset));
  }
  digest_->data(record.offset, length, hash);
  return record;
}

OwnedBytes TransferDecoder::unpack(std::span<const std::byte> content, std::uint64_t offset, std::size_t length,
                                   std::uint8_t codec) {
  OwnedBytes bytes(length);
  std::span<const std::byte> packed = content;
  if ((codec & zstd) != 0) {
    if ((codec & sparse) != 0) context_->packed.resize(length);
    const std::span<std::byte> target = (codec & sparse) != 0 ? std::span(context_->packed) : bytes.span();
    const std::size_t unpacked =
        ZSTD_decompressDCtx(context_->zstd, target.data(), length, content.data(), content.size());
    if (ZSTD_isError(unpacked) != 0 || ((codec & sparse) == 0 && unpacked != length)) {
      fail(fmt::format("the block at {} does not decompress", offset));
    }
    packed = target.first(unpacked);
  }
  if ((codec & sparse) != 0 && !fill_zero_pages(packed, bytes.span())) {
    fail(fmt::format("the pages of the block at {} are not those of its map", offset));
  }
  return bytes;
}

void TransferDecoder::check_hash(std::uint64_t expected, std::string_view hash) const {
  if (read_little_endian<std::uint64_t>(hash) != expected) fail("a frame is not what was sent: its hash differs");
}

void TransferDecoder::check_digest(std::string_view payload) const {
  const auto count = read_little_endian<std::uint64_t>(payload);
  if (count != digest_->count()) {
    fail(fmt::format("{} frames came, and {} were sent", digest_->count(), count));
  }
  if (payload.substr(8) != text_of(digest_->value())) fail("the digest of what came differs from what was sent");
}

TransferRecord TransferDecoder::decode(Frame frame) {
  const std::string_view payload = frame.text();
  if (frame.type == FrameType::size) {
    if (digest_) fail("a second size");
    const SizeRecord record{read_little_endian<std::uint64_t>(payload)};
    check_hash(hash_of_size(record.size_bytes), payload.substr(8));
    digest_.emplace().size(record.size_bytes);
    extents_ = {};
    extents_.start(record.size_bytes);
    return record;
  }
  if (!digest_) fail("content before a size");
  switch (frame.type) {
    case FrameType::data:
      return decode_data(std::move(frame.payload));
    case FrameType::zero: {
      const ZeroRecord record{read_little_endian<std::uint64_t>(payload),
                              read_little_endian<std::uint64_t>(payload.substr(8))};
      check_hash(hash_of_range(record.offset, record.length_bytes), payload.substr(16));
      take_extent(record.offset, record.length_bytes);
      digest_->zero(record.offset, record.length_bytes);
      return record;
    }
    case FrameType::mark:
      check_digest(payload);
      return MarkRecord{};
    case FrameType::end: {
      check_digest(payload);
      const EndRecord record{digest_->value()};
      digest_.reset();
      return record;
    }
    default:
      fail("a frame that is of no transfer");
  }
}

}  // namespace crossover::stream
