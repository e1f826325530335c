/// \file
/// Names in PVE's firewall files: of security groups, IP sets and aliases. Pure. As pve-firewall's parser reads them;
/// what is no reference to a name is passed over.
#pragma once

#include <set>
#include <string>
#include <string_view>

namespace crossover {

/// In lower case, as PVE compares them.
struct FirewallNames {
  std::set<std::string> groups;
  std::set<std::string> ipsets;
  std::set<std::string> aliases;

  bool operator==(const FirewallNames&) const = default;
};

/// What a file, such as cluster.fw, defines.
FirewallNames defined_firewall_names(std::string_view file);

/// What a guest's file refers to and neither itself nor the cluster's file defines.
FirewallNames missing_firewall_names(std::string_view guest_file, const FirewallNames& cluster);

}  // namespace crossover
