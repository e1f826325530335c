/// \file
/// The client's end of one connection to `crossover agent`.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/messages.hpp"
#include "engine/shell.hpp"
#include "engine/stall_guard.hpp"
#include "stream/agent_protocol.hpp"

namespace crossover::agent {

/// One agent process at the other end of a shell. For one thread at a time.
///
/// After any exception but an error that the agent answered with, the connection is of no more use: usable() says
/// so. Destroying it ends the agent's input, and with that the agent.
class Connection {
 public:
  /// Starts `command`, which is `crossover agent` with its options, there and exchanges hellos. Throws what
  /// Shell::start() throws; Error{unsupported}, with the reason, if there is no such command or it speaks another
  /// protocol; Error{format} if something else answers; Error{timeout}, retryable, if nothing does within half a
  /// minute; Cancelled once `stop` is triggered, also while the host is being reached.
  /// When `silence` passes without a word while a request waits for its answer, the agent is gone.
  Connection(Shell& shell, const std::vector<std::string>& command, std::chrono::milliseconds silence,
             std::stop_token stop);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// While it lives, `stop` ends what the connection waits for, with Cancelled.
  class Watch {
   public:
    Watch(Connection& connection, std::stop_token stop);

   private:
    struct Forward {
      Connection* connection;
      void operator()() const noexcept { connection->cancel(); }
    };
    std::stop_callback<Forward> callback_;
  };

  /// Sends a request and returns the answer's result; throws the error it answers with. Throws
  /// Error{unreachable}, retryable, if the agent is gone, and Error{timeout}, retryable, if it says nothing.
  Json call(const std::string& operation, Json request, const std::stop_token& stop);
  /// The answer to the request that was sent last.
  Json answer();
  /// As answer(), from a frame that was read already.
  Json answer_in(const stream::Frame& frame);

  /// Bytes of a transfer. When the agent stopped reading, throws why, as far as it said.
  void send(std::span<const std::byte> bytes);
  /// The next frame that is not only a sign of life.
  stream::Frame read_frame();

  /// Makes every call that waits, and every later one, throw Error{unreachable}, retryable: nobody asked for an
  /// end, and whoever meets it does not take it for one. From any thread.
  void give_up() noexcept;

  [[nodiscard]] bool usable() const noexcept { return usable_ && !ending_.stop_requested(); }
  [[nodiscard]] const std::string& host() const noexcept { return host_; }
  /// The library's version over there.
  [[nodiscard]] const std::string& version() const noexcept { return version_; }

 private:
  /// As give_up(), for somebody who asked: with Cancelled.
  void cancel() noexcept;
  [[noreturn]] void throw_ended();
  Json ask(const std::string& operation, Json request);
  bool greet_within_limit(const std::stop_token& stop);
  void greet();
  bool read_more();
  void write(std::span<const std::byte> bytes);
  [[noreturn]] void throw_gone(const std::string& meanwhile);

  std::string host_;
  std::chrono::milliseconds silence_;
  StallGuard* waiting_ = nullptr;  // of the request that is waiting for its answer
  std::stop_source ending_;
  std::atomic<bool> cancelled_ = false;  // ending_ was triggered by whoever waits
  std::unique_ptr<Process> process_;
  stream::FrameDecoder decoder_;
  std::string version_;
  std::uint64_t last_id_ = 0;
  bool usable_ = true;
};

}  // namespace crossover::agent
