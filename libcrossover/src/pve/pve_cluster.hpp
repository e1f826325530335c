/// \file
/// A Proxmox VE cluster behind shells on its nodes.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "engine/hypervisor.hpp"
#include "engine/shell.hpp"

namespace crossover {

/// How whoever has a guest or a configuration held says that it is there.
struct HoldBeat {
  std::chrono::milliseconds interval = std::chrono::seconds(5);
  /// So long without a beat, as the node counts it, and what is held is let go of: the host of whoever wanted it
  /// may have lost its power, and then nothing else would say so for hours.
  std::chrono::milliseconds silence = std::chrono::seconds(30);
};

/// Drives Proxmox VE through commands on its nodes, as root. What is asked of a guest runs on the node that owns
/// it, because PVE's commands and locks are local to a node.
class PveCluster final : public Hypervisor, public GuestPower {
 public:
  /// Opens a shell on a node that is not the entry node; called at most once a node, perhaps from several threads.
  using OpenShell = std::function<std::unique_ptr<Shell>(const NodeState&)>;

  /// `entry` leads to the node the cluster is entered by and has to outlive this object.
  PveCluster(Shell& entry, OpenShell open_shell, HoldBeat beat = {});

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
  /// Of a guest that was started from a saved state: resumes it if it stands still once that is loaded.
  void see_it_go_on(const std::string& node, std::uint32_t vmid, const std::stop_token& stop);
  enum class Asked { gone, runs_on, paused };
  /// One `qm shutdown`.
  Asked ask_to_shut_down(const std::string& node, std::uint32_t vmid, std::chrono::seconds timeout, bool force,
                         const std::stop_token& stop);
  /// Asks the entry node which nodes there are, and returns which one each guest is on. With mutex_ held.
  std::map<std::uint32_t, std::string> look_for_nodes(const std::stop_token& stop);
  /// Asks which nodes there are if that was not done yet.
  Shell& shell(const std::string& node, const std::stop_token& stop);

  Shell& entry_;
  OpenShell open_shell_;
  HoldBeat beat_;
  std::mutex mutex_;  // guards what follows
  std::string entry_node_;
  std::map<std::string, NodeState> nodes_;
  std::map<std::string, std::unique_ptr<Shell>> shells_;
};

}  // namespace crossover
