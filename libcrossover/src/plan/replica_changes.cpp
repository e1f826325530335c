#include "plan/replica_changes.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "crossover/drive.hpp"
#include "crossover/error.hpp"
#include "model/text.hpp"

namespace crossover {

namespace {

/// Key of each setting, with its section if that is not the main one, and its value.
using Settings = std::map<std::string, std::string>;

constexpr std::array not_compared = {"lock", "parent", "cipassword", "description"};

Settings settings_of(const VmConfig& config) {
  Settings settings;
  for (const VmConfigSection& section : config.sections()) {
    if (section.kind != VmSectionKind::main && section.kind != VmSectionKind::pending) continue;
    const std::string prefix = section.kind == VmSectionKind::main ? "" : "[PENDING] ";
    for (const VmConfigEntry& entry : section.entries) {
      if (std::find(not_compared.begin(), not_compared.end(), entry.key) != not_compared.end()) continue;
      const std::string key = prefix + entry.key;
      if (!entry.dropped || !settings.contains(key)) settings[key] = entry.value;
    }
    if (section.description) settings[prefix + "description"] = *section.description;
  }
  return settings;
}

/// A setting for people: sshkeys and descriptions can be long.
std::string shown(const std::string& value) {
  constexpr std::size_t longest = 120;
  const std::string line = text::one_line(value);
  return line.size() <= longest ? line : line.substr(0, longest) + "...";
}

/// Why a snapshot of the replica does not stay; empty: it does.
std::string why_dropped(const VmConfigSection& section, const ReplicaImageOf& image_of) {
  for (const VmConfigEntry& entry : section.entries) {
    if (entry.dropped || (!parse_drive_key(entry.key) && !entry.newer)) continue;
    const Drive drive = read_drive(entry.key, entry.value);
    if (drive.volume().kind != VolumeKind::storage || drive.is_cdrom() || drive.is_cloudinit()) continue;
    const ImageState* image = image_of(drive.volume_text());
    if (image == nullptr) {
      return fmt::format("its {} is {}, which is no image of the replica", entry.key, drive.volume_text());
    }
    const auto has_name = [&section](const Snapshot& snapshot) { return snapshot.name == section.name; };
    if (std::none_of(image->snapshots.begin(), image->snapshots.end(), has_name)) {
      return fmt::format("{} has no RBD snapshot of that name", drive.volume_text());
    }
  }
  return "";
}

/// The configurations of the replica's points, oldest first.
std::vector<VmConfig> written_configs(const GuestFacts& facts) {
  std::map<std::string, VmConfig> configs;
  for (const auto* refs : {&facts.scope.replicas, &facts.scope.former}) {
    for (const ImageRef& ref : *refs) {
      const ImageState* image = find_image(facts.inventory.replica_images, ref);
      if (image == nullptr) continue;
      for (const auto& [key, value] : image->metadata) {
        if (!key.starts_with(point_key_prefix)) continue;
        try {
          const PointConfig point = parse_point(value);
          if (point.target_vmid != facts.scope.target_vmid || point.config.empty()) continue;
          configs.emplace(key, parse_vm_config(point.config));
        } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the point itself will say so
        }
      }
    }
  }
  std::vector<VmConfig> written;
  for (auto& [key, config] : configs) written.push_back(std::move(config));
  return written;
}

}  // namespace

ReplicaSnapshots replica_snapshots(const VmConfig& present, const ReplicaImageOf& image_of) {
  ReplicaSnapshots snapshots;
  VmConfig kept = present;
  for (const VmConfigSection& section : present.sections()) {
    if (section.kind == VmSectionKind::main) continue;
    if (section.kind != VmSectionKind::snapshot) {
      kept.remove_section(section.kind, section.name);
      continue;
    }
    const std::string why = why_dropped(section, image_of);
    if (why.empty()) {
      if (present.get("parent") == section.name) snapshots.parent = section.name;
      continue;
    }
    snapshots.dropped.push_back(fmt::format("[{}]: {}", section.name, why));
    kept.remove_section(section.kind, section.name);
  }
  VmConfig main = kept;
  main.keep_only_main();
  if (kept.sections().size() > 1) snapshots.sections = kept.to_bytes().substr(main.to_bytes().size());
  if (!kept.section(VmSectionKind::snapshot, snapshots.parent)) snapshots.parent.clear();
  return snapshots;
}

std::string with_snapshots(const std::string& config, const std::string& sections, const std::string& parent) {
  if (sections.empty()) return config;
  VmConfig changed = parse_vm_config(config);
  if (!parent.empty()) changed.set("parent", parent);
  std::string bytes = changed.to_bytes();
  if (!bytes.empty() && bytes.back() != '\n') bytes += '\n';
  return bytes + sections;
}

std::vector<std::string> undone_changes(const VmConfig& present, const std::vector<VmConfig>& written,
                                        const VmConfig& next) {
  const Settings now = settings_of(present);
  const bool is_ours = std::any_of(written.begin(), written.end(),
                                   [&now](const VmConfig& config) { return settings_of(config) == now; });
  if (written.empty() || is_ours) return {};
  const Settings last = settings_of(written.back());
  const Settings then = settings_of(next);
  const auto value_of = [](const Settings& settings, const std::string& key) {
    const auto found = settings.find(key);
    return found == settings.end() ? std::optional<std::string>() : std::optional(found->second);
  };
  std::vector<std::string> undone;
  for (const auto& [key, value] : now) {
    const auto becomes = value_of(then, key);
    if (value_of(last, key) == value || becomes == value) continue;
    undone.push_back(fmt::format("{}: {} ({})", key, shown(value),
                                 becomes ? fmt::format("becomes {}", shown(*becomes)) : "is removed"));
  }
  for (const auto& [key, value] : last) {
    if (!now.contains(key) && then.contains(key)) {
      undone.push_back(fmt::format("no {} ({} comes back)", key, shown(then.at(key))));
    }
  }
  return undone;
}

void plan_replica_changes(const GuestFacts& facts, GuestPlan& plan) {
  if (!plan.replica_config_before) return;
  const GuestScope& scope = facts.scope;
  const VmConfig present = parse_vm_config(*plan.replica_config_before);
  const std::set<ImageRef> images = [&scope] {
    std::set<ImageRef> all(scope.replicas.begin(), scope.replicas.end());
    all.insert(scope.former.begin(), scope.former.end());
    return all;
  }();
  ReplicaSnapshots snapshots =
      replica_snapshots(present, [&](const std::string& volume) -> const ImageState* {
        const auto image = rbd_image_of(volume, facts.inventory.destination);
        return image && images.contains(*image) ? find_image(facts.inventory.replica_images, *image) : nullptr;
      });
  plan.replica_snapshots = std::move(snapshots.sections);
  plan.replica_parent = std::move(snapshots.parent);
  for (const std::string& dropped : snapshots.dropped) {
    plan.warnings.push_back(fmt::format(
        "Proxmox VE's snapshot of the replica {} is dropped from its configuration: {}", scope.target_vmid, dropped));
  }
  // What goes back is what it was as a guest, not what a run wrote.
  const auto goes_back = [](const DiskPlan& disk) { return disk.take_back; };
  if (std::any_of(plan.disks.begin(), plan.disks.end(), goes_back)) return;
  const auto undone = undone_changes(present, written_configs(facts), parse_vm_config(plan.replica_config));
  if (undone.empty()) return;
  plan.warnings.push_back(fmt::format(
      "the configuration of the replica {} was changed by hand since the last run, and this run writes the guest's "
      "again, which drops: {}. What is to stay belongs into the guest's own configuration, or a --rewrite rule",
      scope.target_vmid, fmt::join(undone, "; ")));
}

}  // namespace crossover
