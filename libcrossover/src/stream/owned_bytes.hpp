/// \file
/// Bytes that are handed over instead of copied. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

namespace crossover {

/// What whoever reads content leaves as room before it, for the header it may be sent with.
inline constexpr std::size_t header_room_bytes = 32;

/// Bytes with some room before them, so that a header can be put there without moving them. New ones are not
/// cleared: content passes through by the gigabyte.
class OwnedBytes {
 public:
  OwnedBytes() = default;
  /// `size` bytes of no particular value, behind `room` more.
  explicit OwnedBytes(std::size_t size, std::size_t room = 0)
      : storage_(std::make_unique_for_overwrite<std::byte[]>(room + size)),
        capacity_(room + size),
        begin_(room),
        end_(room + size) {}
  static OwnedBytes copy_of(std::span<const std::byte> bytes) {
    OwnedBytes copy;
    copy.append(bytes);
    return copy;
  }
  OwnedBytes(OwnedBytes&& other) noexcept { swap(other); }
  OwnedBytes& operator=(OwnedBytes&& other) noexcept {
    OwnedBytes taken(std::move(other));
    swap(taken);
    return *this;
  }

  [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
  [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }
  [[nodiscard]] std::span<const std::byte> span() const noexcept { return {storage_.get() + begin_, size()}; }
  [[nodiscard]] std::span<std::byte> span() noexcept { return {storage_.get() + begin_, size()}; }
  /// How many bytes can still be put before the first.
  [[nodiscard]] std::size_t room() const noexcept { return begin_; }
  /// What it takes of the memory.
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  friend bool operator==(const OwnedBytes& a, const OwnedBytes& b) noexcept {
    return std::ranges::equal(a.span(), b.span());
  }

  /// The last `count` bytes of the room are its first ones now.
  void put_before(std::size_t count) noexcept { begin_ -= count; }
  /// Its first `count` bytes are room now.
  void drop_front(std::size_t count) noexcept { begin_ += count; }
  /// Nothing is left behind the first `count` bytes; the memory stays.
  void truncate(std::size_t count) noexcept { end_ = begin_ + count; }
  void append(std::span<const std::byte> bytes) {
    reserve(size() + bytes.size());
    if (!bytes.empty()) std::memcpy(storage_.get() + end_, bytes.data(), bytes.size());
    end_ += bytes.size();
  }

 private:
  void swap(OwnedBytes& other) noexcept {
    std::swap(storage_, other.storage_);
    std::swap(capacity_, other.capacity_);
    std::swap(begin_, other.begin_);
    std::swap(end_, other.end_);
  }

  void reserve(std::size_t size) {
    if (begin_ + size <= capacity_) return;
    OwnedBytes larger(std::max(size, 2 * this->size()), begin_);
    larger.end_ = begin_;
    larger.append(span());
    swap(larger);
  }

  std::unique_ptr<std::byte[]> storage_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace crossover
