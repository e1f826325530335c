#include "plan/migration_check.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "crossover/byte_size.hpp"
#include "crossover/vm_config.hpp"
#include "plan/foreign_lock.hpp"
#include "plan/migration_record.hpp"
#include "plan/pending_changes.hpp"
#include "plan/saved_state.hpp"
#include "plan/start_check.hpp"

namespace crossover {

namespace {

class Findings {
 public:
  Findings(const MigrateRequest& request, const Inventory& inventory, const GuestScope& scope,
           const GuestPlan& plan)
      : request_(request), inventory_(inventory), scope_(scope), plan_(plan) {}

  std::vector<std::string> find(const FreeSpace& free) {
    if (plan_.problem) add("{}", plan_.problem->text);
    const auto& restriction = inventory_.destination.restriction;
    if (restriction) {
      add("the destination's agent is restricted to receiving, and starts nothing; migrate with a key that is not");
    }
    lock();
    high_availability();
    pending();
    if (scope_.disks.replicated.empty()) add("it has no disk that could be moved");
    for (const SharedDisk& disk : scope_.shared) {
      add("{} ({}) is {} of VM {} as well, which would go on writing into it here; detach it from one of them", disk.key,
          to_string(disk.image.spec), disk.other_key, disk.other);
    }
    for (const LeftOut& left_out : plan_.left_out) data_or_device(left_out);
    for (std::string& finding : start_findings(inventory_, scope_, plan_)) found_.push_back(std::move(finding));
    if (free.target) space(*free.target);
    if (is_suspended(request_, plan_)) {
      state_of_hardware();
      if (free.source) source_space(*free.source);
    }
    return std::move(found_);
  }

 private:
  template <typename... Arguments>
  void add(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
    found_.push_back(fmt::format(text, std::forward<Arguments>(arguments)...));
  }

  /// The guest would not shut down under it.
  void lock() {
    const auto lock = scope_.config.get("lock");
    if (!lock) return;
    if (is_fenced(scope_.config.to_bytes())) {
      add("it is fenced (lock: migrate, onboot: 0), as a migration leaves it, and its disks tell of none; if it is "
          "not "
          "on another cluster, take both away");
      return;
    }
    add("it is {}", foreign_lock(*lock, scope_.vmid, plan_.source_node));
  }

  /// It would not let go of the guest, or do something else to it in the middle.
  void high_availability() {
    const ClusterInventory& there = inventory_.destination;
    if (request_.options.ha && there.ha_disarmed == "freeze") {
      add("the destination's high availability is disarmed, and would not take it; arm it ('ha-manager crm-command "
          "arm-ha' there), or leave --ha out");
    }
    const ClusterInventory& here = inventory_.source;
    const GuestState& guest = here.guests.at(scope_.vmid);
    if (guest.ha_state.empty() || guest.ha_state == "ignored" || here.ha_disarmed == "ignore") return;
    if (here.ha_disarmed == "freeze") {
      add("high availability has it and is disarmed (freeze), so it would not let go of it; arm it first ('ha-manager "
          "crm-command arm-ha')");
    } else if (guest.ha_status == "error") {
      add("high availability has it in state 'error', and takes no other until it was disabled and mended; see "
          "'ha-manager status'");
    } else if (guest.ha_status == "migrate" || guest.ha_status == "relocate" || guest.ha_status == "recovery" ||
               guest.ha_status == "fence" || guest.ha_status == "freeze") {
      add("high availability is at it (state '{}'); wait until it is through ('ha-manager status')", guest.ha_status);
    }
  }

  /// A guest that is shut down gets them then, and moves with them.
  void pending() {
    const auto pending = pending_keys(scope_.config);
    if (pending.empty() || is_suspended(request_, plan_)) return;
    if (!plan_.running) {
      add("changes of {} wait for its next start, and would be lost; start it once, which applies them, or revert "
          "them "
          "('qm set {} --revert {}' on {})",
          fmt::join(pending, ", "), scope_.vmid, fmt::join(pending, ","), plan_.source_node);
    } else if (changes_disks(pending)) {
      add("changes of {} wait for its next start, and would change its disks when it is shut down; stop and start "
          "it, "
          "which applies them, or revert them ('qm set {} --revert {}' on {})",
          fmt::join(pending, ", "), scope_.vmid, fmt::join(pending, ","), plan_.source_node);
    }
  }

  void data_or_device(const LeftOut& left_out) {
    const auto has = [&](const std::vector<std::string>& keys) {
      return std::find(keys.begin(), keys.end(), left_out.key) != keys.end();
    };
    if (has(scope_.disks.regenerated)) return;
    if (has(scope_.disks.emptied)) {
      if (!request_.options.drop_cdrom) {
        add("{} has the medium {}, which does not move; take it out, or --drop-cdrom leaves it out", left_out.key,
            left_out.value);
      }
    } else if (left_out.is_disk && left_out.key.starts_with("unused")) {
      return;
    } else if (left_out.is_disk) {
      add("{} ({}) is not mirrored, and what is on it would be missing: {}", left_out.key, left_out.value,
          left_out.reason);
    } else if (left_out.key == "hookscript" || left_out.key == "cicustom") {
      add("its {} ({}) would be missing: {}; copy the snippet there, or take the line out of the guest", left_out.key,
          left_out.value, left_out.reason);
    } else if (left_out.reason.find("--keep-host-devices") != std::string::npos) {
      add("{} is {}; take it out of the guest, or make one of that name there", left_out.key, left_out.reason);
    }
  }

  /// What a memory that was saved on one machine cannot go on with on another.
  void state_of_hardware() {
    for (const std::string& key : scope_.config.keys()) {
      // As Proxmox VE's own check: USB devices do not keep it from suspending.
      const bool is_passed_through = key.starts_with("hostpci") || key.starts_with("virtiofs");
      const bool is_encrypted = key == "amd-sev" || key == "intel-tdx";
      if (is_encrypted) {
        add("{} encrypts its memory, which cannot be saved then; migrate with --migrate-mode=shutdown", key);
      } else if (is_passed_through && request_.mirror.options.keep_host_devices) {
        add("{} is a device that is passed through, with which a guest cannot be suspended; take it out, or "
            "migrate "
            "with --migrate-mode=shutdown",
            key);
      }
    }
    // They are not applied when it goes on from what was saved.
    if (const auto pending = pending_keys(scope_.config); !pending.empty()) {
      add("changes of {} wait for its next start, and would be lost where it goes on from its memory instead; "
          "revert "
          "them ('qm set {} --revert {}' on {}), or migrate with --migrate-mode=shutdown",
          fmt::join(pending, ", "), scope_.vmid, fmt::join(pending, ","), plan_.source_node);
    }
    const auto here = inventory_.source.nodes.find(plan_.source_node);
    const auto there = inventory_.destination.nodes.find(plan_.target_node);
    if (here == inventory_.source.nodes.end() || there == inventory_.destination.nodes.end()) return;
    const NodeState& source = here->second;
    const NodeState& target = there->second;
    if (is_newer_version(source.qemu_version, target.qemu_version)) {
      add("{} has QEMU {} and {} {}, which may not understand what the newer one saved; update it, or migrate with "
          "--migrate-mode=shutdown",
          source.name, source.qemu_version, target.name,
          target.qemu_version.empty() ? "one of an unknown version" : target.qemu_version);
    }
    // What a custom model is, the other side's file may say otherwise.
    const std::string model = cpu_model(scope_.config);
    const bool is_hosts = model == "host" || model == "max" || model.starts_with(custom_model);
    if (is_hosts && (source.processor.empty() || source.processor != target.processor)) {
      const auto name = [](const NodeState& node) { return node.processor.empty() ? "unknown" : node.processor; };
      add("its CPU is {}, and the processors of {} ({}) and {} ({}) are not known to be the same; give it another "
          "model, or migrate with --migrate-mode=shutdown",
          model, source.name, name(source), target.name, name(target));
    }
  }

  void space(std::uint64_t free_bytes) {
    std::uint64_t to_come = 0;
    for (const DiskPlan& disk : plan_.disks) {
      if (disk.full) to_come += disk.layout.size_bytes;
    }
    const bool suspended = is_suspended(request_, plan_);
    if (suspended) to_come += state_volume_bytes(scope_.config);
    const std::uint64_t needed = with_margin(to_come);
    if (needed <= free_bytes) return;
    add("{} that are not there yet may need {}, with a margin of {}%, and {} are free in the pool of {}",
        suspended ? "its disks and its memory" : "its disks", format_bytes(needed), space_margin_percent,
        format_bytes(free_bytes), request_.mirror.pool);
  }

  void source_space(std::uint64_t free_bytes) {
    const std::uint64_t needed = with_margin(state_volume_bytes(scope_.config));
    if (needed <= free_bytes) return;
    add("its memory may need {} when it is saved, with a margin of {}%, and {} are free in the pool of {}",
        format_bytes(needed), space_margin_percent, format_bytes(free_bytes),
        scope_.disks.replicated.empty() ? plan_.source_node : scope_.disks.replicated.front().storage);
  }

  static std::uint64_t with_margin(std::uint64_t bytes) { return bytes + bytes / 100 * space_margin_percent; }

  const MigrateRequest& request_;
  const Inventory& inventory_;
  const GuestScope& scope_;
  const GuestPlan& plan_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> migration_findings(const MigrateRequest& request, const Inventory& inventory,
                                            const GuestScope& scope, const GuestPlan& plan, const FreeSpace& free) {
  return Findings(request, inventory, scope, plan).find(free);
}

}  // namespace crossover
