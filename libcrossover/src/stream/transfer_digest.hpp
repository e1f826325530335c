/// \file
/// The digest of a transfer, as agent_protocol.hpp defines it. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace crossover::stream {

using Digest = std::array<std::byte, 16>;

/// Lower-case hexadecimal digits.
std::string to_hex(const Digest& digest);

/// XXH3-64 of some bytes.
std::uint64_t hash_of(std::span<const std::byte> bytes) noexcept;

/// What the frames of a transfer carry, so that none is acted on that was changed on its way through either side's
/// memory: of a size, of a range, and of a block's bytes together with where they belong.
std::uint64_t hash_of_size(std::uint64_t size_bytes);
std::uint64_t hash_of_range(std::uint64_t offset, std::uint64_t length_bytes);
std::uint64_t hash_of_block(std::uint64_t offset, std::span<const std::byte> bytes);

/// Counts and hashes the frames of one transfer, in their order.
class TransferDigest {
 public:
  TransferDigest();
  ~TransferDigest();
  TransferDigest(TransferDigest&&) noexcept;
  TransferDigest& operator=(TransferDigest&&) noexcept;

  void size(std::uint64_t size_bytes);
  void data(std::uint64_t offset, std::uint64_t length_bytes, std::uint64_t hash);
  void zero(std::uint64_t offset, std::uint64_t length_bytes);

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] Digest value() const;

 private:
  struct State;
  void add(std::string_view bytes);

  std::unique_ptr<State> state_;
  std::uint64_t count_ = 0;
};

}  // namespace crossover::stream
