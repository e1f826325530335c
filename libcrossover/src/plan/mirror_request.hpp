/// \file
/// MirrorOptions after they were checked: nothing in here can still be malformed. Pure.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "crossover/options.hpp"
#include "crossover/retention.hpp"
#include "crossover/rewrite_rule.hpp"
#include "crossover/vmid.hpp"
#include "plan/inventory.hpp"
#include "plan/transfer_progress.hpp"

namespace crossover {

/// What becomes of a running guest that cannot be frozen.
enum class NoAgent {
  pause,  ///< it is paused while its snapshots are made
  crash,  ///< they are made while it writes
  fail
};

struct MirrorRequest {
  VmidSelection vmids;
  std::set<Vmid> excluded;
  std::string prefix;  ///< digits, or empty
  std::string tag;
  std::string destination;
  std::string pool;  ///< storage id
  RetentionPolicy keep_local;
  RetentionPolicy keep_remote;
  std::vector<RewriteRule> rewrite;
  std::string job_name;   ///< as given
  std::string job_label;  ///< as it stands in snapshot names
  std::chrono::seconds lock_wait{};
  std::chrono::seconds freeze_timeout{};
  std::size_t retries = 0;               ///< new attempts after a connection broke
  std::chrono::seconds stall_timeout{};  ///< a transfer that makes no progress for so long is cut; 0: never; longer
                                         ///< than asked for where the bandwidth limit needs it
  NoAgent no_agent = NoAgent::pause;
  std::size_t parallel = 1;                  ///< transfers at once, and guests
  std::uint64_t memory_bytes = 0;            ///< content under way at once, over all transfers, on each side
  std::uint64_t bandwidth_limit = 0;         ///< bytes a second over all transfers; 0: none
  MarkInterval marks;                        ///< no option: tests have shorter ones
  std::optional<CephUser> source_user;       ///< nothing: as the storages have it
  std::optional<CephUser> destination_user;  ///< nothing: as the storages have it
  std::optional<std::string> onboot;  ///< the guest's own, while its configuration has another; empty: it has none
  MirrorOptions options;              ///< where the flags are read
};

/// Checks all options. ErrorCode::usage names the first option that is wrong, its value, and what is expected.
MirrorRequest parse_options(const MirrorOptions& options);

}  // namespace crossover
