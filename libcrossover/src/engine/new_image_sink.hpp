/// \file
/// An image that has nothing in it but what is written through the sink.
#pragma once

#include <memory>
#include <utility>

#include "engine/image_store.hpp"

namespace crossover {

/// Passes everything on but zeroes: what was never written in a new image reads as such, and writing them costs an
/// operation each.
class NewImageSink final : public DiffSink {
 public:
  explicit NewImageSink(std::unique_ptr<DiffSink> next) : next_(std::move(next)) {}

  void size(std::uint64_t size_bytes) override { next_->size(size_bytes); }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override { next_->data(offset, bytes); }
  void hand_over(std::uint64_t offset, OwnedBytes bytes) override { next_->hand_over(offset, std::move(bytes)); }
  void zero(std::uint64_t /*offset*/, std::uint64_t /*length_bytes*/) override {}
  void alive() override { next_->alive(); }
  void mark() override { next_->mark(); }
  void finish() override { next_->finish(); }

 private:
  std::unique_ptr<DiffSink> next_;
};

}  // namespace crossover
