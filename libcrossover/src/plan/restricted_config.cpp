#include "plan/restricted_config.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "crossover/drive.hpp"
#include "crossover/error.hpp"
#include "model/text.hpp"
#include "plan/restricted_values.hpp"

namespace crossover {

namespace {

std::string_view without_number(std::string_view key) {
  const std::size_t end = key.find_last_not_of("0123456789");
  return end == std::string_view::npos ? std::string_view{} : key.substr(0, end + 1);
}

std::string refuse_volume(const Drive& drive, std::uint32_t vmid, const Restriction& restriction) {
  const Volume volume = drive.volume();
  if (volume.kind == VolumeKind::none && drive.is_cdrom()) return "";
  if (volume.kind != VolumeKind::storage) return "it is a device of the host";
  if (!restriction.pools.contains(volume.storage)) return fmt::format("'{}' is not its storage", volume.storage);
  return is_image_of(volume.name, vmid) ? "" : "the volume is not its own";
}

std::string refuse_options(const Drive& drive) {
  const std::vector<DriveOption> refused = unsafe_options(drive);
  return refused.empty() ? "" : fmt::format("its {} could be more than that", refused.front().key);
}

/// Why the setting is refused; empty if it is not.
std::string refuse(const std::string& key, const std::string& value, std::uint32_t vmid,
                   const Restriction& restriction) {
  if (parse_drive_key(key)) {
    try {
      const Drive parsed = read_drive(key, value);
      const std::string reason = refuse_volume(parsed, vmid, restriction);
      return reason.empty() ? refuse_options(parsed) : reason;
    } catch (const Error& error) {
      return error.cause();
    }
  }
  if (key == "onboot") return value == "0" ? "" : "a replica does not start with its host";
  if (key == "lock") return value == "migrate" ? "" : "a replica has no other lock than 'migrate'";
  if (is_safe_setting(key, value)) return "";
  if (key == "rng0") return "a device of the host";
  if (key == "vmstatestorage") {
    return restriction.pools.contains(value) ? "" : fmt::format("'{}' is not its storage", value);
  }
  const std::string_view name = without_number(key);
  if (name == "serial" && value == "socket") return "";
  if (name == "usb") return "a USB device of the host";
  if (name == "hostpci") return "a PCI device of the host";
  if (name == "serial" || name == "parallel") return "a port of the host";
  if (name == "virtiofs") return "a directory of the host";
  if (key == "args") return "arguments of QEMU can reach everything on the host";
  if (key == "hookscript") return "a program on the host";
  if (key == "cicustom") return "files of the host";
  if (key == "ivshmem") return "memory of the host";
  return has_grammar(key) ? "not a value that is known to be harmless" : "not known to be harmless";
}

std::string header_of(const VmConfigSection& section) {
  switch (section.kind) {
    case VmSectionKind::pending:
      return "[PENDING]";
    case VmSectionKind::special:
      return fmt::format("[special:{}]", section.name);
    default:
      return fmt::format("[{}]", section.name);
  }
}

std::vector<RefusedSetting> remove_refused_options(VmConfig& config) {
  std::vector<RefusedSetting> refused;
  for (Drive drive : drives_of(config)) {
    if (drive.key().bus == DriveBus::other) continue;  // refused as a whole
    const std::vector<DriveOption> options = unsafe_options(drive);
    if (options.empty()) continue;
    for (const DriveOption& option : options) {
      drive.remove(option.key);
      refused.push_back({to_string(drive.key()), option.key + "=" + option.value,
                         "the option is not known to be harmless; the drive is there without it"});
    }
    config.set(to_string(drive.key()), drive.text());
  }
  return refused;
}

bool is_harmless_section(const VmConfigSection& section, std::uint32_t vmid, const Restriction& restriction) {
  if (section.kind != VmSectionKind::special || section.name != "cloudinit") return false;
  return std::all_of(section.entries.begin(), section.entries.end(), [&](const VmConfigEntry& entry) {
    return refuse(entry.key, entry.value, vmid, restriction).empty();
  });
}

}  // namespace

std::optional<Vmid> owner_of_image(std::string_view image) noexcept {
  constexpr std::string_view head = "vm-";
  if (!image.starts_with(head)) return std::nullopt;
  image.remove_prefix(head.size());
  const std::size_t dash = image.find('-');
  if (dash == std::string_view::npos || dash == 0 || dash + 1 == image.size() || image.front() == '0') {
    return std::nullopt;
  }
  const std::string_view digits = image.substr(0, dash);
  if (!text::all_digits(digits) || !is_safe_image_name(image)) return std::nullopt;
  const auto vmid = text::to_uint64(digits);
  if (!vmid || *vmid < min_vmid || *vmid > max_vmid) return std::nullopt;
  return static_cast<Vmid>(*vmid);
}

bool is_image_of(std::string_view image, std::uint32_t vmid) noexcept {
  return owner_of_image(image) == vmid;
}

std::vector<RefusedSetting> refused_settings(const VmConfig& config, std::uint32_t vmid,
                                             const Restriction& restriction) {
  std::vector<RefusedSetting> refused;
  for (const VmConfigEntry& entry : config.main().entries) {
    std::string reason = refuse(entry.key, entry.value, vmid, restriction);
    if (reason.empty() && entry.dropped) reason = "a line that Proxmox VE does not accept";
    if (!reason.empty()) refused.push_back({entry.key, entry.key == "cipassword" ? "" : entry.value, std::move(reason)});
  }
  for (const VmConfigSection& section : config.sections()) {
    if (section.kind == VmSectionKind::main || is_harmless_section(section, vmid, restriction)) continue;
    refused.push_back({header_of(section), "", "more than the guest as it is"});
  }
  return refused;
}

std::vector<RefusedSetting> remove_refused(VmConfig& config, std::uint32_t vmid, const Restriction& restriction) {
  // A disk stays a disk without an option that is refused.
  std::vector<RefusedSetting> refused = remove_refused_options(config);
  const std::vector<RefusedSetting> whole = refused_settings(config, vmid, restriction);
  refused.insert(refused.end(), whole.begin(), whole.end());
  for (const RefusedSetting& setting : whole) {
    // Of several lines with one key the one that counts may be harmless.
    const auto counts = config.get(setting.key);
    if (!config.remove(setting.key)) continue;
    if (counts && refuse(setting.key, *counts, vmid, restriction).empty()) config.set(setting.key, *counts);
  }
  const std::vector<VmConfigSection> sections = config.sections();
  for (const VmConfigSection& section : sections) {
    if (section.kind == VmSectionKind::main || is_harmless_section(section, vmid, restriction)) continue;
    config.remove_section(section.kind, section.name);
  }
  return refused;
}

}  // namespace crossover
