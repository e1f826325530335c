/// \file
/// A diff's content as a stream of bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "crossover/byte_stream.hpp"
#include "crossover/diff_stream.hpp"
#include "crossover/diff_transfer.hpp"
#include "engine/image_store.hpp"

namespace crossover {

/// Writes what it is given as diff v1. The header goes out at once, so that who reads can refuse it early; the rest
/// in pieces of up to 256 KiB or a record's data.
class DiffStreamSink final : public DiffSink {
 public:
  DiffStreamSink(std::optional<std::string> from, std::optional<std::string> end, ByteSink out,
                 DiffProgress progress);

  void size(std::uint64_t size_bytes) override;
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override;
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override;
  void finish() override;

  [[nodiscard]] const DiffHeader& header() const noexcept { return header_; }

 private:
  void put(std::span<const std::byte> bytes);
  void flush();
  void tell(std::uint64_t offset) const;

  DiffHeader header_;
  ByteSink out_;
  DiffProgress progress_;
  std::vector<std::byte> buffer_;
  DiffEncoder encoder_;
};

}  // namespace crossover
