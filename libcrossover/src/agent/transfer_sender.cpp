#include "agent/transfer_sender.hpp"

#include <algorithm>
#include <utility>

#include "crossover/error.hpp"

namespace crossover::agent {

namespace {

/// How long a block that begins there can be. Blocks end where objects do, so that one is written as it came.
std::size_t longest_block(std::uint64_t offset) {
  return stream::max_block_bytes - offset % stream::max_block_bytes;
}

// Small frames are written together: each write is a system call, and over ssh a packet.
constexpr std::size_t batch_bytes = std::size_t{128} << 10;
// With so much waiting to be sent it is the link that is slow.
constexpr std::uint64_t backlog_bytes = std::uint64_t{4} << 20;
constexpr unsigned misses_until_pause = 4;
constexpr unsigned first_pause = 16;
constexpr unsigned longest_pause = 256;

}  // namespace

bool CompressionGate::try_next() noexcept {
  if (left_ == 0) return true;
  --left_;
  return false;
}

void CompressionGate::tried(bool paid) noexcept {
  if (paid) {
    misses_ = 0;
    pause_ = 0;
    return;
  }
  if (++misses_ < misses_until_pause || left_ > 0) return;
  pause_ = pause_ == 0 ? first_pause : std::min(2 * pause_, longest_pause);
  left_ = pause_;
}

TransferSender::TransferSender(Write write, std::string subject, std::stop_token stop, const SendWindow& window)
    : write_(std::move(write)), subject_(std::move(subject)), stop_(std::move(stop)), window_(window) {
  for (unsigned count = 0; count < std::max(window.workers, 1U); ++count) {
    threads_.emplace_back([this] { encode_blocks(); });
  }
  threads_.emplace_back([this] { send_frames(); });
}

TransferSender::~TransferSender() {
  {
    const std::lock_guard lock(mutex_);
    abandoned_ = true;
  }
  changed_.notify_all();
  work_.notify_all();
}

void TransferSender::refuse(const std::string& cause) const {
  throw Error(ErrorCode::usage, "write diff", subject_, cause);
}

void TransferSender::take(std::uint64_t offset, std::uint64_t length_bytes) {
  if (!sized_) refuse("content before a size");
  const std::string wrong = extents_.take(offset, length_bytes);
  if (!wrong.empty()) refuse(wrong);
}

void TransferSender::size(std::uint64_t size_bytes) {
  if (sized_) refuse("a second size");
  sized_ = true;
  extents_.start(size_bytes);
  auto item = std::make_unique<Item>(Item{.kind = Kind::size, .length = size_bytes});
  item->frame = OwnedBytes::copy_of(stream::render_size(size_bytes));
  push(std::move(item));
}

void TransferSender::data(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  take(offset, bytes.size());
  if (!block_.empty() && block_offset_ + block_.size() != offset) flush_block();
  while (!bytes.empty()) {
    if (block_.empty()) {
      block_offset_ = offset;
      block_limit_ = longest_block(offset);
      block_ = OwnedBytes(std::min(bytes.size(), block_limit_), header_room_bytes);
      block_.truncate(0);
    }
    const std::size_t count = std::min(bytes.size(), block_limit_ - block_.size());
    block_.append(bytes.first(count));
    bytes = bytes.subspan(count);
    offset += count;
    if (block_.size() == block_limit_) flush_block();
  }
}

void TransferSender::hand_over(std::uint64_t offset, OwnedBytes bytes) {
  if (bytes.empty() || bytes.room() < header_room_bytes || bytes.size() > longest_block(offset)) {
    return data(offset, bytes.span());
  }
  take(offset, bytes.size());
  flush_block();
  push_block(offset, std::move(bytes));
}

void TransferSender::zero(std::uint64_t offset, std::uint64_t length_bytes) {
  if (length_bytes == 0) return;
  take(offset, length_bytes);
  flush_block();
  auto item = std::make_unique<Item>(Item{.kind = Kind::zero, .offset = offset, .length = length_bytes});
  item->frame = OwnedBytes::copy_of(stream::render_zero(offset, length_bytes));
  push(std::move(item));
}

void TransferSender::flush_block() {
  if (!block_.empty()) push_block(block_offset_, std::exchange(block_, {}));
}

void TransferSender::push_block(std::uint64_t offset, OwnedBytes bytes) {
  auto item =
      std::make_unique<Item>(Item{.kind = Kind::data, .offset = offset, .length = bytes.size(), .ready = false});
  item->frame = std::move(bytes);
  push(std::move(item));
}

void TransferSender::mark() {
  if (!sized_) refuse("a mark before a size");
  flush_block();
  push(std::make_unique<Item>(Item{.kind = Kind::mark}));
}

void TransferSender::finish() {
  if (!sized_) refuse("an end before a size");
  flush_block();
  push(std::make_unique<Item>(Item{.kind = Kind::end}));
  std::unique_lock lock(mutex_);
  if (!changed_.wait(lock, stop_, [this] { return ended_ || failure_; })) throw Cancelled{};
  if (failure_) std::rethrow_exception(failure_);
}

void TransferSender::push(std::unique_ptr<Item> item) {
  item->held = item->frame.capacity();
  std::unique_lock lock(mutex_);
  const auto has_room = [&] {
    return failure_ || items_.empty() ||
           (bytes_ + item->held <= window_.max_bytes && items_.size() < window_.max_frames);
  };
  if (stop_.stop_requested() || !changed_.wait(lock, stop_, has_room)) throw Cancelled{};
  if (failure_) std::rethrow_exception(failure_);
  bytes_ += item->held;
  if (!item->ready) raw_.push_back(item.get());
  const bool is_raw = !item->ready;
  items_.push_back(std::move(item));
  lock.unlock();
  if (is_raw) {
    work_.notify_one();
  } else {
    changed_.notify_all();
  }
}

bool TransferSender::is_worth_compressing() {
  switch (window_.compression) {
    case Compression::always:
      return true;
    case Compression::never:
      return false;
    case Compression::automatic:
      break;
  }
  return ready_bytes_ >= backlog_bytes && gate_.try_next();
}

void TransferSender::encode_blocks() {
  try {
    stream::BlockEncoder encoder;
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [this] { return abandoned_ || ended_ || !raw_.empty(); });
      if (abandoned_ || ended_) return;
      Item& item = *raw_.front();
      raw_.pop_front();
      const bool compress = is_worth_compressing();
      lock.unlock();
      stream::BlockEncoder::Block block = encoder.encode(item.offset, std::move(item.frame), compress);
      lock.lock();
      if (compress) gate_.tried(block.compressed);
      item.frame = std::move(block.frame);
      item.hash = block.hash;
      item.ready = true;
      bytes_ -= item.held;
      item.held = item.frame.capacity();
      bytes_ += item.held;
      ready_bytes_ += item.held;
      changed_.notify_all();
    }
  } catch (...) {
    fail(std::current_exception());
  }
}

void TransferSender::send_frames() {
  try {
    for (;;) {
      std::unique_lock lock(mutex_);
      const auto front_ready = [this] { return !items_.empty() && items_.front()->ready; };
      if (batch_.empty() &&
          !changed_.wait_for(lock, window_.idle_mark, [&] { return abandoned_ || failure_ || front_ready(); })) {
        lock.unlock();
        send_idle_mark();
        continue;
      }
      if (abandoned_ || failure_) return;
      std::unique_ptr<Item> item;
      if (front_ready()) {
        item = std::move(items_.front());
        items_.pop_front();
      }
      lock.unlock();
      if (item) send(*item);
      if (!batch_.empty() && (!item || item->kind == Kind::end || batch_.size() >= batch_bytes)) {
        write_(batch_);
        sent_bytes_ += batch_.size();
        batch_.clear();
      }
      if (!item) continue;
      lock.lock();
      bytes_ -= item->held;
      if (item->kind == Kind::data) ready_bytes_ -= item->held;
      ended_ = item->kind == Kind::end;
      lock.unlock();
      changed_.notify_all();
      if (item->kind != Kind::end) continue;
      work_.notify_all();
      return;
    }
  } catch (...) {
    fail(std::current_exception());
  }
}

void TransferSender::send_idle_mark() {
  if (!size_sent_) return;
  const std::vector<std::byte> frame = stream::render_mark(digest_);
  write_(frame);
  sent_bytes_ += frame.size();
}

void TransferSender::send(Item& item) {
  switch (item.kind) {
    case Kind::size:
      size_sent_ = true;
      digest_.size(item.length);
      break;
    case Kind::data:
      digest_.data(item.offset, item.length, item.hash);
      break;
    case Kind::zero:
      digest_.zero(item.offset, item.length);
      break;
    case Kind::mark:
      item.frame = OwnedBytes::copy_of(stream::render_mark(digest_));
      break;
    case Kind::end:
      item.frame = OwnedBytes::copy_of(stream::render_end(digest_));
      break;
  }
  const std::span<const std::byte> frame = std::as_const(item.frame).span();
  if (frame.size() < batch_bytes) {
    batch_.insert(batch_.end(), frame.begin(), frame.end());
    return;
  }
  if (!batch_.empty()) write_(batch_);
  write_(frame);
  sent_bytes_ += batch_.size() + item.frame.size();
  batch_.clear();
}

void TransferSender::fail(std::exception_ptr failure) {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(failure);
  }
  changed_.notify_all();
  work_.notify_all();
}

}  // namespace crossover::agent
