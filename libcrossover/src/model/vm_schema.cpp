#include "vm_schema.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "crossover/drive.hpp"
#include "crossover/error.hpp"
#include "text.hpp"

namespace crossover {

namespace {

enum class Type {
  boolean,
  integer,
  number,
  string,  // no format: quotes around it are taken off
  format,  // a format that is not looked into
  dns_name,
  tag_list,
  config_id,
  storage_id,
  volume_id,
  startup,
  hotplug,
};

struct Key {
  std::string_view name;
  Type type;
};

// qemu-server 9.2, %confdesc and %confdesc_cloudinit, in order of name.
constexpr auto plain_keys = std::to_array<Key>({
    {"acpi", Type::boolean},
    {"affinity", Type::format},
    {"agent", Type::format},
    {"allow-ksm", Type::boolean},
    {"amd-sev", Type::format},
    {"arch", Type::string},
    {"args", Type::string},
    {"audio0", Type::format},
    {"autostart", Type::boolean},
    {"balloon", Type::integer},
    {"bios", Type::string},
    {"boot", Type::format},
    {"bootdisk", Type::format},
    {"cicustom", Type::format},
    {"cipassword", Type::string},
    {"citype", Type::string},
    {"ciupgrade", Type::boolean},
    {"ciuser", Type::string},
    {"cores", Type::integer},
    {"cpu", Type::format},
    {"cpulimit", Type::number},
    {"cpuunits", Type::integer},
    {"description", Type::string},
    {"freeze", Type::boolean},
    {"hookscript", Type::volume_id},
    {"hotplug", Type::hotplug},
    {"hugepages", Type::string},
    {"intel-tdx", Type::format},
    {"ivshmem", Type::format},
    {"keephugepages", Type::boolean},
    {"keyboard", Type::string},
    {"kvm", Type::boolean},
    {"localtime", Type::boolean},
    {"lock", Type::string},
    {"machine", Type::format},
    {"memory", Type::format},
    {"meta", Type::format},
    {"migrate_downtime", Type::number},
    {"migrate_speed", Type::integer},
    {"name", Type::dns_name},
    {"nameserver", Type::format},
    {"numa", Type::boolean},
    {"onboot", Type::boolean},
    {"ostype", Type::string},
    {"parent", Type::config_id},
    {"protection", Type::boolean},
    {"reboot", Type::boolean},
    {"rng0", Type::format},
    {"running-nets-host-mtu", Type::string},
    {"runningcpu", Type::string},
    {"runningmachine", Type::format},
    {"scsihw", Type::string},
    {"searchdomain", Type::string},
    {"shares", Type::integer},
    {"smbios1", Type::format},
    {"smp", Type::integer},
    {"snaptime", Type::integer},
    {"sockets", Type::integer},
    {"spice_enhancements", Type::format},
    {"sshkeys", Type::format},
    {"startdate", Type::string},
    {"startup", Type::startup},
    {"tablet", Type::boolean},
    {"tags", Type::tag_list},
    {"tdf", Type::boolean},
    {"template", Type::boolean},
    {"vcpus", Type::integer},
    {"vga", Type::format},
    {"vmgenid", Type::string},
    {"vmstate", Type::volume_id},
    {"vmstatestorage", Type::storage_id},
    {"watchdog", Type::format},
});

struct NumberedKey {
  std::string_view name;
  unsigned count;
  Type type;
};

constexpr auto numbered_keys = std::to_array<NumberedKey>({
    {"hostpci", 16, Type::format},
    {"ipconfig", 32, Type::format},
    {"net", 32, Type::format},
    {"numa", 8, Type::format},
    {"parallel", 3, Type::string},
    {"serial", 4, Type::string},
    {"usb", 14, Type::format},
    {"virtiofs", 10, Type::format},
});

std::optional<Type> type_of(std::string_view key) {
  const auto plain = std::lower_bound(plain_keys.begin(), plain_keys.end(), key,
                                      [](const Key& k, std::string_view name) { return k.name < name; });
  if (plain != plain_keys.end() && plain->name == key) {
    return plain->type;
  }
  for (const NumberedKey& numbered : numbered_keys) {
    if (!key.starts_with(numbered.name)) {
      continue;
    }
    const std::string_view number = key.substr(numbered.name.size());
    const auto index = text::to_uint64(number);
    if (index && *index < numbered.count && (number.size() == 1 || number.front() != '0')) {
      return numbered.type;
    }
  }
  return std::nullopt;
}

CheckedValue accept(std::string_view value) {
  return {true, std::string(value), {}};
}
CheckedValue refuse(std::string error) {
  return {false, {}, std::move(error)};
}

CheckedValue type_error(std::string_view type, std::string_view value) {
  return refuse(fmt::format("type check ('{}') failed - got '{}'", type, value));
}

bool is_volume_id(std::string_view value) {
  const auto colon = value.find(':');
  return colon != std::string_view::npos && colon + 1 < value.size() && text::is_storage_id(value.substr(0, colon));
}

bool is_tag(std::string_view tag) {
  return (text::is_alnum(tag.front()) || tag.front() == '_') && std::all_of(tag.begin(), tag.end(), [](char c) {
           return text::is_alnum(c) || std::string_view("_.+-").find(c) != std::string_view::npos;
         });
}

bool is_startup(std::string_view value) {
  if (value.empty() || value == "0") {  // false in Perl
    return false;
  }
  const auto parts = text::split(value, ',');
  return std::all_of(parts.begin(), parts.end(), [](std::string_view part) {
    if (text::all_space(part)) {
      return true;
    }
    for (const std::string_view prefix : {"order=", "up=", "down="}) {
      if (part.starts_with(prefix)) {
        return text::all_digits(part.substr(prefix.size()));
      }
    }
    return text::all_digits(part);
  });
}

/// The feature that is none; nothing if all are fine.
std::optional<std::string_view> bad_hotplug_feature(std::string_view value) {
  if (value == "0" || value == "1") {
    return std::nullopt;
  }
  constexpr std::array<std::string_view, 6> features = {"network", "disk", "cpu", "memory", "usb", "cloudinit"};
  for (const std::string_view feature : text::split_list(value)) {
    if (std::find(features.begin(), features.end(), feature) == features.end()) {
      return feature;
    }
  }
  return std::nullopt;
}

bool is_plain_number(std::string_view value) {
  const auto dot = value.find('.');
  return text::all_digits(value.substr(0, dot)) &&
         (dot == std::string_view::npos || text::all_digits(value.substr(dot + 1)));
}

std::string_view without_quotes(std::string_view value) {
  return value.size() >= 2 && value.front() == '"' && value.back() == '"' ? value.substr(1, value.size() - 2)
                                                                          : value;
}

std::string_view without_leading_zeros(std::string_view digits) {
  const auto first = digits.find_first_not_of('0');
  return first == std::string_view::npos ? digits.substr(0, 1) : digits.substr(first);
}

CheckedValue accept_as_newer(std::string_view value, std::string error) {
  return {true, std::string(value), std::move(error), true};
}

CheckedValue check_drive(const DriveKey& key, std::string_view value) {
  std::string error;
  try {
    static_cast<void>(parse_drive(key, value));
    return accept(value);
  } catch (const Error& strict) {
    error = strict.cause();
  }
  try {
    static_cast<void>(parse_drive(key, value, DriveCheck::volume));
    return accept_as_newer(value, std::move(error));
  } catch (const Error&) {
    return refuse(std::move(error));
  }
}

CheckedValue check_as(Type type, std::string_view value) {
  switch (type) {
    case Type::boolean:
      if (const auto flag = parse_pve_boolean(value)) {
        return accept(*flag ? "1" : "0");
      }
      return type_error("boolean", value);
    case Type::integer:
      return text::all_digits(value) ? accept(without_leading_zeros(value)) : type_error("integer", value);
    case Type::number:
      return is_plain_number(value) ? accept(value) : type_error("number", value);
    case Type::string:
      return accept(without_quotes(value));
    case Type::format:
      return accept(value);
    case Type::dns_name:
      return text::is_dns_name(value) ? accept(value) : refuse("value does not look like a valid DNS name");
    case Type::tag_list: {
      const auto tags = text::split_list(value);
      return std::all_of(tags.begin(), tags.end(), is_tag) ? accept(value) : refuse("invalid characters in tag");
    }
    case Type::config_id:
      return text::is_config_id(value) ? accept(value)
                                       : refuse(fmt::format("invalid configuration ID '{}'", value));
    case Type::storage_id:
      return text::is_storage_id(value) ? accept(value)
                                        : refuse(fmt::format("storage ID '{}' contains illegal characters", value));
    case Type::volume_id:
      return is_volume_id(value) ? accept(value) : refuse(fmt::format("unable to parse volume ID '{}'", value));
    case Type::startup:
      return is_startup(value) ? accept(value) : refuse("unable to parse startup options");
    case Type::hotplug:
      if (const auto bad = bad_hotplug_feature(value)) {
        return refuse(fmt::format("invalid hotplug feature '{}'", *bad));
      }
      return accept(value);
  }
  return accept(value);
}

}  // namespace

CheckedValue check_vm_value(std::string_view key, std::string_view value) {
  const auto drive = parse_drive_key(key);
  const auto type = drive ? std::nullopt : type_of(key);
  const bool breaks = value.find_first_of("\r\n") != std::string_view::npos;
  if (!drive && !type) {
    std::string error = fmt::format("unknown setting '{}'", key);
    return !breaks && is_unknown_drive(key, value) ? accept_as_newer(value, std::move(error))
                                                   : refuse(std::move(error));
  }
  if (breaks) {
    return refuse("property contains a line feed");
  }
  return drive ? check_drive(*drive, value) : check_as(*type, value);
}

CheckedValue check_fleecing_value(std::string_view key, std::string_view value) {
  if (key != "fleecing-images") {
    return refuse(fmt::format("unknown setting '{}'", key));
  }
  for (const std::string_view volume : text::split_list(value)) {
    if (!is_volume_id(volume)) {
      return refuse(fmt::format("unable to parse volume ID '{}'", volume));
    }
  }
  return accept(value);
}

}  // namespace crossover
