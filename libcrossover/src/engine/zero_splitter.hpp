/// \file
/// Finds the zeroes in what is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/image_store.hpp"

namespace crossover {

/// Stands before a sink: data that reads as zeroes goes on as zero(), and neighbouring runs of zeroes become one.
/// Zeroes are looked for in blocks of 4 KiB (aligned in the image). A run inside data goes on as data unless it is
/// at least 16 KiB: cutting one write in three costs the other side more than the zeroes.
class ZeroSplitter {
 public:
  static constexpr std::uint64_t block_bytes = 4096;
  static constexpr std::uint64_t min_inner_run_bytes = 16384;

  /// `sink` must outlive the splitter.
  explicit ZeroSplitter(DiffSink& sink) : sink_(sink) {}

  void data(std::uint64_t offset, std::span<const std::byte> bytes);
  /// As data(); goes on as it is if there is nothing to cut out of it.
  void hand_over(std::uint64_t offset, OwnedBytes bytes);
  void zero(std::uint64_t offset, std::uint64_t length_bytes);
  /// Gives what is held back to the sink; call it at the end.
  void flush();

 private:
  void cut(std::uint64_t offset, std::span<const std::byte> bytes, const std::vector<ByteRange>& runs);

  DiffSink& sink_;
  std::uint64_t zero_offset_ = 0;  // the run held back
  std::uint64_t zero_bytes_ = 0;
};

}  // namespace crossover
