#include "engine/marking_sink.hpp"

#include <utility>

namespace crossover {

MarkingSink::MarkingSink(std::unique_ptr<DiffSink> next, const MarkInterval& interval)
    : next_(std::move(next)), interval_(interval) {}

void MarkingSink::size(std::uint64_t size_bytes) {
  next_->size(size_bytes);
}

void MarkingSink::data(std::uint64_t offset, std::span<const std::byte> bytes) {
  next_->data(offset, bytes);
  count(bytes.size());
}

void MarkingSink::hand_over(std::uint64_t offset, OwnedBytes bytes) {
  const std::uint64_t length = bytes.size();
  next_->hand_over(offset, std::move(bytes));
  count(length);
}

void MarkingSink::zero(std::uint64_t offset, std::uint64_t length_bytes) {
  next_->zero(offset, length_bytes);
  count(0);
}

void MarkingSink::mark() {
  next_->mark();
  ++marks_;
  bytes_ = 0;
  marked_ = std::chrono::steady_clock::now();
}

void MarkingSink::finish() {
  next_->finish();
}

void MarkingSink::count(std::uint64_t bytes) {
  bytes_ += bytes;
  if (bytes_ >= interval_.bytes || std::chrono::steady_clock::now() - marked_ >= interval_.time) mark();
}

}  // namespace crossover
