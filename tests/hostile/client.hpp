/// \file
/// A client that says what it likes, and an agent of its own at the other end.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "agent/messages.hpp"
#include "agent/server.hpp"

namespace crossover::test {

/// What all connections came to.
struct Tally {
  std::uint64_t requests = 0;
  std::uint64_t refused = 0;    ///< those that were answered with an error
  std::string wrong;            ///< what no agent may do, as the first that did it; empty: none did
  std::string last_refusal;     ///< why the last request failed
};

/// One connection, and the thread that serves it. Whoever destroys it cuts it, wherever it is.
class Connection {
 public:
  Connection(const agent::Service& service, Tally& tally);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// What is answered to it; nothing if the connection has ended, or it was an error.
  std::optional<agent::Json> ask(agent::Json request);
  /// The next answer, in the same way.
  std::optional<agent::Json> answer();
  void send(std::string_view bytes);

  /// Whether the agent ended it.
  [[nodiscard]] bool ended() const noexcept { return ended_; }

 private:
  /// Text of the next answer; nothing at the end.
  std::optional<std::string> next_answer();
  void blame(const std::string& what);

  Tally& tally_;
  std::array<int, 2> fds_{};
  std::thread server_;
  std::string died_of_;  // the server, of something that is no Error; read after it was joined
  stream::FrameDecoder decoder_{"server"};
  bool greeted_ = false;
  bool ended_ = false;
  std::uint64_t id_ = 0;
  std::string asked_;
};

/// What stands on what nobody but the destination's own may read.
inline constexpr std::string_view secret = "5ECRET";

/// Whether a client that is restricted may ask for it at all.
bool is_for_anyone(std::string_view operation);

}  // namespace crossover::test
