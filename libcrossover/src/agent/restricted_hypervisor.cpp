#include "agent/restricted_hypervisor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "crossover/error.hpp"
#include "plan/reception_check.hpp"

namespace crossover::agent {

namespace {

[[noreturn]] void refuse(std::uint32_t vmid, const std::string& cause) {
  throw refusal(fmt::format("VM {}", vmid), cause);
}

}  // namespace

ClusterInventory RestrictedHypervisor::survey(const SurveyScope& scope, std::stop_token stop) {
  ClusterInventory cluster = inner_.survey(scope, std::move(stop));
  const Restriction& restriction = context_.restriction;
  cluster.restriction = restriction;
  std::erase_if(cluster.storages.storages,
                [&](const Storage& storage) { return !restriction.pools.contains(storage.id); });
  cluster.storages.warnings.clear();
  std::erase_if(cluster.ceph_files, [&](const std::string& name) {
    return std::none_of(restriction.pools.begin(), restriction.pools.end(), [&name](const std::string& pool) {
      return name == pool + ".keyring" || name == pool + ".conf";
    });
  });
  cluster.snippets.clear();
  for (auto& [vmid, guest] : cluster.guests) {
    if (restriction.allows(vmid)) continue;
    GuestState taken;
    taken.vmid = vmid;
    taken.node = guest.node;
    guest = std::move(taken);
  }
  return cluster;
}

std::optional<ConfigVersion> RestrictedHypervisor::read_config(const std::string& node, std::uint32_t vmid,
                                                               std::stop_token stop) {
  if (!context_.restriction.allows(vmid)) {
    refuse(vmid, fmt::format("it is none of the {}", to_string(context_.restriction)));
  }
  return inner_.read_config(node, vmid, std::move(stop));
}

ConfigVersion RestrictedHypervisor::write_config(const std::string& /*node*/, std::uint32_t vmid,
                                                 const std::optional<ConfigVersion>& /*expected*/,
                                                 const std::string& /*bytes*/, std::stop_token /*stop*/) {
  refuse(vmid, "its configuration is made of what is offered, by who receives it");
}

std::unique_ptr<ConfigHold> RestrictedHypervisor::hold_config(const std::string& /*node*/, std::uint32_t vmid,
                                                              const ConfigVersion& /*expected*/,
                                                              const std::string& /*bytes*/) {
  refuse(vmid, "only a source's configuration is held");
}

void RestrictedHypervisor::write_firewall(std::uint32_t vmid, const std::optional<std::string>& /*bytes*/,
                                          std::stop_token /*stop*/) {
  refuse(vmid, "its firewall file is made of what is offered, by who receives it");
}

std::unique_ptr<GuestHold> RestrictedHypervisor::hold_guest(HoldWay /*way*/, const std::string& /*node*/,
                                                            std::uint32_t vmid, std::chrono::milliseconds /*deadline*/,
                                                            std::stop_token /*stop*/) {
  refuse(vmid, "only a source's guest is frozen or paused");
}

}  // namespace crossover::agent
