/// \file
/// What a restricted agent lets its client see of Proxmox VE.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "agent/restricted_store.hpp"
#include "engine/hypervisor.hpp"

namespace crossover::agent {

/// The cluster as a client needs to know it to offer replicas of its own: of other guests only that their VMIDs are
/// taken. Nothing is written through it. Thread-safe. Everything that is refused is Error{permission}.
class RestrictedHypervisor final : public Hypervisor {
 public:
  RestrictedHypervisor(Hypervisor& inner, const ReceiveContext& context) : inner_(inner), context_(context) {}

  ClusterInventory survey(const SurveyScope& scope, std::stop_token stop) override;
  std::optional<ConfigVersion> read_config(const std::string& node, std::uint32_t vmid,
                                           std::stop_token stop) override;
  ConfigVersion write_config(const std::string& node, std::uint32_t vmid,
                             const std::optional<ConfigVersion>& expected, const std::string& bytes,
                             std::stop_token stop) override;
  std::unique_ptr<ConfigHold> hold_config(const std::string& node, std::uint32_t vmid,
                                          const ConfigVersion& expected, const std::string& bytes) override;
  void write_firewall(std::uint32_t vmid, const std::optional<std::string>& bytes, std::stop_token stop) override;
  std::unique_ptr<GuestHold> hold_guest(HoldWay way, const std::string& node, std::uint32_t vmid,
                                        std::chrono::milliseconds deadline, std::stop_token stop) override;

 private:
  Hypervisor& inner_;
  const ReceiveContext& context_;
};

}  // namespace crossover::agent
