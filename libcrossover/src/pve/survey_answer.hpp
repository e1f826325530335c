/// \file
/// Reading what scripts/survey.pl prints. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "plan/inventory.hpp"

namespace crossover {

/// What one node said.
struct SurveyAnswer {
  std::map<std::string, std::string> files;    ///< below /etc/pve
  std::map<std::string, std::string> outputs;  ///< of commands, by name
  std::map<std::string, int> statuses;         ///< their wait status
  std::set<std::string> ceph_files;
  std::set<std::string> snippets;
  bool writable = false;
};

/// ErrorCode::format, with the host in it, if the answer is not whole.
SurveyAnswer parse_survey_answer(std::string_view text, const std::string& host);

/// Power of each guest that `qm list` printed.
std::map<std::uint32_t, Power> parse_qm_list(std::string_view text);

/// VMIDs of VMs that HA manages: a resource whose state is not "ignored" (/etc/pve/ha/resources.cfg).
std::set<std::uint32_t> parse_ha_resources(std::string_view text);

/// The cluster as its entry node described it. Nodes other than the entry node have no versions and their guests
/// Power::unknown yet: add_node() puts that in.
ClusterInventory cluster_inventory(const SurveyAnswer& answer, const std::string& host);

/// Adds what a node said of itself and of its guests.
void add_node(ClusterInventory& inventory, const std::string& node, const SurveyAnswer& answer);

}  // namespace crossover
