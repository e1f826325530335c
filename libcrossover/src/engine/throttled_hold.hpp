/// \file
/// An image that is not written faster than allowed.
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
  void hand_over(std::uint64_t offset, OwnedBytes bytes) override {
    limiter_->take(bytes.size(), stop_);
    next_->hand_over(offset, std::move(bytes));
  }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override { next_->zero(offset, length_bytes); }
  void mark() override { next_->mark(); }
  void alive() override { next_->alive(); }
  void finish() override { next_->finish(); }

 private:
  std::unique_ptr<DiffSink> next_;
  std::shared_ptr<RateLimiter> limiter_;
  std::stop_token stop_;
};

/// Passes everything on; what is written to it waits for its turn.
class ThrottledHold final : public ImageHold {
 public:
  ThrottledHold(std::unique_ptr<ImageHold> next, std::shared_ptr<RateLimiter> limiter)
      : next_(std::move(next)), limiter_(std::move(limiter)) {}

  ImageState state() override { return next_->state(); }
  void set_metadata(const std::string& key, const std::string& value) override { next_->set_metadata(key, value); }
  void remove_metadata(const std::string& key) override { next_->remove_metadata(key); }
  void roll_back(const Snapshot& snapshot, std::stop_token stop) override { next_->roll_back(snapshot, stop); }
  bool head_unchanged_since(const Snapshot& snapshot, std::stop_token stop) override {
    return next_->head_unchanged_since(snapshot, stop);
  }
  bool head_unchanged_since_transfer(const std::string& id, std::stop_token stop) override {
    return next_->head_unchanged_since_transfer(id, stop);
  }
  std::unique_ptr<DiffSink> write_diff(const TransferProgress& from, std::stop_token stop) override {
    return std::make_unique<ThrottledSink>(next_->write_diff(from, stop), limiter_, stop);
  }
  Snapshot create_snapshot(const std::string& name) override { return next_->create_snapshot(name); }

 private:
  std::unique_ptr<ImageHold> next_;
  std::shared_ptr<RateLimiter> limiter_;
};

}  // namespace crossover
