/// \file
/// A DiffSink that marks what passes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "engine/image_store.hpp"

namespace crossover {

/// Passes everything on, and a mark after each record that completes one of the intervals.
class MarkingSink final : public DiffSink {
 public:
  MarkingSink(std::unique_ptr<DiffSink> next, const MarkInterval& interval);

  void size(std::uint64_t size_bytes) override;
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override;
  void hand_over(std::uint64_t offset, OwnedBytes bytes) override;
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override;
  void mark() override;
  void alive() override { next_->alive(); }
  void finish() override;

  /// Marks that were made.
  [[nodiscard]] std::uint64_t marks() const noexcept { return marks_; }

 private:
  void count(std::uint64_t bytes);

  std::unique_ptr<DiffSink> next_;
  MarkInterval interval_;
  std::uint64_t marks_ = 0;
  std::uint64_t bytes_ = 0;  // since the last
  std::chrono::steady_clock::time_point marked_ = std::chrono::steady_clock::now();
};

}  // namespace crossover
