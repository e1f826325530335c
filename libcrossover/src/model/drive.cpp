#include "crossover/drive.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"
#include "drive_schema.hpp"
#include "text.hpp"

namespace crossover {

namespace {

struct BusRange {
  DriveBus bus;
  std::string_view name;
  unsigned count;
};

constexpr std::array<BusRange, 7> bus_ranges = {{{DriveBus::ide, "ide", 4},
                                                 {DriveBus::sata, "sata", 6},
                                                 {DriveBus::scsi, "scsi", 31},
                                                 {DriveBus::virtio, "virtio", 16},
                                                 {DriveBus::efidisk, "efidisk", 1},
                                                 {DriveBus::tpmstate, "tpmstate", 1},
                                                 {DriveBus::unused, "unused", 256}}};
constexpr std::string_view other_bus = "other";

[[noreturn]] void throw_format(const DriveKey& key, std::string cause) {
  throw Error(ErrorCode::format, "read drive", to_string(key), std::move(cause));
}

bool is_volume_key(std::string_view name) noexcept {
  return name == "file" || name == "volume";
}

/// Whether it is one that parse_volume() takes.
bool reads_as_volume(std::string_view text) noexcept {
  const auto colon = text.find(':');
  return text == "none" || text == "cdrom" || text.starts_with('/') ||
         (colon != std::string_view::npos && colon + 1 != text.size() && text::is_storage_id(text.substr(0, colon)));
}

void require_list_value(std::string_view what, std::string_view value) {
  if (value.empty() || value.find_first_of(",\r\n") != std::string_view::npos) {
    throw Error(ErrorCode::usage, "change drive", std::string(what),
                fmt::format("'{}' cannot stand in a comma-separated list", value));
  }
}

}  // namespace

std::string_view to_string(DriveBus bus) noexcept {
  for (const BusRange& range : bus_ranges) {
    if (range.bus == bus) {
      return range.name;
    }
  }
  return other_bus;
}

std::optional<DriveKey> parse_drive_key(std::string_view key) noexcept {
  if (key == "cdrom") {
    return DriveKey{DriveBus::ide, 2};
  }
  for (const BusRange& range : bus_ranges) {
    if (!key.starts_with(range.name)) {
      continue;
    }
    const std::string_view number = key.substr(range.name.size());
    const auto index = text::to_uint64(number);
    if (index && *index < range.count && (number.size() == 1 || number.front() != '0')) {
      return DriveKey{range.bus, static_cast<unsigned>(*index)};
    }
  }
  return std::nullopt;
}

std::string to_string(const DriveKey& key) {
  return key.bus == DriveBus::other ? key.name : fmt::format("{}{}", to_string(key.bus), key.index);
}

Volume parse_volume(std::string_view volume) {
  if (volume == "none") {
    return {VolumeKind::none, {}, {}};
  }
  if (volume == "cdrom") {
    return {VolumeKind::cdrom, {}, {}};
  }
  if (volume.starts_with('/')) {
    return {VolumeKind::path, {}, std::string(volume)};
  }
  if (!reads_as_volume(volume)) {
    throw Error(ErrorCode::format, "read volume", std::string(volume),
                fmt::format("unable to parse volume ID '{}'", volume));
  }
  const auto colon = volume.find(':');
  return {VolumeKind::storage, std::string(volume.substr(0, colon)), std::string(volume.substr(colon + 1))};
}

std::string to_string(const Volume& volume) {
  switch (volume.kind) {
    case VolumeKind::storage:
      return volume.storage + ":" + volume.name;
    case VolumeKind::path:
      return volume.name;
    case VolumeKind::none:
      return "none";
    case VolumeKind::cdrom:
      return "cdrom";
  }
  return {};
}

bool RbdVolumeName::owned_by(std::uint64_t vmid) const noexcept {
  const auto number = text::to_uint64(owner);
  return number && *number == vmid;
}

namespace {

/// "N-x" of a volume name: the digits, if they are followed by '-' and at least one character, none of them a
/// space.
std::optional<std::string_view> leading_vmid(std::string_view rest) {
  std::size_t digits = 0;
  while (digits < rest.size() && text::is_digit(rest[digits])) {
    ++digits;
  }
  if (digits == 0 || digits + 1 >= rest.size() || rest[digits] != '-' ||
      std::any_of(rest.begin(), rest.end(), text::is_space)) {
    return std::nullopt;
  }
  return rest.substr(0, digits);
}

/// (base)?(vm)?-N-x
std::optional<RbdVolumeName> parse_image_name(std::string_view name) {
  RbdVolumeName result;
  std::string_view rest = name;
  if (rest.starts_with("base")) {
    result.is_base = true;
    rest.remove_prefix(4);
  }
  if (rest.starts_with("vm")) {
    rest.remove_prefix(2);
  }
  if (!rest.starts_with('-')) {
    return std::nullopt;
  }
  const auto vmid = leading_vmid(rest.substr(1));
  if (!vmid) {
    return std::nullopt;
  }
  result.image = name;
  result.owner = *vmid;
  return result;
}

}  // namespace

RbdVolumeName parse_rbd_volume_name(std::string_view volname) {
  // PVE's pattern is greedy: the longest base prefix is tried first, and no prefix last.
  for (auto slash = volname.rfind('/'); slash != std::string_view::npos && slash != 0;
       slash = volname.rfind('/', slash - 1)) {
    const std::string_view base = volname.substr(0, slash);
    if (!base.starts_with("base-")) {
      break;
    }
    const auto base_vmid = leading_vmid(base.substr(5));
    auto image = parse_image_name(volname.substr(slash + 1));
    if (base_vmid && image) {
      image->base_image = base;
      image->base_owner = *base_vmid;
      return *std::move(image);
    }
  }
  if (auto image = parse_image_name(volname)) {
    return *std::move(image);
  }
  throw Error(ErrorCode::format, "read volume name", std::string(volname),
              fmt::format("unable to parse rbd volume name '{}'", volname));
}

std::optional<bool> parse_pve_boolean(std::string_view value) noexcept {
  for (const std::string_view yes : {"1", "on", "yes", "true"}) {
    if (text::equals_ignore_case(value, yes)) {
      return true;
    }
  }
  for (const std::string_view no : {"0", "off", "no", "false"}) {
    if (text::equals_ignore_case(value, no)) {
      return false;
    }
  }
  return std::nullopt;
}

std::optional<std::uint64_t> parse_drive_size(std::string_view size) noexcept {
  std::uint64_t unit = 1;
  if (size.ends_with("iB") && size.size() > 2) {
    size.remove_suffix(2);
    if (text::is_digit(size.back())) {
      return std::nullopt;
    }
  }
  if (!size.empty()) {
    const auto power = std::string_view("KMGT").find(size.back());
    if (power != std::string_view::npos) {
      unit = std::uint64_t{1} << (10 * (power + 1));
      size.remove_suffix(1);
    }
  }
  const auto dot = size.find('.');
  const auto whole = text::to_uint64(size.substr(0, dot));
  if (!whole || *whole > UINT64_MAX / unit) {
    return std::nullopt;
  }
  std::uint64_t bytes = *whole * unit;
  if (dot != std::string_view::npos) {
    const std::string_view digits = size.substr(dot + 1);
    if (!text::all_digits(digits)) {
      return std::nullopt;
    }
    long double fraction = 0;
    for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit) {
      fraction = (fraction + (*digit - '0')) / 10;
    }
    const auto more = static_cast<std::uint64_t>(std::floor(fraction * static_cast<long double>(unit)));
    if (bytes > UINT64_MAX - more) {
      return std::nullopt;
    }
    bytes += more;
  }
  return bytes;
}

std::string format_drive_size(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> units = {"", "K", "M", "G", "T"};
  std::size_t unit = 0;
  while (unit + 1 < units.size() && bytes != 0 && bytes % 1024 == 0) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{}{}", bytes, units[unit]);
}

bool Drive::is_option(const Part& part) const noexcept {
  return !part.blank && &part != &parts_[volume_part_];
}

std::string_view Drive::option_name(const Part& part) const noexcept {
  return part.named ? canonical_drive_option(key_.bus, part.name) : std::string_view(part.value);
}

/// Of a line that is of no version known here the one part that can only be the volume. A volume on a storage comes
/// first: it is data, whatever else stands there.
void Drive::find_volume() {
  std::array<std::size_t, 2> found{};
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    if (part.blank || (part.named && !is_volume_key(part.name)) || !reads_as_volume(part.value)) continue;
    const bool managed = parse_volume(part.value).kind == VolumeKind::storage;
    if (managed || found[0] == 0) volume_part_ = i;
    ++found[managed ? 0 : 1];
  }
  const std::size_t volumes = found[0] > 0 ? found[0] : found[1];
  if (volumes == 1) return;
  throw_format(key_, volumes == 0 ? "no volume can be read in it" : "it names more than one volume");
}

Drive parse_drive(const DriveKey& key, std::string_view property_string, DriveCheck check) {
  Drive drive(key);
  if (check == DriveCheck::volume) {
    for (const std::string_view part : text::split(property_string, ',')) {
      const auto equals = part.find('=');
      const bool named = equals != std::string_view::npos;
      drive.parts_.push_back({std::string(named ? part.substr(0, equals) : std::string_view()),
                              std::string(named ? part.substr(equals + 1) : part), named, text::all_space(part)});
    }
    drive.find_volume();
    return drive;
  }
  std::set<std::string_view> seen;
  std::vector<std::string> errors;
  bool has_volume = false;
  for (const std::string_view part : text::split(property_string, ',')) {
    if (text::all_space(part)) {
      drive.parts_.push_back({{}, std::string(part), false, true});
      continue;
    }
    const auto equals = part.find('=');
    if (equals != std::string_view::npos && (equals == 0 || equals + 1 == part.size())) {
      throw_format(key, "missing key in comma-separated list property");
    }
    const std::string_view name = equals == std::string_view::npos ? std::string_view() : part.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? part : part.substr(equals + 1);
    const std::string_view canonical = name.empty() ? "file" : canonical_drive_option(key.bus, name);
    if (!seen.insert(canonical).second) {
      throw_format(key, fmt::format("duplicate key in comma-separated list property: {}", canonical));
    }
    if (canonical == "file") {
      has_volume = true;
      drive.volume_part_ = drive.parts_.size();
    }
    const auto error =
        canonical == "file" ? check_drive_volume(key.bus, value) : check_drive_option(key.bus, canonical, value);
    if (error) {
      errors.push_back(fmt::format("{}: {}", canonical, *error));
    }
    drive.parts_.push_back({std::string(name), std::string(value), equals != std::string_view::npos});
  }
  if (!has_volume) {
    errors.emplace_back("file: property is missing and it is not optional");
  }
  if (!errors.empty()) {
    std::string cause = "format error";
    for (const std::string& error : errors) {
      cause += '\n';
      cause += text::trim_right(error);
    }
    throw_format(key, std::move(cause));
  }
  return drive;
}

std::string Drive::text() const {
  std::string result;
  for (const Part& part : parts_) {
    if (&part != &parts_.front()) {
      result += ',';
    }
    result += part.name;
    if (part.named) {
      result += '=';
    }
    result += part.value;
  }
  return result;
}

Volume Drive::volume() const {
  return parse_volume(volume_text());
}

void Drive::set_volume(std::string_view volume) {
  require_list_value(to_string(key_), volume);
  Part& part = parts_[volume_part_];
  if (text::trim(volume) != volume || (!part.named && volume.find('=') != std::string_view::npos)) {
    throw Error(ErrorCode::usage, "change drive", to_string(key_),
                fmt::format("'{}' cannot be written as a volume", volume));
  }
  part.value = volume;
}

std::vector<DriveOption> Drive::options() const {
  std::vector<DriveOption> result;
  for (const Part& part : parts_) {
    if (is_option(part)) {
      result.push_back({std::string(option_name(part)), part.named ? part.value : std::string()});
    }
  }
  return result;
}

std::optional<std::string> Drive::get(std::string_view option) const {
  for (const Part& part : parts_) {
    if (is_option(part) && option_name(part) == option) {
      return part.named ? part.value : std::string();
    }
  }
  return std::nullopt;
}

bool Drive::flag(std::string_view option, bool fallback) const {
  const auto value = get(option);
  return value ? parse_pve_boolean(*value).value_or(fallback) : fallback;
}

void Drive::set(std::string_view option, std::string_view value) {
  require_list_value(to_string(key_), value);
  require_list_value(to_string(key_), option);
  if (option.find('=') != std::string_view::npos || text::trim(option) != option || is_volume_key(option)) {
    throw Error(ErrorCode::usage, "change drive", to_string(key_), fmt::format("'{}' is no option", option));
  }
  for (Part& part : parts_) {
    if (is_option(part) && option_name(part) == option) {
      part.name = part.named ? part.name : std::string(option);
      part.value = value;
      part.named = true;
      return;
    }
  }
  parts_.push_back({std::string(option), std::string(value), true});
}

bool Drive::remove(std::string_view option) {
  bool found = false;
  for (std::size_t i = parts_.size(); i-- > 0;) {
    if (!is_option(parts_[i]) || option_name(parts_[i]) != option) {
      continue;
    }
    found = true;
    parts_.erase(parts_.begin() + static_cast<std::ptrdiff_t>(i));
    if (i < volume_part_) {
      --volume_part_;
    }
  }
  return found;
}

std::optional<std::uint64_t> Drive::size_bytes() const {
  const auto size = get("size");
  return size ? parse_drive_size(*size) : std::nullopt;
}

bool Drive::is_cdrom() const {
  // These two have no such option in any version, and are data whatever stands there.
  const bool is_data = key_.bus == DriveBus::efidisk || key_.bus == DriveBus::tpmstate;
  return !is_data && get("media") == "cdrom";
}

bool Drive::is_cloudinit() const {
  // qemu-server: [:/](vm-N-)?cloudinit(.FORMAT)? at the end of the volume
  std::string_view name = volume_text();
  for (const std::string_view format : {".raw", ".qcow2", ".qcow", ".qed", ".vmdk", ".cloop"}) {
    if (name.ends_with(format)) {
      name.remove_suffix(format.size());
      break;
    }
  }
  if (!name.ends_with("cloudinit")) {
    return false;
  }
  name.remove_suffix(std::string_view("cloudinit").size());
  const auto ends_component = [](std::string_view s) { return s.ends_with(':') || s.ends_with('/'); };
  if (ends_component(name)) {
    return true;
  }
  if (!name.ends_with('-')) {
    return false;
  }
  name.remove_suffix(1);
  const std::size_t length = name.size();
  while (!name.empty() && text::is_digit(name.back())) {
    name.remove_suffix(1);
  }
  return name.size() < length && name.ends_with("vm-") && ends_component(name.substr(0, name.size() - 3));
}

bool Drive::in_backup(std::string_view bios) const {
  if (key_.bus == DriveBus::unused || is_cdrom()) {
    return false;
  }
  if (key_.bus == DriveBus::efidisk && bios != "ovmf") {
    return false;
  }
  return flag("backup", true);
}

Drive read_drive(std::string_view key, std::string_view text) {
  const DriveKey other{DriveBus::other, 0, std::string(key)};
  return parse_drive(parse_drive_key(key).value_or(other), text, DriveCheck::volume);
}

bool is_unknown_drive(std::string_view key, std::string_view value) {
  try {
    const Volume volume = read_drive(key, value).volume();
    if (volume.kind != VolumeKind::storage) {
      return false;
    }
    // On a storage of files it stands behind a folder.
    const std::string_view name = std::string_view(volume.name).substr(volume.name.rfind('/') + 1);
    return (name.starts_with("vm-") || name.starts_with("base-")) &&
           leading_vmid(name.substr(name.find('-') + 1)).has_value();
  } catch (const Error&) {
    return false;
  }
}

std::vector<Drive> drives_of(const VmConfig& config) {
  std::vector<Drive> drives;
  const VmConfigSection& section = config.main();
  for (const std::string& name : section.keys()) {
    const std::string value = section.get(name).value_or("");
    const auto counts =
        std::find_if(section.entries.rbegin(), section.entries.rend(),
                     [&](const VmConfigEntry& entry) { return entry.key == name && !entry.dropped; });
    // What counts and is not known is there for the volume it names.
    if (parse_drive_key(name) || counts->newer) {
      drives.push_back(read_drive(name, value));
    }
  }
  return drives;
}

std::vector<std::pair<std::string, std::string>> dropped_drives(const VmConfig& config) {
  std::vector<std::pair<std::string, std::string>> dropped;
  for (const VmConfigEntry& entry : config.main().entries) {
    if (!entry.dropped || !parse_drive_key(entry.key)) {
      continue;
    }
    const auto& warnings = config.warnings();
    const auto warning = std::find_if(warnings.begin(), warnings.end(),
                                      [&](const VmConfigWarning& w) { return w.line == entry.line; });
    dropped.emplace_back(entry.key, warning == warnings.end() ? std::string() : warning->reason);
  }
  return dropped;
}

}  // namespace crossover
