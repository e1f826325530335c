/// \file
/// Reading what scripts/survey.pl prints. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "plan/inventory.hpp"

namespace crossover {

/// What one node said.
struct SurveyAnswer {
  std::map<std::string, std::string> files;    ///< below /etc/pve
  std::map<std::string, std::string> outputs;  ///< of commands, by name
  std::map<std::string, int> statuses;         ///< their wait status
  std::set<std::string> bridges;               ///< Linux bridges
  std::vector<std::string> interfaces;         ///< files that configure network interfaces
  std::set<std::string> ceph_files;
  std::set<std::string> snippets;
  std::string processor;  ///< its model; empty if unknown
  bool writable = false;
};

/// ErrorCode::format, with the host in it, if the answer is not whole.
SurveyAnswer parse_survey_answer(std::string_view text, const std::string& host);

/// Power of each guest that `qm list` printed.
std::map<std::uint32_t, Power> parse_qm_list(std::string_view text);

/// The state high availability is to keep each of its VMs in (/etc/pve/ha/resources.cfg).
std::map<std::uint32_t, std::string> parse_ha_resources(std::string_view text);

/// What high availability's manager is at (/etc/pve/ha/manager_status).
struct HaManager {
  std::string disarmed;                           ///< "freeze" or "ignore"; empty: it is not
  std::map<std::uint32_t, std::string> services;  ///< the state of each VM that counts

  bool operator==(const HaManager&) const = default;
};
/// What is no status says nothing.
HaManager parse_ha_manager(std::string_view text);

/// Names of the custom CPU models (/etc/pve/virtual-guest/cpu-models.conf).
std::set<std::string> parse_cpu_models(std::string_view text);
/// Names in a file of /etc/pve/mapping, and the nodes that each is mapped for. A section's header is its name alone.
std::map<std::string, std::set<std::string>> parse_device_mappings(std::string_view text);

/// Names of Open vSwitch's bridges (/etc/network/interfaces and what it includes). A Linux bridge is not found here
/// but in /sys/class/net, where Open vSwitch's do not show that they are bridges.
std::set<std::string> parse_ovs_bridges(std::string_view text);

/// "10.1.2" of what `kvm --version` prints; empty if it is something else.
std::string parse_qemu_version(std::string_view text);

/// The cluster as its entry node described it. Nodes other than the entry node have no versions and their guests
/// Power::unknown yet: add_node() puts that in.
ClusterInventory cluster_inventory(const SurveyAnswer& answer, const std::string& host);

/// Adds what a node said of itself and of its guests.
void add_node(ClusterInventory& inventory, const std::string& node, const SurveyAnswer& answer);

}  // namespace crossover
