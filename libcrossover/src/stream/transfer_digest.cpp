#include "stream/transfer_digest.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <cstring>
#include <new>

#include "stream/little_endian.hpp"

namespace crossover::stream {

namespace {

constexpr std::uint64_t zero_mark = ~std::uint64_t{0};

std::string record(std::uint64_t offset, std::uint64_t length, std::uint64_t hash) {
  std::string bytes;
  append_little_endian(bytes, offset);
  append_little_endian(bytes, length);
  append_little_endian(bytes, hash);
  return bytes;
}

}  // namespace

std::string to_hex(const Digest& digest) {
  std::string text;
  for (const std::byte byte : digest) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

std::uint64_t hash_of(std::span<const std::byte> bytes) noexcept {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t hash_of_size(std::uint64_t size_bytes) {
  std::string fields;
  append_little_endian(fields, size_bytes);
  return hash_of(std::as_bytes(std::span(fields)));
}

std::uint64_t hash_of_range(std::uint64_t offset, std::uint64_t length_bytes) {
  std::string fields;
  append_little_endian(fields, offset);
  append_little_endian(fields, length_bytes);
  return hash_of(std::as_bytes(std::span(fields)));
}

std::uint64_t hash_of_block(std::uint64_t offset, std::span<const std::byte> bytes) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), hash_of_range(offset, bytes.size()));
}

struct TransferDigest::State {
  State() : hash(XXH3_createState()) {
    if (hash == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(hash);
  }
  ~State() { XXH3_freeState(hash); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  XXH3_state_t* hash;
};

TransferDigest::TransferDigest() : state_(std::make_unique<State>()) {}
TransferDigest::~TransferDigest() = default;
TransferDigest::TransferDigest(TransferDigest&&) noexcept = default;
TransferDigest& TransferDigest::operator=(TransferDigest&&) noexcept = default;

void TransferDigest::add(std::string_view bytes) {
  XXH3_128bits_update(state_->hash, bytes.data(), bytes.size());
}

void TransferDigest::size(std::uint64_t size_bytes) {
  std::string bytes;
  append_little_endian(bytes, size_bytes);
  add(bytes);
}

void TransferDigest::data(std::uint64_t offset, std::uint64_t length_bytes, std::uint64_t hash) {
  add(record(offset, length_bytes, hash));
  ++count_;
}

void TransferDigest::zero(std::uint64_t offset, std::uint64_t length_bytes) {
  add(record(offset, length_bytes, zero_mark));
  ++count_;
}

Digest TransferDigest::value() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->hash));
  Digest digest;
  static_assert(sizeof canonical.digest == sizeof digest);
  std::memcpy(digest.data(), canonical.digest, digest.size());
  return digest;
}

}  // namespace crossover::stream
