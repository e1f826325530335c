#include "plan/restricted_values.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <span>

#include "model/drive_schema.hpp"
#include "model/text.hpp"

namespace crossover {

namespace {

enum class Kind {
  boolean,
  number,  // digits
  real,    // digits, and others behind a '.'
  choice,  // one of `detail`, separated by blanks
  chars,   // letters, digits and those of `detail`
  digits,  // digits and those of `detail`
  text,    // no control characters: for what gets into no command line
};

constexpr std::size_t longest_text = std::size_t{32} << 10;
constexpr std::size_t longest_value = 4096;
constexpr std::size_t most_digits = 18;

struct Option {
  std::string_view name;
  Kind kind;
  std::string_view detail = {};
};

// As in the manual page qm.conf(5) of Proxmox VE 9.
constexpr auto plain = std::to_array<Option>({
    {"acpi", Kind::boolean},
    {"affinity", Kind::digits, ",-"},
    {"allow-ksm", Kind::boolean},
    {"arch", Kind::choice, "x86_64 aarch64"},
    {"autostart", Kind::boolean},
    {"balloon", Kind::number},
    {"bios", Kind::choice, "seabios ovmf"},
    {"boot", Kind::chars, "=;,"},
    {"bootdisk", Kind::chars},
    {"cipassword", Kind::text},
    {"citype", Kind::choice, "configdrive2 nocloud opennebula"},
    {"ciupgrade", Kind::boolean},
    {"ciuser", Kind::text},
    {"cores", Kind::number},
    {"cpulimit", Kind::real},
    {"cpuunits", Kind::number},
    {"description", Kind::text},
    {"freeze", Kind::boolean},
    {"hotplug", Kind::chars, ",; "},
    {"hugepages", Kind::choice, "any 2 1024"},
    {"keephugepages", Kind::boolean},
    {"keyboard", Kind::chars, "-"},
    {"kvm", Kind::boolean},
    {"localtime", Kind::boolean},
    {"migrate_downtime", Kind::real},
    {"migrate_speed", Kind::number},
    {"name", Kind::chars, ".-"},
    {"nameserver", Kind::chars, ".:,; "},
    {"numa", Kind::boolean},
    {"ostype", Kind::chars},
    {"protection", Kind::boolean},
    {"reboot", Kind::boolean},
    {"scsihw", Kind::choice, "lsi lsi53c810 virtio-scsi-pci virtio-scsi-single megasas pvscsi"},
    {"searchdomain", Kind::chars, ".-_,; "},
    {"shares", Kind::number},
    {"smp", Kind::number},
    {"sockets", Kind::number},
    {"sshkeys", Kind::chars, "%-_.!~*'()"},
    {"startdate", Kind::chars, ":-"},
    {"startup", Kind::chars, "=,"},
    {"tablet", Kind::boolean},
    {"tags", Kind::chars, "_.+-;, "},
    {"tdf", Kind::boolean},
    {"template", Kind::boolean},
    {"vcpus", Kind::number},
    {"vmgenid", Kind::chars, "-"},
});

constexpr auto agent_options = std::to_array<Option>({{"enabled", Kind::boolean},
                                                      {"fstrim_cloned_disks", Kind::boolean},
                                                      {"freeze-fs", Kind::boolean},
                                                      {"freeze-fs-on-backup", Kind::boolean},
                                                      {"guest-fsfreeze", Kind::boolean},
                                                      {"type", Kind::choice, "virtio isa"}});
constexpr auto sev_options = std::to_array<Option>({{"type", Kind::choice, "std es snp"},
                                                    {"allow-smt", Kind::boolean},
                                                    {"kernel-hashes", Kind::boolean},
                                                    {"no-debug", Kind::boolean},
                                                    {"no-key-sharing", Kind::boolean}});
constexpr auto audio_options =
    std::to_array<Option>({{"device", Kind::choice, "ich9-intel-hda intel-hda AC97"},
                           {"driver", Kind::choice, "spice none"}});
constexpr auto cpu_options = std::to_array<Option>({{"cputype", Kind::chars, "-_."},
                                                    {"flags", Kind::chars, "+-;_."},
                                                    {"guest-phys-bits", Kind::number},
                                                    {"hidden", Kind::boolean},
                                                    {"hv-vendor-id", Kind::chars},
                                                    {"phys-bits", Kind::chars},
                                                    {"reported-model", Kind::chars, "-_."}});
constexpr auto tdx_options = std::to_array<Option>({{"type", Kind::choice, "tdx"},
                                                    {"attestation", Kind::boolean},
                                                    {"vsock-cid", Kind::number},
                                                    {"vsock-port", Kind::number}});
constexpr auto ip_options = std::to_array<Option>({{"gw", Kind::chars, ".:/"},
                                                   {"gw6", Kind::chars, ".:/"},
                                                   {"ip", Kind::chars, ".:/"},
                                                   {"ip6", Kind::chars, ".:/"}});
constexpr auto machine_options = std::to_array<Option>({{"type", Kind::chars, ".-+"},
                                                        {"aw-bits", Kind::number},
                                                        {"enable-s3", Kind::boolean},
                                                        {"enable-s4", Kind::boolean},
                                                        {"viommu", Kind::choice, "intel virtio"}});
constexpr auto memory_options = std::to_array<Option>({{"current", Kind::number}});
constexpr auto meta_options =
    std::to_array<Option>({{"creation-qemu", Kind::digits, "."}, {"ctime", Kind::number}});
constexpr std::string_view net_models =
    "e1000 e1000-82540em e1000-82544gc e1000-82545em e1000e i82551 i82557b i82559er ne2k_isa ne2k_pci pcnet "
    "rtl8139 virtio vmxnet3";
constexpr auto net_options = std::to_array<Option>({{"model", Kind::choice, net_models},
                                                    {"bridge", Kind::chars, "-_."},
                                                    {"firewall", Kind::boolean},
                                                    {"host-managed", Kind::boolean},
                                                    {"link_down", Kind::boolean},
                                                    {"macaddr", Kind::chars, ":"},
                                                    {"mtu", Kind::number},
                                                    {"queues", Kind::number},
                                                    {"rate", Kind::real},
                                                    {"tag", Kind::number},
                                                    {"trunks", Kind::digits, ";-"}});
constexpr auto numa_options = std::to_array<Option>({{"cpus", Kind::digits, ";-"},
                                                     {"hostnodes", Kind::digits, ";-"},
                                                     {"memory", Kind::real},
                                                     {"policy", Kind::choice, "preferred bind interleave"}});
constexpr auto rng_options = std::to_array<Option>({{"source", Kind::choice, "/dev/urandom /dev/random"},
                                                    {"max_bytes", Kind::number},
                                                    {"period", Kind::number}});
constexpr auto smbios_options = std::to_array<Option>({{"uuid", Kind::chars, "-"},
                                                       {"base64", Kind::boolean},
                                                       {"family", Kind::chars, "+/="},
                                                       {"manufacturer", Kind::chars, "+/="},
                                                       {"product", Kind::chars, "+/="},
                                                       {"serial", Kind::chars, "+/="},
                                                       {"sku", Kind::chars, "+/="},
                                                       {"version", Kind::chars, "+/="}});
constexpr auto spice_options = std::to_array<Option>(
    {{"foldersharing", Kind::boolean}, {"videostreaming", Kind::choice, "off all filter"}});
// A device that the viewer's host lends, and nothing else.
constexpr auto usb_options = std::to_array<Option>({{"host", Kind::choice, "spice"}, {"usb3", Kind::boolean}});
constexpr auto vga_options = std::to_array<Option>(
    {{"type", Kind::choice,
      "cirrus none qxl qxl2 qxl3 qxl4 serial0 serial1 serial2 serial3 std virtio virtio-gl vmware"},
     {"clipboard", Kind::choice, "vnc"},
     {"memory", Kind::number}});
constexpr auto watchdog_options =
    std::to_array<Option>({{"model", Kind::choice, "i6300esb ib700"},
                           {"action", Kind::choice, "reset shutdown poweroff pause debug none"}});

/// A list of options. `implied` is the one whose name may be left out; empty: none.
struct Property {
  std::string_view key;
  bool numbered;
  std::string_view implied;
  std::span<const Option> options;
};

constexpr auto properties = std::to_array<Property>({{"agent", false, "enabled", agent_options},
                                                     {"amd-sev", false, "type", sev_options},
                                                     {"audio0", false, "", audio_options},
                                                     {"cpu", false, "cputype", cpu_options},
                                                     {"intel-tdx", false, "type", tdx_options},
                                                     {"ipconfig", true, "", ip_options},
                                                     {"machine", false, "type", machine_options},
                                                     {"memory", false, "current", memory_options},
                                                     {"meta", false, "", meta_options},
                                                     {"net", true, "model", net_options},
                                                     {"numa", true, "", numa_options},
                                                     {"rng0", false, "source", rng_options},
                                                     {"smbios1", false, "", smbios_options},
                                                     {"spice_enhancements", false, "", spice_options},
                                                     {"usb", true, "host", usb_options},
                                                     {"vga", false, "type", vga_options},
                                                     {"watchdog", false, "model", watchdog_options}});

bool is_of(std::string_view value, std::string_view others, bool letters) noexcept {
  return !value.empty() && std::all_of(value.begin(), value.end(), [&](char c) {
    return text::is_digit(c) || (letters && text::is_alpha(c)) || others.find(c) != std::string_view::npos;
  });
}

bool is_choice(std::string_view value, std::string_view choices) {
  const auto all = text::split(choices, ' ');
  return std::find(all.begin(), all.end(), value) != all.end();
}

bool is_real(std::string_view value) noexcept {
  const auto dot = value.find('.');
  return value.size() <= most_digits && text::all_digits(value.substr(0, dot)) &&
         (dot == std::string_view::npos || text::all_digits(value.substr(dot + 1)));
}

bool has_no_control(std::string_view value) noexcept {
  return std::all_of(value.begin(), value.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte != 0x7f;
  });
}

bool fits(const Option& option, std::string_view value) {
  if (value.size() > (option.kind == Kind::text || option.name == "sshkeys" ? longest_text : longest_value)) {
    return false;
  }
  switch (option.kind) {
    case Kind::boolean:
      return parse_pve_boolean(value).has_value();
    case Kind::number:
      return value.size() <= most_digits && text::all_digits(value);
    case Kind::real:
      return is_real(value);
    case Kind::choice:
      return is_choice(value, option.detail);
    case Kind::chars:
      return is_of(value, option.detail, true);
    case Kind::digits:
      return is_of(value, option.detail, false);
    case Kind::text:
      return has_no_control(value);
  }
  return false;
}

const Option* find_option(std::span<const Option> options, std::string_view name) {
  const auto found =
      std::find_if(options.begin(), options.end(), [name](const Option& option) { return option.name == name; });
  return found == options.end() ? nullptr : &*found;
}

const Property* find_property(std::string_view key) {
  const std::size_t end = key.find_last_not_of("0123456789");
  const std::string_view name = end == std::string_view::npos ? std::string_view() : key.substr(0, end + 1);
  const auto found = std::find_if(properties.begin(), properties.end(), [&](const Property& property) {
    return property.numbered ? name.size() < key.size() && property.key == name : property.key == key;
  });
  return found == properties.end() ? nullptr : &*found;
}

bool fits(const Property& property, std::string_view value) {
  if (value.size() > longest_value) return false;
  std::set<std::string_view> seen;
  for (const std::string_view part : text::split(value, ',')) {
    const std::size_t equals = part.find('=');
    const bool is_named = equals != std::string_view::npos;
    const std::string_view name = is_named ? part.substr(0, equals) : property.implied;
    const std::string_view given = is_named ? part.substr(equals + 1) : part;
    if (name.empty() || !seen.insert(name).second) return false;
    // Of a network card the model may stand as the name of its address.
    const bool is_model = property.key == "net" && is_named && is_choice(name, net_models);
    const Option* option = find_option(property.options, is_model ? "macaddr" : name);
    if (option == nullptr || !fits(*option, given)) return false;
  }
  return true;
}

/// PVE takes the escapes away before it writes the value into QEMU's command line.
bool is_safe_escaped(std::string_view value) {
  for (std::size_t at = 0; at < value.size(); ++at) {
    if (text::is_alnum(value[at]) || std::string_view("-_.~").find(value[at]) != std::string_view::npos) continue;
    // Of all escapes the blank's is what people use.
    if (value.substr(at, 3) != "%20") return false;
    at += 2;
  }
  return true;
}

bool is_unsafe(DriveBus bus, const DriveOption& option) {
  if (!is_known_drive_option(bus, option.key)) return true;  // it may do anything in a later version of Proxmox VE
  if (option.key == "format") return option.value != "raw";  // QEMU would look into the content for other files
  if (option.key == "serial" || option.key == "model") return !is_safe_escaped(option.value);
  if (option.key == "scsiblock") return parse_pve_boolean(option.value) != false;
  return !is_of(option.value, "-_.+ ", true);
}

}  // namespace

bool has_grammar(std::string_view key) {
  return find_option(plain, key) != nullptr || find_property(key) != nullptr;
}

bool is_safe_setting(std::string_view key, std::string_view value) {
  if (const Option* option = find_option(plain, key)) return fits(*option, value);
  const Property* property = find_property(key);
  return property != nullptr && fits(*property, value);
}

std::vector<DriveOption> unsafe_options(const Drive& drive) {
  const std::vector<DriveOption> options = drive.options();
  std::vector<DriveOption> unsafe;
  for (const DriveOption& option : options) {
    const auto same = [&option](const DriveOption& one) { return one.key == option.key; };
    // Of one that comes twice nobody says which counts.
    const bool is_twice = std::count_if(options.begin(), options.end(), same) > 1;
    if (is_twice || is_unsafe(drive.key().bus, option)) unsafe.push_back(option);
  }
  return unsafe;
}

bool is_safe_image_name(std::string_view name) noexcept {
  return is_of(name, "._-", true);
}

}  // namespace crossover
