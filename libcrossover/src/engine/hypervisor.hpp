/// \file
/// The port to one cluster's hypervisor. Implementation: pve/pve_cluster; the tests' cluster in memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>

#include "plan/inventory.hpp"

namespace crossover {

/// A configuration file as it was after we wrote it: what has to be unchanged for us to change it again.
struct ConfigVersion {
  std::string bytes;
  /// The file's modification time, in seconds since 1970. Nothing: the bytes alone tell.
  std::optional<std::int64_t> modified = {};

  bool operator==(const ConfigVersion&) const = default;
};

/// How a running guest is kept from writing for a while.
enum class HoldWay {
  freeze,  ///< its agent freezes its file systems
  pause    ///< it does not run; its file systems are as after a power cut, all of its disks of one moment
};

/// A guest that is frozen or paused. Whatever happens to this object, to its process or to its host, the guest goes
/// on: it is held by a process on the guest's node that lets it go when its input ends, when it hears nothing for
/// too long, or when its deadline passes.
class GuestHold {
 public:
  virtual ~GuestHold() = default;
  /// The state in which the guest did not run anyway when it was to be paused, as `qm status` names it ("paused",
  /// "stopped"): it is left in it. Empty: it is held by this object.
  [[nodiscard]] virtual const std::string& already() const = 0;
  /// Lets the guest go on and waits until it says that it does. Returns how long it was held, at most. Otherwise
  /// what was done meanwhile may not have been done while it was held: ErrorCode::timeout if the deadline had
  /// passed before or nothing was heard of this process for too long, ErrorCode::conflict if somebody else let it
  /// go on, ErrorCode::command if it does not say that it goes on.
  virtual std::chrono::milliseconds release() = 0;
};

/// A configuration that is another one for a while. Whatever happens to this object, to its process or to its
/// host, the former one comes back: a process on the guest's node puts it back when its input ends or it hears
/// nothing for too long, unless somebody changed it meanwhile.
class ConfigHold {
 public:
  virtual ~ConfigHold() = default;
  /// Puts the former configuration back. ErrorCode::conflict if somebody changed it: what they wrote stays.
  /// ErrorCode::timeout if it was put back before, because nothing was heard of this process for too long.
  virtual void release() = 0;
};

/// What a survey is for. Reaching a node, and starting Proxmox's commands there, takes its time: what nobody looks
/// at is not asked.
struct SurveyScope {
  bool versions = false;  ///< the nodes' versions and processors as well
  /// Only the nodes of these guests are asked, and the one the cluster is entered by. What only a node itself can
  /// say of others, and of guests there, stays unknown. Nothing: all nodes.
  std::optional<std::set<std::uint32_t>> guests = {};
};

/// One cluster. Thread-safe. Every call throws Error, or Cancelled once its stop token is triggered.
class Hypervisor {
 public:
  virtual ~Hypervisor() = default;

  /// Asks everything there is to know, with one command per node.
  virtual ClusterInventory survey(const SurveyScope& scope, std::stop_token stop) = 0;

  /// A guest's configuration now, from the node that owns it; nothing if that node does not own it (any more).
  virtual std::optional<ConfigVersion> read_config(const std::string& node, std::uint32_t vmid,
                                                   std::stop_token stop) = 0;

  /// Replaces a guest's configuration under PVE's own lock, in one step, only if it still is `expected` (bytes, and
  /// its time if that is set); without `expected` only if there is none. ErrorCode::conflict if it is something
  /// else, ErrorCode::already_exists if another node or a container has that VMID, ErrorCode::locked if PVE's lock
  /// stays taken.
  virtual ConfigVersion write_config(const std::string& node, std::uint32_t vmid,
                                     const std::optional<ConfigVersion>& expected, const std::string& bytes,
                                     std::stop_token stop) = 0;

  /// As write_config() with `expected`, for as long as the result lives.
  virtual std::unique_ptr<ConfigHold> hold_config(const std::string& node, std::uint32_t vmid,
                                                  const ConfigVersion& expected, const std::string& bytes) = 0;

  /// Replaces, or without `bytes` removes, the guest's firewall file.
  virtual void write_firewall(std::uint32_t vmid, const std::optional<std::string>& bytes,
                              std::stop_token stop) = 0;

  /// Freezes or pauses a running guest. ErrorCode::unsupported if it cannot be held in this way and runs on,
  /// because its agent does not answer or refuses, or because somebody else froze it before. ErrorCode::timeout if
  /// holding it takes longer than `deadline`, or if it does not say afterwards that it goes on.
  virtual std::unique_ptr<GuestHold> hold_guest(HoldWay way, const std::string& node, std::uint32_t vmid,
                                                std::chrono::milliseconds deadline, std::stop_token stop) = 0;
};

/// Guests' power switches, of one cluster. Thread-safe. Every call throws Error, or Cancelled once its stop token
/// is triggered.
class GuestPower {
 public:
  virtual ~GuestPower() = default;

  /// Whether a guest's QEMU runs now, from the node that owns it; paused counts as running.
  virtual Power power(const std::string& node, std::uint32_t vmid, std::stop_token stop) = 0;

  /// Starts a guest on the node that owns it. On return it runs, or is about to: of a guest under high availability
  /// this only is the request. One that is hibernated goes on from what was saved: it does, on return.
  /// ErrorCode::command says why not, in PVE's words, ErrorCode::timeout that what was saved does not go on.
  virtual void start(const std::string& node, std::uint32_t vmid, std::stop_token stop) = 0;

  /// Shuts a guest down on the node that owns it, through its agent or ACPI, and returns when its QEMU is gone, at
  /// once if it does not run. A guest that does not heed it is asked again until `timeout` has passed. With `force`
  /// it is ended once `timeout` has passed, or at once if it is paused. ErrorCode::timeout if it still runs then,
  /// ErrorCode::conflict if high availability has it (which may stop it now, for it was asked to),
  /// ErrorCode::command says why else not, in PVE's words. After a timeout, and if the call was cancelled, it may
  /// still go down: it was told to.
  virtual void shut_down(const std::string& node, std::uint32_t vmid, std::chrono::seconds timeout, bool force,
                         std::stop_token stop) = 0;

  /// Saves a running guest's memory in a new volume of a storage and ends its QEMU (`qm suspend --todisk`). On
  /// return QEMU is gone, and the configuration says `lock: suspended` and which volume it is; start() goes on from
  /// there and removes the volume. It takes as long as writing the memory takes. Whoever is cancelled meanwhile
  /// waits for that: what is half saved cannot be taken back. ErrorCode::command says why not, in PVE's words; PVE
  /// may have left `lock: suspending` then.
  virtual void suspend(const std::string& node, std::uint32_t vmid, const std::string& storage,
                       std::stop_token stop) = 0;

  /// Removes a volume ("storage:name") that no guest uses, with its snapshots. ErrorCode::command says why not, in
  /// PVE's words.
  virtual void free_volume(const std::string& node, const std::string& volume, std::stop_token stop) = 0;

  /// Whether a guest's agent answers now. A guest that has none, or does not run, does not.
  virtual bool agent_answers(const std::string& node, std::uint32_t vmid, std::stop_token stop) = 0;

  /// Asks high availability to keep a guest in a state, as `ha-manager set` takes it ("started", "stopped",
  /// "ignored"), and makes it a resource if it is none. Returns when high availability has taken notice: of an
  /// ignored guest it does not start or stop it any more. ErrorCode::timeout if it does not: the state is set all
  /// the same.
  virtual void set_ha_state(std::uint32_t vmid, const std::string& state, std::stop_token stop) = 0;

  /// Destroys a stopped guest, whatever lock it has: its configuration, its disks and all their snapshots, and what
  /// refers to it. ErrorCode::command if any of it is left, in PVE's words.
  virtual void destroy(const std::string& node, std::uint32_t vmid, std::stop_token stop) = 0;
};

}  // namespace crossover
