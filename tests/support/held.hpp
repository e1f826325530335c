/// \file
/// What is done to an image that is held for nothing else.
#pragma once

#include <memory>
#include <stop_token>
#include <utility>

#include "engine/image_store.hpp"

namespace crossover::test {

/// A sink with its hold.
class HeldSink final : public DiffSink {
 public:
  HeldSink(std::unique_ptr<ImageHold> hold, const TransferProgress& from, std::stop_token stop)
      : hold_(std::move(hold)), sink_(hold_->write_diff(from, std::move(stop))) {}

  void size(std::uint64_t size_bytes) override { sink_->size(size_bytes); }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override { sink_->data(offset, bytes); }
  void hand_over(std::uint64_t offset, OwnedBytes bytes) override { sink_->hand_over(offset, std::move(bytes)); }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override { sink_->zero(offset, length_bytes); }
  void mark() override { sink_->mark(); }
  void finish() override {
    sink_->finish();
    sink_.reset();
    hold_.reset();
  }

 private:
  std::unique_ptr<ImageHold> hold_;
  std::unique_ptr<DiffSink> sink_;
};

inline std::unique_ptr<DiffSink> write_diff(ImageStore& store, const ImageSpec& image, const TransferProgress& from,
                                            std::stop_token stop) {
  return std::make_unique<HeldSink>(store.hold(image, stop), from, stop);
}

inline void roll_back(ImageStore& store, const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) {
  store.hold(image, stop)->roll_back(snapshot, stop);
}

}  // namespace crossover::test
