/// \file
/// The sending end of a transfer.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "crossover/diff_stream.hpp"
#include "engine/image_store.hpp"
#include "stream/transfer_frames.hpp"

namespace crossover::agent {

/// Which blocks are compressed: those that shrink, while the link and not the processor is what is waited for; all
/// that shrink; none.
enum class Compression { automatic, always, never };

/// How much a sender holds and how many threads hash and compress.
struct SendWindow {
  std::uint64_t max_bytes = 64U << 20;
  std::size_t max_frames = 4096;
  unsigned workers = 2;
  Compression compression = Compression::automatic;
  std::chrono::milliseconds idle_mark{5000};  ///< after so long without anything to send a mark goes out
};

/// Says whether compressing is worth trying: after some blocks in a row that did not shrink it is left for a while,
/// ever longer, and then tried again. Not thread-safe.
class CompressionGate {
 public:
  bool try_next() noexcept;
  void tried(bool paid) noexcept;

 private:
  unsigned misses_ = 0;
  unsigned pause_ = 0;  // blocks to pass over after the next miss
  unsigned left_ = 0;   // of this pause
};

/// A sink that makes frames of what it is given and hands them to `write`, in order, from a thread of its own,
/// while others hash and compress what comes next. Neighbouring pieces become blocks of up to 4 MiB. finish()
/// returns when the end frame is written. What `write` throws comes out of the next call.
///
/// Destroyed before finish() it lets a `write` that is going on come to its end; whoever cannot wait for that
/// makes `write` throw.
class TransferSender final : public DiffSink {
 public:
  using Write = std::function<void(std::span<const std::byte>)>;

  TransferSender(Write write, std::string subject, std::stop_token stop, const SendWindow& window = {});
  ~TransferSender() override;
  TransferSender(const TransferSender&) = delete;
  TransferSender& operator=(const TransferSender&) = delete;

  void size(std::uint64_t size_bytes) override;
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override;
  /// Makes a block of the bytes themselves if they have room for its header and lie within one.
  void hand_over(std::uint64_t offset, OwnedBytes bytes) override;
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override;
  /// Sends a mark behind what was given.
  void mark() override;
  void finish() override;

  /// The digest of everything that was given, after finish().
  [[nodiscard]] stream::Digest digest() const { return digest_.value(); }
  /// Bytes of all frames that were written.
  [[nodiscard]] std::uint64_t sent_bytes() const { return sent_bytes_; }

 private:
  enum class Kind { size, data, zero, mark, end };
  struct Item {
    Kind kind;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    OwnedBytes frame;  // until it is ready the block's bytes
    std::uint64_t hash = 0;
    bool ready = true;
    std::uint64_t held = 0;  // what of the window it takes
  };

  void take(std::uint64_t offset, std::uint64_t length_bytes);
  void flush_block();
  void push_block(std::uint64_t offset, OwnedBytes bytes);
  void push(std::unique_ptr<Item> item);
  void encode_blocks();
  bool is_worth_compressing();
  void send_frames();
  void send(Item& item);
  void send_idle_mark();
  void fail(std::exception_ptr failure);
  [[noreturn]] void refuse(const std::string& cause) const;

  Write write_;
  std::string subject_;
  std::stop_token stop_;
  SendWindow window_;

  // Of the caller's thread.
  bool sized_ = false;
  detail::DiffExtentRule extents_;
  std::uint64_t block_offset_ = 0;
  std::size_t block_limit_ = 0;   // bytes it can have
  OwnedBytes block_;              // empty: none begun

  // Of the sending thread, and of the caller's after its end.
  stream::TransferDigest digest_;
  std::uint64_t sent_bytes_ = 0;
  bool size_sent_ = false;
  std::vector<std::byte> batch_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  std::condition_variable work_;
  std::deque<std::unique_ptr<Item>> items_;  // in the order they are sent
  std::deque<Item*> raw_;                    // those that wait for a worker
  CompressionGate gate_;
  std::uint64_t bytes_ = 0;
  std::uint64_t ready_bytes_ = 0;  // of encoded blocks that wait to be sent
  bool abandoned_ = false;
  bool ended_ = false;
  std::exception_ptr failure_;

  std::vector<std::jthread> threads_;  // last: they use everything above
};

}  // namespace crossover::agent
