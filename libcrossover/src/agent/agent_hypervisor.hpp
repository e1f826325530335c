/// \file
/// A cluster's hypervisor and its guests' power switches behind another host's agent.
#pragma once

#include <chrono>
#include <memory>

#include "agent/connection_pool.hpp"
#include "engine/hypervisor.hpp"

namespace crossover {

/// Both ports through `crossover agent`: one request each. A guest and a configuration that are held have a
/// connection of their own; when that ends, whoever ends it, or is silent for too long, the agent lets the guest go
/// on and puts the former configuration back.
class AgentHypervisor final : public Hypervisor, public GuestPower {
 public:
  /// What is held says so every `ping_interval`.
  explicit AgentHypervisor(std::shared_ptr<agent::ConnectionPool> pool,
                           std::chrono::milliseconds ping_interval = std::chrono::seconds(5));

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
  Power power(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;
  void start(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;
  void shut_down(const std::string& node, std::uint32_t vmid, std::chrono::seconds timeout, bool force,
                 std::stop_token stop) override;
  void suspend(const std::string& node, std::uint32_t vmid, const std::string& storage,
               std::stop_token stop) override;
  void free_volume(const std::string& node, const std::string& volume, std::stop_token stop) override;
  bool agent_answers(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;
  void set_ha_state(std::uint32_t vmid, const std::string& state, std::stop_token stop) override;
  void destroy(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;

 private:
  agent::Json call(const std::string& operation, agent::Json request, const std::stop_token& stop);

  std::shared_ptr<agent::ConnectionPool> pool_;
  std::chrono::milliseconds ping_interval_;
};

}  // namespace crossover
