/// \file
/// The far end of a transfer.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "crossover/restriction.hpp"

namespace crossover {

struct AgentOptions {
  /// How much of a transfer's content may be under way in here at once; at least 16 MiB are taken.
  std::uint64_t memory_bytes = std::uint64_t{256} << 20;
  /// The client may survey, send and configure these replicas, and nothing else: it can neither remove recovery
  /// points nor reach anything else. For a key that somebody else holds.
  std::optional<Restriction> restriction;
  /// How large such a client's images may be, in bytes: a rollback of one, which a recovery may need, takes hours for
  /// each ten TiB.
  std::uint64_t max_image_bytes = std::uint64_t{16} << 40;
  /// Called with what such a client was refused, one line, from the thread that serves it. It may be asked for very
  /// often; what it throws is dropped.
  std::function<void(const std::string& refusal)> on_refusal = {};
  /// cephx user for the cluster's own Ceph, without "client.", and the path of its keyring, instead of what a client
  /// asks for; both are empty or neither.
  std::string user;
  std::string keyring;
};

/// Serves one client that talks the agent's protocol on two descriptors, which stay the caller's: images through
/// librbd and the Proxmox VE cluster of this host, with the rights of this process. Returns when the input ends or
/// `stop` is triggered; everything that was begun and not finished is then undone or left recognisable as
/// unfinished.
///
/// When the client is gone a call to Ceph that hangs is waited for 10 seconds; then Error{timeout} is thrown and a
/// thread left behind, so that all a process can do is to end. Its client's watch on an image goes with it.
///
/// Nothing else may be written to `out`, and the process has to ignore SIGPIPE. Throws Error{format} if the client
/// does not speak the protocol, Error{io} if it is gone.
void serve_agent(int in, int out, const AgentOptions& options = {}, std::stop_token stop = {});

}  // namespace crossover
