/// \file
/// What a diff holds in some ranges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/image_store.hpp"

namespace crossover {

/// Stands before a sink, takes the diff from nothing to a snapshot, or whatever part of it covers the ranges, and
/// gives on every byte of the ranges: data as data, everything else as zeroes.
class RangeFilter final : public DiffSink {
 public:
  /// `ranges` are ascending and do not overlap. Both have to outlive the filter.
  RangeFilter(DiffSink& sink, std::span<const ByteRange> ranges) : sink_(sink), ranges_(ranges) {}

  void size(std::uint64_t size_bytes) override;
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override;
  void zero(std::uint64_t /*offset*/, std::uint64_t /*length_bytes*/) override {}
  void alive() override { sink_.alive(); }
  void finish() override;

 private:
  [[nodiscard]] std::uint64_t end_of_range() const;
  /// Gives the zeroes of the ranges up to `end`.
  void advance(std::uint64_t end);

  DiffSink& sink_;
  std::span<const ByteRange> ranges_;  // from the one at hand on
  std::uint64_t size_bytes_ = 0;
  std::uint64_t position_ = 0;  // everything before it was given
};

}  // namespace crossover
