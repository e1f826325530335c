#include "plan/replica_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "crossover/error.hpp"
#include "model/text.hpp"
#include "plan/restricted_config.hpp"

namespace crossover {

namespace {

/// Keys that describe a moment of the source, not the guest.
constexpr std::array transient_keys = {"lock",           "parent",     "vmstate",
                                       "runningmachine", "runningcpu", "running-nets-host-mtu"};

bool has_number_after(std::string_view key, std::string_view name) {
  return key.starts_with(name) && key.size() > name.size() &&
         std::all_of(key.begin() + static_cast<std::ptrdiff_t>(name.size()), key.end(),
                     [](char c) { return c >= '0' && c <= '9'; });
}

/// "spice", "host=spice,usb3=1": a device that the viewer's host lends, not this one.
bool is_spice_usb(std::string_view value) {
  for (std::size_t begin = 0; begin <= value.size();) {
    const std::size_t end = std::min(value.find(',', begin), value.size());
    const std::string_view part = value.substr(begin, end - begin);
    if (part == "spice" || part == "host=spice") return true;
    begin = end + 1;
  }
  return false;
}

/// Why a setting would name something of the source's host; empty if it does not.
std::string host_device(std::string_view key, std::string_view value) {
  if (has_number_after(key, "hostpci")) return "a PCI device of the host";
  if (has_number_after(key, "virtiofs")) return "a directory of the host";
  if (has_number_after(key, "parallel")) return "a port of the host";
  if (has_number_after(key, "serial")) return value == "socket" ? "" : "a port of the host";
  if (has_number_after(key, "usb")) return is_spice_usb(value) ? "" : "a USB device of the host";
  return "";
}

/// The snippets a setting names: the whole of `hookscript`, each part of `cicustom`.
std::vector<std::string> snippets_of(std::string_view key, const std::string& value) {
  if (key == "hookscript") return {value};
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin <= value.size();) {
    const std::size_t end = std::min(value.find(',', begin), value.size());
    const std::string part = value.substr(begin, end - begin);
    const std::string name = part.substr(part.find('=') + 1);
    if (!text::all_space(name)) names.push_back(name);
    begin = end + 1;
  }
  return names;
}

std::optional<LeftOut> missing(const std::string& key, const std::string& value, const ReplicaSetting& setting) {
  if (key == "hookscript" || key == "cicustom") {
    for (const std::string& snippet : snippets_of(key, value)) {
      if (!setting.snippets.contains(snippet)) {
        return LeftOut{key, value, fmt::format("the destination has no '{}'", snippet), false};
      }
    }
  } else if (key == "vmstatestorage" && !setting.storages.contains(value)) {
    return LeftOut{key, value, fmt::format("the destination has no storage '{}'", value), false};
  } else if (const std::string device = host_device(key, value); !device.empty() && !setting.keep_host_devices) {
    return LeftOut{key, value, device + "; --keep-host-devices keeps it", false};
  }
  return std::nullopt;
}

std::string volume_of(const VmConfig& config, const std::string& key) {
  const auto value = config.get(key);
  try {
    return value ? read_drive(key, *value).volume_text() : "";
  } catch (const Error&) {
    return "";
  }
}

void set_volume(VmConfig& config, const std::string& key, const std::string& volume) {
  Drive drive = read_drive(key, config.get(key).value());
  drive.set_volume(volume);
  config.set(key, drive.text());
}

/// Of several lines with one key PVE takes one and forgets the others; they would go on naming the source's
/// volumes.
void keep_one_line(VmConfig& config, const std::string& key) {
  const auto& entries = config.main().entries;
  const auto lines =
      std::count_if(entries.begin(), entries.end(), [&](const VmConfigEntry& entry) { return entry.key == key; });
  if (lines < 2) return;
  const std::string value = config.get(key).value();
  config.remove(key);
  config.set(key, value);
}

/// A rule may change anything but what the replica's safety rests on.
void apply_rules(VmConfig& config, const std::vector<RewriteRule>& rules, const ReplicaSetting& setting) {
  if (rules.empty()) return;
  config = apply_rewrite_rules(config, rules);
  for (const auto& [key, volume] : setting.volumes) {
    if (volume_of(config, key) != volume) {
      throw Error(ErrorCode::usage, "rewrite", key,
                  fmt::format("a --rewrite rule changes its volume, which has to stay '{}'", volume));
    }
  }
  for (const Drive& drive : drives_of(config)) {
    const std::string key = to_string(drive.key());
    if (drive.volume_text() != "none" && !drive.is_cloudinit() && !setting.volumes.contains(key)) {
      throw Error(ErrorCode::usage, "rewrite", key, "a --rewrite rule adds a disk that is not replicated");
    }
  }
}

}  // namespace

ReplicaConfig replica_config(const VmConfig& source, const GuestDisks& disks, const ReplicaSetting& setting,
                             const std::vector<RewriteRule>& rules) {
  ReplicaConfig replica{source, {}};
  VmConfig& config = replica.config;
  for (const VmConfigSection& section : source.sections()) {
    // What the guest was started with last (cloud-init) stays; snapshots, pending changes and the rest go.
    const bool keep = section.kind == VmSectionKind::main ||
                      (section.kind == VmSectionKind::special && section.name == "cloudinit");
    if (!keep) config.remove_section(section.kind, section.name);
  }
  for (const char* key : transient_keys) config.remove(key);
  std::set<std::string> kept(disks.regenerated.begin(), disks.regenerated.end());
  kept.insert(disks.emptied.begin(), disks.emptied.end());
  for (const auto& [key, volume] : setting.volumes) kept.insert(key);
  for (const std::string& key : kept) keep_one_line(config, key);
  for (const std::string& key : disks.dropped) {
    if (!kept.contains(key)) config.remove(key);
  }
  for (const auto& [key, volume] : setting.volumes) set_volume(config, key, volume);
  for (const std::string& key : disks.regenerated) {
    set_volume(config, key, fmt::format("{}:vm-{}-cloudinit", setting.target_storage, setting.target_vmid));
  }
  for (const std::string& key : disks.emptied) {
    Drive drive = read_drive(key, config.get(key).value());
    drive.set_volume("none");
    drive.remove("size");
    config.set(key, drive.text());
  }
  for (const std::string& key : config.keys()) {
    if (auto left_out = missing(key, config.get(key).value(), setting)) {
      config.remove(key);
      replica.left_out.push_back(std::move(*left_out));
    }
  }
  apply_rules(config, rules, setting);
  for (const char* key : transient_keys) config.remove(key);
  config.set("onboot", "0");
  if (setting.restriction) {
    for (RefusedSetting& refused : remove_refused(config, setting.target_vmid, *setting.restriction)) {
      // The data is there, and nothing names it.
      const bool is_disk = setting.volumes.contains(refused.key) && !config.get(refused.key);
      replica.left_out.push_back({std::move(refused.key), std::move(refused.value),
                                  refused.reason + "; the destination's agent is restricted and refuses it",
                                  is_disk, false});
    }
  }
  return replica;
}

std::string with_lock(const std::string& config, const std::string& value) {
  VmConfig changed = parse_vm_config(config);
  changed.set("lock", value);
  return changed.to_bytes();
}

std::string without_lock(const std::string& config) {
  VmConfig changed = parse_vm_config(config);
  changed.remove("lock");
  return changed.to_bytes();
}

}  // namespace crossover
