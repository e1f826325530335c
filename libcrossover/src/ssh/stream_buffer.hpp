/// \file
/// The two ways bytes of a command are kept: all of them until they are read, or only the last ones.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace crossover {

/// Bytes in the order they came. Whoever fills it keeps it bounded.
class StreamBuffer {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size() - head_; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  void append(const void* data, std::size_t size) {
    // What was read is dropped when it is the larger part, so that each byte moves once on average.
    if (head_ > bytes_.size() - head_) {
      bytes_.erase(0, head_);
      head_ = 0;
    }
    bytes_.append(static_cast<const char*>(data), size);
  }

  /// Moves bytes to `target`; returns how many.
  std::size_t take(std::span<std::byte> target) noexcept {
    const std::size_t count = std::min(target.size(), size());
    if (count > 0) std::memcpy(target.data(), bytes_.data() + head_, count);
    head_ += count;
    if (empty()) {
      bytes_.clear();
      head_ = 0;
    }
    return count;
  }

  /// Moves everything out.
  std::string take_all() {
    bytes_.erase(0, head_);
    head_ = 0;
    return std::exchange(bytes_, {});
  }

 private:
  std::string bytes_;
  std::size_t head_ = 0;
};

/// The last `limit` bytes of what went in.
class TailBuffer {
 public:
  explicit TailBuffer(std::size_t limit) noexcept : limit_(limit) {}

  void append(const void* data, std::size_t size) {
    bytes_.append(static_cast<const char*>(data), size);
    if (bytes_.size() > 2 * limit_) bytes_.erase(0, bytes_.size() - limit_);
  }
  [[nodiscard]] std::string_view view() const noexcept {
    const std::string_view all = bytes_;
    return all.substr(all.size() - std::min(all.size(), limit_));
  }

 private:
  std::size_t limit_;
  std::string bytes_;
};

}  // namespace crossover
