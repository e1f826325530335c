#include "engine/diff_stream_sink.hpp"

#include <utility>

namespace crossover {

namespace {

constexpr std::size_t buffer_bytes = 256U << 10;

}  // namespace

DiffStreamSink::DiffStreamSink(std::optional<std::string> from, std::optional<std::string> end, ByteSink out,
                               DiffProgress progress)
    : header_{std::move(from), std::move(end), std::nullopt, 0},
      out_(std::move(out)),
      progress_(std::move(progress)),
      encoder_(DiffFormat::v1, [this](std::span<const std::byte> bytes) { put(bytes); }) {}

void DiffStreamSink::size(std::uint64_t size_bytes) {
  header_.size_bytes = size_bytes;
  encoder_.header(header_);
  flush();
  tell(0);
}

void DiffStreamSink::data(std::uint64_t offset, std::span<const std::byte> bytes) {
  encoder_.data(offset, bytes);
  tell(offset + bytes.size());
}

void DiffStreamSink::zero(std::uint64_t offset, std::uint64_t length_bytes) {
  encoder_.zero(offset, length_bytes);
  tell(offset + length_bytes);
}

void DiffStreamSink::finish() {
  encoder_.end();
  flush();
  tell(header_.size_bytes);
}

void DiffStreamSink::put(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > buffer_bytes) flush();
  if (bytes.size() >= buffer_bytes) return out_(bytes);
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void DiffStreamSink::flush() {
  if (!buffer_.empty()) out_(buffer_);
  buffer_.clear();
}

void DiffStreamSink::tell(std::uint64_t offset) const {
  if (progress_) progress_(offset, header_.size_bytes);
}

}  // namespace crossover
