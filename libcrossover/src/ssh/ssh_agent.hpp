/// \file
/// The ssh agent: which keys it has, and one of them at a time for libssh.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ssh/deadline.hpp"
#include "ssh/stop_event.hpp"
#include "ssh/unique_fd.hpp"

namespace crossover {

/// A key that an agent holds.
struct AgentKey {
  std::string blob;     ///< the public key or certificate, as the protocol has it
  std::string comment;  ///< often the file it came from
};

/// The socket of the agent that IdentityAgent means: "SSH_AUTH_SOCK", "$VARIABLE", a path, "none". Empty: no agent.
std::string agent_socket(const std::string& identity_agent);

/// The keys of the agent at that socket (draft-ietf-sshm-ssh-agent, section 3.2); nothing if it does not answer by
/// then, or answers something else. None if nobody is there, as ssh has it. Cancelled.
std::optional<std::vector<AgentKey>> agent_keys(const std::string& socket, const StopEvent& stop,
                                                Deadline deadline);

/// An agent with one key: what it is asked to sign with that key it passes on to the real one, and it knows no
/// other. So libssh, which offers all that an agent has, in the agent's order, offers what it is meant to, when it
/// is meant to. A thread of its own answers until it is destroyed, the deadline passes or the token is triggered;
/// then who asks finds it closed.
class OneKeyAgent {
 public:
  OneKeyAgent(std::string socket, const StopEvent& stop, Deadline deadline);
  ~OneKeyAgent();
  OneKeyAgent(const OneKeyAgent&) = delete;
  OneKeyAgent& operator=(const OneKeyAgent&) = delete;

  /// The other end, for whoever is to ask. Once.
  UniqueFd take_client() noexcept { return std::move(client_); }
  void offer(const AgentKey& key);

 private:
  void serve();
  std::string answer(const std::string& request);

  std::string socket_;
  const StopEvent& stop_;
  Deadline deadline_;
  UniqueFd client_;
  UniqueFd server_;
  UniqueFd ending_;
  std::mutex mutex_;  // guards key_
  AgentKey key_;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace crossover
