/// \file
/// A Proxmox VE cluster in memory: what the engine's tests run against.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/hypervisor.hpp"
#include "support/memory_image_store.hpp"

namespace crossover::test {

/// Hypervisor whose configurations are compared and swapped as the real one's are. Thread-safe; what a test changes
/// through the members below it changes between runs.
class MemoryHypervisor final : public Hypervisor, public GuestPower {
 public:
  /// What happens when a guest is to be frozen, or paused.
  enum class Answer {
    holds,
    refuses,  ///< it cannot be held: no agent answers, or it answers with an error
    late,     ///< does not come to an end in time
    expires,  ///< holds, but the deadline passes before it is let go
    stuck,    ///< holds, but does not say afterwards that it goes on
  };

  /// What happens when a guest is to be suspended.
  enum class Suspends {
    saves,
    fails,  ///< its memory cannot be saved: it runs on, and PVE leaves `lock: suspending`
    dies,   ///< its node fails in the middle
    hangs,  ///< nobody hears how it ends: see finish_suspending()
  };

  /// A cluster of these nodes, all of them online; the first is the one we come in by.
  MemoryHypervisor(std::string name, const std::vector<std::string>& nodes, const std::string& storage_cfg);

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
  /// Refuses a guest that is locked, as PVE does, and applies what waits in [PENDING]. One with a `vmstate` goes on
  /// from that volume, which is removed, and what waits goes on waiting.
  void start(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;
  /// Refuses a guest that runs and is locked or, without force, paused, as PVE does, and applies what waits in
  /// [PENDING] once it is down.
  void shut_down(const std::string& node, std::uint32_t vmid, std::chrono::seconds timeout, bool force,
                 std::stop_token stop) override;
  /// Refuses a guest that does not run, is paused, locked or high availability's; otherwise as `suspends` says.
  void suspend(const std::string& node, std::uint32_t vmid, const std::string& storage,
               std::stop_token stop) override;
  void free_volume(const std::string& node, const std::string& volume, std::stop_token stop) override;
  /// True for a guest that runs, is not paused, and whose configuration enables the agent.
  bool agent_answers(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;
  /// Changes the state in `inventory`, and nothing else: high availability itself is not there.
  void set_ha_state(std::uint32_t vmid, const std::string& state, std::stop_token stop) override;
  /// Refuses a guest that runs or is protected, as PVE does, and frees every volume with its VMID in the name that
  /// the configuration names: attached, unused, pending, saved states, those of snapshots too.
  void destroy(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;

  /// Everything that a survey of all nodes and their versions answers; tests change it at will.
  ClusterInventory inventory;
  std::map<std::uint32_t, Answer> agents;  ///< those that are not there freeze
  std::map<std::uint32_t, Answer> pauses;  ///< those that are not there are paused
  /// Guests that somebody else paused or froze before.
  std::set<std::uint32_t> paused_by_others;
  std::set<std::uint32_t> frozen_by_others;
  /// Guests of whose run their node hears nothing: what is held of their configuration is put back at once.
  std::set<std::uint32_t> unheard;
  std::set<std::uint32_t> keep_running;  ///< guests that do not heed a request to shut down: only force ends them
  /// Guests that are off before PVE sees to it: what waits in [PENDING] goes on waiting.
  std::set<std::uint32_t> shut_themselves_down;
  std::set<std::uint32_t> refuse_start;         ///< guests that cannot be started
  std::set<std::uint32_t> refuse_resume;        ///< guests that cannot be started from a saved state
  std::map<std::uint32_t, Suspends> suspends;   ///< those that are not there save
  MemoryImageStore* images = nullptr;           ///< where its volumes are; has to outlive this object
  std::set<std::uint32_t> silent_agents;        ///< guests whose agent does not answer
  std::function<void(std::uint32_t)> on_start;  ///< called with each guest that is started, if it is set

  /// Adds a guest, or gives one another configuration.
  void put_guest(std::uint32_t vmid, const std::string& node, const std::string& config, Power power);
  /// The bytes of a guest's configuration; nothing if there is none.
  [[nodiscard]] std::optional<std::string> config(std::uint32_t vmid) const;
  /// Changes a configuration as somebody else would, in another second.
  void set_config(std::uint32_t vmid, const std::string& bytes);
  /// What a running guest has in its memory, or would go on with: another number each time it boots. 0: it is off.
  [[nodiscard]] std::uint64_t memory(std::uint32_t vmid) const;
  /// What `qm suspend` does last.
  void finish_suspending(std::uint32_t vmid);
  /// Power failure of all nodes, and what PVE does when they boot.
  void reboot();
  /// Whether a run holds a guest now.
  [[nodiscard]] bool held(std::uint32_t vmid) const;
  /// How often a guest was held so far.
  [[nodiscard]] int holds(std::uint32_t vmid, HoldWay way) const;
  /// All that a run could change, as text.
  [[nodiscard]] std::string dump() const;

 private:
  class MemoryGuestHold;
  class MemoryHold;

  void let_go(std::uint32_t vmid);
  /// Throws Error{command} if PVE knows no such guest there. With mutex_ held.
  GuestState& guest_on(const std::string& node, std::uint32_t vmid, const char* operation);
  ConfigVersion put(std::uint32_t vmid, const std::string& node, const std::string& bytes);
  void start_here(GuestState& guest);
  [[nodiscard]] std::vector<std::string> volumes_to_free(const GuestState& guest) const;
  /// A disk that goes becomes `unused9`.
  void apply_pending(GuestState& guest);
  [[nodiscard]] ImageSpec spec_of(const std::string& volume) const;
  void remove_volume(const std::string& volume);

  mutable std::mutex mutex_;
  std::map<std::uint32_t, std::int64_t> modified_;
  std::int64_t written_ = 3;
  std::set<std::uint32_t> held_;
  std::map<std::uint32_t, std::uint64_t> memory_;
  std::uint64_t next_memory_;
  std::map<std::pair<std::uint32_t, HoldWay>, int> holds_;
};

}  // namespace crossover::test
