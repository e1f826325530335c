#include "support/memory_hypervisor.hpp"

#include <fmt/format.h>

#include <cstring>
#include <span>

#include "crossover/drive.hpp"
#include "crossover/error.hpp"
#include "plan/pending_changes.hpp"

namespace crossover::test {

namespace {

constexpr std::size_t state_offset = 4096;  // of what is saved, in its volume

void check_stop(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Cancelled{};
}

std::string subject_of(const std::string& node, std::uint32_t vmid) {
  return fmt::format("VM {} on {}", vmid, node);
}

/// What PVE says when it does not do something.
Error refused(const char* operation, const std::string& node, std::uint32_t vmid, const std::string& words) {
  return {ErrorCode::command, operation, subject_of(node, vmid), words};
}

void check_lock(const GuestState& guest, const char* operation, const std::string& allowed = {}) {
  const auto locked = parse_vm_config(guest.config).get("lock");
  if (locked && *locked != allowed)
    throw refused(operation, guest.node, guest.vmid, fmt::format("VM is locked ({})", *locked));
}

}  // namespace

class MemoryHypervisor::MemoryGuestHold final : public GuestHold {
 public:
  MemoryGuestHold(MemoryHypervisor& cluster, std::uint32_t vmid, HoldWay way, Answer answer, std::string already)
      : cluster_(cluster), vmid_(vmid), way_(way), answer_(answer), already_(std::move(already)) {}
  ~MemoryGuestHold() override { cluster_.let_go(vmid_); }
  MemoryGuestHold(const MemoryGuestHold&) = delete;
  MemoryGuestHold& operator=(const MemoryGuestHold&) = delete;

  [[nodiscard]] const std::string& already() const override { return already_; }

  std::chrono::milliseconds release() override {
    cluster_.let_go(vmid_);
    const char* operation = way_ == HoldWay::freeze ? "freeze" : "pause";
    const std::string subject = fmt::format("VM {}", vmid_);
    if (answer_ == Answer::expires) throw Error(ErrorCode::timeout, operation, subject, "the deadline had passed");
    if (answer_ == Answer::stuck)
      throw Error(ErrorCode::command, operation, subject, "it does not say that it goes on");
    return std::chrono::milliseconds(!already_.empty() ? 0 : way_ == HoldWay::freeze ? 40 : 900);
  }

 private:
  MemoryHypervisor& cluster_;
  std::uint32_t vmid_;
  HoldWay way_;
  Answer answer_;
  std::string already_;
};

/// As the process on the guest's node: what is let go of is put back, whoever lets go.
class MemoryHypervisor::MemoryHold final : public ConfigHold {
 public:
  MemoryHold(MemoryHypervisor& cluster, std::string node, std::uint32_t vmid, std::string before,
             ConfigVersion held)
      : cluster_(cluster),
        node_(std::move(node)),
        vmid_(vmid),
        before_(std::move(before)),
        held_(std::move(held)) {}
  ~MemoryHold() override {
    try {
      if (!released_) release();
    } catch (const Error&) {  // somebody changed it: theirs stays
    }
  }
  MemoryHold(const MemoryHold&) = delete;
  MemoryHold& operator=(const MemoryHold&) = delete;

  void release() override {
    released_ = true;
    if (lost_) throw Error(ErrorCode::timeout, "hold configuration", subject_of(node_, vmid_), "nothing was heard");
    cluster_.write_config(node_, vmid_, held_, before_, {});
  }

  void lose() {
    cluster_.write_config(node_, vmid_, held_, before_, {});
    lost_ = true;
  }

 private:
  MemoryHypervisor& cluster_;
  std::string node_;
  std::uint32_t vmid_;
  std::string before_;
  ConfigVersion held_;
  bool lost_ = false;
  bool released_ = false;
};

MemoryHypervisor::MemoryHypervisor(std::string name, const std::vector<std::string>& nodes,
                                   const std::string& storage_cfg) {
  inventory.entry_node = nodes.front();
  inventory.name = std::move(name);
  inventory.writable = true;
  for (const std::string& node : nodes) {
    inventory.nodes[node] = {.name = node,
                             .address = fmt::format("192.0.2.{}", inventory.nodes.size() + 1),
                             .online = true,
                             .unreachable = {},
                             .pve_version = "pve-manager/9.0",
                             .ceph_version = "ceph version 19.2",
                             .qemu_version = "10.1.2",
                             .bridges = {"vmbr0"},
                             .known_hosts = inventory.name + "'s key of " + node};
  }
  inventory.storages = parse_storage_config(storage_cfg);
  // The two clusters' numbers differ.
  next_memory_ = std::hash<std::string>{}(inventory.name) % 1'000'000 * 1'000'000;
}

ClusterInventory MemoryHypervisor::survey(const SurveyScope& scope, std::stop_token stop) {
  check_stop(stop);
  const std::scoped_lock lock(mutex_);
  ClusterInventory seen = inventory;
  std::set<std::string> asked{seen.entry_node};
  for (const auto& [vmid, guest] : seen.guests) {
    if (!scope.guests || scope.guests->contains(vmid)) asked.insert(guest.node);
  }
  for (auto& [name, node] : seen.nodes) {
    const bool is_asked = !scope.guests || asked.contains(name);
    if (!is_asked) {
      node.bridges.clear();
      node.unreachable.clear();
    }
    if (is_asked && scope.versions) continue;
    for (std::string* unknown : {&node.pve_version, &node.ceph_version, &node.qemu_version, &node.processor}) {
      unknown->clear();
    }
  }
  for (auto& [vmid, guest] : seen.guests) {
    if (scope.guests && !asked.contains(guest.node)) guest.power = Power::unknown;
  }
  return seen;
}

std::optional<ConfigVersion> MemoryHypervisor::read_config(const std::string& node, std::uint32_t vmid,
                                                           std::stop_token stop) {
  check_stop(stop);
  const std::scoped_lock lock(mutex_);
  const auto found = inventory.guests.find(vmid);
  if (found == inventory.guests.end() || found->second.node != node) return std::nullopt;
  return ConfigVersion{found->second.config, modified_[vmid]};
}

ConfigVersion MemoryHypervisor::write_config(const std::string& node, std::uint32_t vmid,
                                             const std::optional<ConfigVersion>& expected, const std::string& bytes,
                                             std::stop_token stop) {
  check_stop(stop);
  const std::scoped_lock lock(mutex_);
  const std::string subject = fmt::format("VM {} on {}", vmid, node);
  const auto found = inventory.guests.find(vmid);
  const bool here = found != inventory.guests.end() && found->second.node == node;
  const bool as_expected =
      expected ? here && found->second.config == expected->bytes &&
                     (!expected->modified || expected->modified == modified_[vmid])
               : !here;
  if (!as_expected) throw Error(ErrorCode::conflict, "write configuration", subject, "it was changed meanwhile");
  if (!here && (found != inventory.guests.end() || inventory.containers.contains(vmid))) {
    throw Error(ErrorCode::already_exists, "write configuration", subject, "the VMID is taken");
  }
  return put(vmid, node, bytes);
}

std::unique_ptr<ConfigHold> MemoryHypervisor::hold_config(const std::string& node, std::uint32_t vmid,
                                                          const ConfigVersion& expected, const std::string& bytes) {
  auto hold = std::make_unique<MemoryHold>(*this, node, vmid, expected.bytes,
                                           write_config(node, vmid, expected, bytes, {}));
  if (unheard.contains(vmid)) hold->lose();
  return hold;
}

void MemoryHypervisor::write_firewall(std::uint32_t vmid, const std::optional<std::string>& bytes,
                                      std::stop_token stop) {
  check_stop(stop);
  const std::scoped_lock lock(mutex_);
  inventory.guests.at(vmid).firewall = bytes;
}

std::unique_ptr<GuestHold> MemoryHypervisor::hold_guest(HoldWay way, const std::string&, std::uint32_t vmid,
                                                        std::chrono::milliseconds, std::stop_token stop) {
  check_stop(stop);
  const std::scoped_lock lock(mutex_);
  const bool freeze = way == HoldWay::freeze;
  const auto& answers = freeze ? agents : pauses;
  const auto found = answers.find(vmid);
  const Answer answer = found == answers.end() ? Answer::holds : found->second;
  const char* operation = freeze ? "freeze" : "pause";
  const std::string subject = fmt::format("VM {}", vmid);
  if (!freeze && paused_by_others.contains(vmid)) {
    return std::make_unique<MemoryGuestHold>(*this, vmid, way, answer, "paused");
  }
  if (freeze && frozen_by_others.contains(vmid)) {
    throw Error(ErrorCode::unsupported, operation, subject, "somebody else froze it");
  }
  if (answer == Answer::refuses) throw Error(ErrorCode::unsupported, operation, subject, "it cannot be held");
  if (answer == Answer::late) throw Error(ErrorCode::timeout, operation, subject, "it took too long");
  held_.insert(vmid);
  ++holds_[{vmid, way}];
  return std::make_unique<MemoryGuestHold>(*this, vmid, way, answer, "");
}

GuestState& MemoryHypervisor::guest_on(const std::string& node, std::uint32_t vmid, const char* operation) {
  const auto found = inventory.guests.find(vmid);
  if (found != inventory.guests.end() && found->second.node == node) return found->second;
  throw refused(operation, node, vmid,
                fmt::format("Configuration file 'nodes/{}/qemu-server/{}.conf' does not exist", node, vmid));
}

Power MemoryHypervisor::power(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  check_stop(stop);
  const std::scoped_lock lock(mutex_);
  return guest_on(node, vmid, "ask for the status").power;
}

void MemoryHypervisor::start(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  check_stop(stop);
  const std::scoped_lock lock(mutex_);
  start_here(guest_on(node, vmid, "start"));
}

void MemoryHypervisor::start_here(GuestState& guest) {
  const std::uint32_t vmid = guest.vmid;
  check_lock(guest, "start", "suspended");
  if (guest.power == Power::running) throw refused("start", guest.node, vmid, "already running");
  if (refuse_start.contains(vmid)) {
    throw refused("start", guest.node, vmid, "start failed: QEMU exited with code 1");
  }
  const auto state = parse_vm_config(guest.config).get("vmstate");
  if (!state) apply_pending(guest);
  VmConfig config = parse_vm_config(guest.config);
  std::uint64_t memory = ++next_memory_;
  if (state) {
    if (!images->find(spec_of(*state))) throw refused("start", guest.node, vmid, "no such volume");
    if (refuse_resume.contains(vmid)) throw refused("start", guest.node, vmid, "loading the saved state failed");
    const std::vector<std::byte> bytes = images->content(spec_of(*state));
    std::memcpy(&memory, bytes.data() + state_offset, sizeof memory);
  }
  if (on_start) on_start(vmid);
  guest.power = Power::running;
  memory_[vmid] = memory;
  if (!state) return;
  remove_volume(*state);
  for (const char* key : {"lock", "vmstate", "runningmachine", "runningcpu"}) config.remove(key);
  put(vmid, guest.node, config.to_bytes());
}

ImageSpec MemoryHypervisor::spec_of(const std::string& volume) const {
  const std::size_t colon = volume.find(':');
  return image_spec(inventory.storages.rbd(volume.substr(0, colon)).value(), volume.substr(colon + 1));
}

void MemoryHypervisor::remove_volume(const std::string& volume) {
  const ImageSpec spec = spec_of(volume);
  const ImageState state = images->find(spec).value();
  for (const Snapshot& snapshot : state.snapshots) images->remove_snapshot(spec, snapshot);
  images->remove(spec);
}

void MemoryHypervisor::suspend(const std::string& node, std::uint32_t vmid, const std::string& storage,
                               std::stop_token stop) {
  check_stop(stop);
  {
    const std::scoped_lock lock(mutex_);
    GuestState& guest = guest_on(node, vmid, "suspend");
    if (guest.power != Power::running) throw refused("suspend", node, vmid, "VM not running");
    if (paused_by_others.contains(vmid)) throw refused("suspend", node, vmid, "it does not run (status: paused)");
    check_lock(guest, "suspend");
    if (!guest.ha_state.empty() && guest.ha_state != "ignored") {
      throw Error(ErrorCode::conflict, "suspend", subject_of(node, vmid), "high availability has it");
    }
    const std::string volume = fmt::format("{}:vm-{}-state-suspend-2026-11-23", storage, vmid);
    if (images->find(spec_of(volume))) {
      throw refused("suspend", node, vmid, fmt::format("rbd create '{}' error: File exists", volume));
    }
    ImageLayout layout;
    layout.size_bytes = std::uint64_t{16} << 10;
    images->create(spec_of(volume), layout);
    images->write(spec_of(volume), state_offset, std::as_bytes(std::span(&memory_.at(vmid), 1)));
    VmConfig config = parse_vm_config(guest.config);
    config.set("lock", "suspending");
    const auto found = suspends.find(vmid);
    const Suspends how = found == suspends.end() ? Suspends::saves : found->second;
    if (how == Suspends::fails) {
      remove_volume(volume);
      put(vmid, node, config.to_bytes());
      throw refused("suspend", node, vmid, "unable to save VM state and RAM");
    }
    config.set("vmstate", volume);
    config.set("runningmachine", "pc-i440fx-10.1+pve0");
    config.set("runningcpu", "kvm64,enforce");
    put(vmid, node, config.to_bytes());
    if (how == Suspends::dies) guest.power = Power::stopped;
    if (how != Suspends::saves) {
      throw Error(ErrorCode::unreachable, "suspend", subject_of(node, vmid), "the connection was lost", true);
    }
  }
  finish_suspending(vmid);
}

void MemoryHypervisor::finish_suspending(std::uint32_t vmid) {
  const std::scoped_lock lock(mutex_);
  GuestState& guest = inventory.guests.at(vmid);
  guest.power = Power::stopped;
  VmConfig config = parse_vm_config(guest.config);
  config.set("lock", "suspended");
  put(vmid, guest.node, config.to_bytes());
}

void MemoryHypervisor::free_volume(const std::string& /*node*/, const std::string& volume, std::stop_token stop) {
  check_stop(stop);
  const std::scoped_lock lock(mutex_);
  if (!images->find(spec_of(volume))) throw Error(ErrorCode::command, "remove volume", volume, "no such image");
  remove_volume(volume);
}

void MemoryHypervisor::reboot() {
  const std::scoped_lock lock(mutex_);
  for (auto& [vmid, guest] : inventory.guests) {
    guest.power = Power::stopped;
    VmConfig config = parse_vm_config(guest.config);
    if (config.get("lock") == "backup") {
      config.remove("lock");
      put(vmid, guest.node, config.to_bytes());
    }
    if (config.get("onboot") != "1") continue;
    try {
      start_here(guest);
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): then it stays off
    }
  }
}

std::uint64_t MemoryHypervisor::memory(std::uint32_t vmid) const {
  const std::scoped_lock lock(mutex_);
  const auto guest = inventory.guests.find(vmid);
  const auto found = memory_.find(vmid);
  return guest == inventory.guests.end() || guest->second.power != Power::running || found == memory_.end()
             ? 0
             : found->second;
}

void MemoryHypervisor::shut_down(const std::string& node, std::uint32_t vmid, std::chrono::seconds /*timeout*/,
                                 bool force, std::stop_token stop) {
  check_stop(stop);
  const std::scoped_lock lock(mutex_);
  GuestState& guest = guest_on(node, vmid, "shut down");
  const bool is_paused = paused_by_others.contains(vmid);
  if (is_paused && !force) throw refused("shut down", node, vmid, "VM is paused - cannot shutdown");
  if (!guest.ha_state.empty() && guest.ha_state != "ignored") {
    throw Error(ErrorCode::conflict, "shut down", subject_of(node, vmid), "high availability has it");
  }
  if (guest.power == Power::stopped) return;
  check_lock(guest, "shut down");
  if (keep_running.contains(vmid) && !force) {
    throw Error(ErrorCode::timeout, "shut down", subject_of(node, vmid), "VM quit/powerdown failed - got timeout");
  }
  guest.power = Power::stopped;
  paused_by_others.erase(vmid);
  if (!shut_themselves_down.contains(vmid)) apply_pending(guest);
}

void MemoryHypervisor::apply_pending(GuestState& guest) {
  VmConfig config = parse_vm_config(guest.config);
  const VmConfigSection* pending = config.section(VmSectionKind::pending, {});
  if (pending == nullptr) return;
  std::vector<std::string> deleted = pending_keys(config);
  for (const VmConfigEntry& entry : pending->entries) std::erase(deleted, entry.key);
  for (const std::string& key : deleted) {
    if (parse_drive_key(key)) {
      if (const auto old = config.get(key)) config.set("unused9", old->substr(0, old->find(',')));
    }
    config.remove(key);
  }
  const std::vector<VmConfigEntry> entries = config.section(VmSectionKind::pending, {})->entries;
  for (const VmConfigEntry& entry : entries) {
    if (entry.key != "delete") config.set(entry.key, entry.value);
  }
  config.remove_section(VmSectionKind::pending, {});
  put(guest.vmid, guest.node, config.to_bytes());
}

bool MemoryHypervisor::agent_answers(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  check_stop(stop);
  const std::scoped_lock lock(mutex_);
  const GuestState& guest = guest_on(node, vmid, "ask agent");
  const std::string agent = parse_vm_config(guest.config).get("agent").value_or("0");
  return guest.power == Power::running && !paused_by_others.contains(vmid) && agent.starts_with("1") &&
         !silent_agents.contains(vmid);
}

void MemoryHypervisor::set_ha_state(std::uint32_t vmid, const std::string& state, std::stop_token stop) {
  check_stop(stop);
  const std::scoped_lock lock(mutex_);
  const auto guest = inventory.guests.find(vmid);
  if (guest == inventory.guests.end()) {
    throw Error(ErrorCode::command, "set high availability", fmt::format("VM {}", vmid),
                fmt::format("resource 'vm:{}' does not exist in cluster", vmid));
  }
  guest->second.ha_state = state;
}

std::vector<std::string> MemoryHypervisor::volumes_to_free(const GuestState& guest) const {
  std::vector<std::string> volumes;
  const VmConfig config = parse_vm_config(guest.config);
  for (const VmConfigSection& section : config.sections()) {
    const bool is_snapshot = section.kind == VmSectionKind::snapshot;
    for (const VmConfigEntry& entry : section.entries) {
      if (entry.key != "vmstate" && (is_snapshot || !parse_drive_key(entry.key))) continue;
      const std::string volume = entry.value.substr(0, entry.value.find(','));
      const std::size_t colon = volume.find(':');
      if (colon == std::string::npos || !inventory.storages.rbd(volume.substr(0, colon))) continue;
      if (parse_rbd_volume_name(volume.substr(colon + 1)).owned_by(guest.vmid)) volumes.push_back(volume);
    }
  }
  return volumes;
}

void MemoryHypervisor::destroy(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  check_stop(stop);
  const std::scoped_lock lock(mutex_);
  const GuestState& guest = guest_on(node, vmid, "destroy");
  if (parse_vm_config(guest.config).get("protection") == "1") {
    throw refused("destroy", node, vmid, fmt::format("can't remove VM {} - protection mode enabled", vmid));
  }
  if (guest.power != Power::stopped) {
    throw refused("destroy", node, vmid, fmt::format("VM {} is running - destroy failed", vmid));
  }
  for (const std::string& volume : volumes_to_free(guest)) {
    if (images->find(spec_of(volume))) remove_volume(volume);
  }
  inventory.guests.erase(vmid);
  modified_.erase(vmid);
}

void MemoryHypervisor::let_go(std::uint32_t vmid) {
  const std::scoped_lock lock(mutex_);
  held_.erase(vmid);
}

ConfigVersion MemoryHypervisor::put(std::uint32_t vmid, const std::string& node, const std::string& bytes) {
  GuestState& guest = inventory.guests[vmid];
  if (guest.vmid == 0) guest.power = Power::stopped;
  guest.vmid = vmid;
  guest.node = node;
  guest.config = bytes;
  // pmxcfs keeps whole seconds, and what a run writes follows itself quickly.
  modified_[vmid] = ++written_ / 3;
  return {bytes, modified_[vmid]};
}

void MemoryHypervisor::put_guest(std::uint32_t vmid, const std::string& node, const std::string& config,
                                 Power power) {
  const std::scoped_lock lock(mutex_);
  put(vmid, node, config);
  inventory.guests.at(vmid).power = power;
  if (power == Power::running) memory_[vmid] = ++next_memory_;
}

std::optional<std::string> MemoryHypervisor::config(std::uint32_t vmid) const {
  const std::scoped_lock lock(mutex_);
  const auto found = inventory.guests.find(vmid);
  return found == inventory.guests.end() ? std::nullopt : std::optional(found->second.config);
}

void MemoryHypervisor::set_config(std::uint32_t vmid, const std::string& bytes) {
  const std::scoped_lock lock(mutex_);
  written_ += 3;
  put(vmid, inventory.guests.at(vmid).node, bytes);
}

bool MemoryHypervisor::held(std::uint32_t vmid) const {
  const std::scoped_lock lock(mutex_);
  return held_.contains(vmid);
}

int MemoryHypervisor::holds(std::uint32_t vmid, HoldWay way) const {
  const std::scoped_lock lock(mutex_);
  const auto found = holds_.find({vmid, way});
  return found == holds_.end() ? 0 : found->second;
}

std::string MemoryHypervisor::dump() const {
  const std::scoped_lock lock(mutex_);
  std::string text;
  for (const auto& [vmid, guest] : inventory.guests) {
    const auto modified = modified_.find(vmid);
    text += fmt::format("VM {} on {}, {}, HA {}, written at {}, held {}\n{}\nfirewall {}\n", vmid, guest.node,
                        guest.power == Power::running   ? "runs"
                        : guest.power == Power::stopped ? "stopped"
                                                        : "unknown",
                        guest.ha_state.empty() ? "none" : guest.ha_state,
                        modified == modified_.end() ? 0 : modified->second, held_.contains(vmid), guest.config,
                        guest.firewall.value_or("none"));
  }
  return text;
}

}  // namespace crossover::test
