/// \file
/// A DiffSink that counts what passes and tells of it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "engine/image_store.hpp"

namespace crossover {

/// Passes everything on and counts it as the bytes of a diff v1 stream (what goes over the wire to the stock
/// importer). `progress` is called with the count so far, at most five times a second; for alive(), which counts as
/// nothing, too.
class CountingSink final : public DiffSink {
 public:
  using Progress = std::function<void(std::uint64_t bytes)>;

  CountingSink(std::unique_ptr<DiffSink> next, Progress progress);

  void size(std::uint64_t size_bytes) override;
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override;
  void hand_over(std::uint64_t offset, OwnedBytes bytes) override;
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override;
  void mark() override { next_->mark(); }
  void alive() override;
  void finish() override;

  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  void count(std::uint64_t bytes);

  std::unique_ptr<DiffSink> next_;
  Progress progress_;
  std::uint64_t bytes_ = 0;
  std::chrono::steady_clock::time_point told_ = std::chrono::steady_clock::now();
};

}  // namespace crossover
