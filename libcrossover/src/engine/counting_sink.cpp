#include "engine/counting_sink.hpp"

#include <utility>

namespace crossover {

namespace {

// Sizes of diff v1's parts (doc/dev/rbd-diff.rst of Ceph): the banner and the size record, the head of a data or
// zero record, and the end record.
constexpr std::uint64_t header_bytes = 12 + 9;
constexpr std::uint64_t record_bytes = 1 + 8 + 8;
constexpr std::uint64_t end_bytes = 1;
constexpr std::chrono::milliseconds progress_interval{200};

}  // namespace

CountingSink::CountingSink(std::unique_ptr<DiffSink> next, Progress progress)
    : next_(std::move(next)), progress_(std::move(progress)) {}

void CountingSink::size(std::uint64_t size_bytes) {
  next_->size(size_bytes);
  count(header_bytes);
}

void CountingSink::data(std::uint64_t offset, std::span<const std::byte> bytes) {
  next_->data(offset, bytes);
  count(record_bytes + bytes.size());
}

void CountingSink::hand_over(std::uint64_t offset, OwnedBytes bytes) {
  const std::uint64_t length = bytes.size();
  next_->hand_over(offset, std::move(bytes));
  count(record_bytes + length);
}

void CountingSink::zero(std::uint64_t offset, std::uint64_t length_bytes) {
  next_->zero(offset, length_bytes);
  count(record_bytes);
}

void CountingSink::alive() {
  next_->alive();
  count(0);
}

void CountingSink::finish() {
  next_->finish();
  count(end_bytes);
}

void CountingSink::count(std::uint64_t bytes) {
  bytes_ += bytes;
  const auto now = std::chrono::steady_clock::now();
  if (now - told_ < progress_interval) return;
  told_ = now;
  progress_(bytes_);
}

}  // namespace crossover
