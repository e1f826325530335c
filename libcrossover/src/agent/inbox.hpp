/// \file
/// What the client says, read ahead.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <stop_token>
#include <thread>
#include <variant>

#include "agent/fd_stream.hpp"
#include "stream/agent_protocol.hpp"
#include "stream/transfer_frames.hpp"

namespace crossover::agent {

/// Reads a connection in a thread of its own: requests, and transfers decompressed and checked, a bounded number of
/// bytes ahead of who takes them.
class Inbox {
 public:
  /// The end of the input, or (with a reason) of what can be understood in it.
  struct End {
    std::exception_ptr why;
  };
  /// A request as it came: what waits takes its bytes and no more. Reading JSON takes a multiple of them, and is for
  /// whoever takes it, one at a time.
  struct Request {
    stream::Frame frame;
  };
  using Message = std::variant<stream::AgentHello, Request, stream::TransferRecord, End>;

  /// Holds at most `max_bytes` of content and requests, or one of them. Triggers `ending` when the input ends, for then nobody
  /// waits for what is being done. Both have to outlive it. Between the size and the end of a transfer, and
  /// while something is expected, a client that says nothing for `silence` is gone.
  Inbox(FdStream& stream, std::stop_source& ending, std::uint64_t max_bytes, std::chrono::milliseconds silence);

  /// The same for what comes from now on.
  void set_max_bytes(std::uint64_t bytes);

  /// Whether the client has reason to say something from now on. A silence that began before does not count.
  void expect(bool something) noexcept { expected_ = something; }

  /// The next message; an End comes again and again.
  Message take();

 private:
  void read();
  void read_frames();
  void put(Message message);

  FdStream& stream_;
  std::stop_source& ending_;
  std::chrono::milliseconds silence_;
  std::atomic<bool> expected_ = false;
  std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  std::uint64_t max_bytes_;
  std::deque<Message> messages_;
  std::uint64_t bytes_ = 0;
  std::jthread thread_;  // last: it uses everything above
};

}  // namespace crossover::agent
