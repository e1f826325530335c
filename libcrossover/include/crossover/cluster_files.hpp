/// \file
/// What PVE's cluster file system tells about nodes and guests: /etc/pve/.members, .vmlist and corosync.conf.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "crossover/vmid.hpp"

namespace crossover {

/// One node of a cluster.
struct ClusterNode {
  std::string name;
  std::uint32_t id = 0;
  bool online = false;
  std::string ip;  ///< address for connections; empty if it is not known (the node was never seen)

  bool operator==(const ClusterNode&) const = default;
};

/// /etc/pve/.members. A node that is in no cluster has only its own name in it.
struct ClusterMembers {
  std::string node;                                       ///< the node that was asked
  std::string cluster;                                    ///< the cluster's name; empty: there is none
  bool quorate = true;                                    ///< the cluster file system can be written
  std::map<std::string, ClusterNode, std::less<>> nodes;  ///< by name; empty: no cluster

  [[nodiscard]] bool clustered() const noexcept { return !cluster.empty(); }
  bool operator==(const ClusterMembers&) const = default;
};

/// Throws Error(format) if the text is not the JSON that pmxcfs writes.
ClusterMembers parse_members(std::string_view json);

enum class GuestType { qemu, lxc };

/// "qemu" or "lxc".
std::string_view to_string(GuestType type) noexcept;

/// Where a guest is.
struct GuestLocation {
  std::string node;
  GuestType type = GuestType::qemu;

  bool operator==(const GuestLocation&) const = default;
};

/// /etc/pve/.vmlist: every guest of the cluster, those of nodes that are offline too. Entries with a number below
/// PVE's range (a file 99.conf) are left out: PVE's tools do not take them as guests. Throws Error(format).
std::map<Vmid, GuestLocation> parse_vmlist(std::string_view json);

/// What is of use in /etc/pve/corosync.conf.
struct CorosyncConfig {
  std::string cluster;  ///< totem.cluster_name; empty if absent
  std::map<std::string, ClusterNode, std::less<>>
      nodes;  ///< by name; `ip` is ring0_addr, `online` is not known: false

  bool operator==(const CorosyncConfig&) const = default;
};

/// Reads "section { key: value ... }". Throws Error(format) for braces that do not match or a line that is neither.
CorosyncConfig parse_corosync_config(std::string_view text);

}  // namespace crossover
