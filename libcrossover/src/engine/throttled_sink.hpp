/// \file
/// A sink that does not take more than allowed.
#pragma once

#include <memory>

#include "engine/image_store.hpp"
#include "engine/rate_limiter.hpp"

namespace crossover {

/// Passes everything on; data waits for its turn.
class ThrottledSink final : public DiffSink {
 public:
  ThrottledSink(std::unique_ptr<DiffSink> next, std::shared_ptr<RateLimiter> limiter, std::stop_token stop)
      : next_(std::move(next)), limiter_(std::move(limiter)), stop_(std::move(stop)) {}

  void size(std::uint64_t size_bytes) override { next_->size(size_bytes); }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    limiter_->take(bytes.size(), stop_);
    next_->data(offset, bytes);
  }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override { next_->zero(offset, length_bytes); }
  void mark() override { next_->mark(); }
  void finish() override { next_->finish(); }

 private:
  std::unique_ptr<DiffSink> next_;
  std::shared_ptr<RateLimiter> limiter_;
  std::stop_token stop_;
};

}  // namespace crossover
