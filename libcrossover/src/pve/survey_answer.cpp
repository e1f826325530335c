#include "pve/survey_answer.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>
#include <vector>

#include "crossover/cluster_files.hpp"
#include "crossover/error.hpp"

namespace crossover {

namespace {

std::vector<std::string_view> split_words(std::string_view line) {
  std::vector<std::string_view> words;
  constexpr std::string_view blank = " \t\r";
  for (std::size_t begin = line.find_first_not_of(blank); begin != std::string_view::npos;) {
    const std::size_t end = std::min(line.find_first_of(blank, begin), line.size());
    words.push_back(line.substr(begin, end - begin));
    begin = line.find_first_not_of(blank, end);
  }
  return words;
}

template <typename Number>
std::optional<Number> to_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// Calls `take(line)` for each line, without its newline.
template <typename Take>
void each_line(std::string_view text, Take take) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    take(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

/// "nodes/<node>/qemu-server/<vmid>.conf" taken apart.
struct ConfigPath {
  std::string node;
  std::uint32_t vmid = 0;
};

std::optional<ConfigPath> parse_config_path(std::string_view path) {
  constexpr std::string_view head = "nodes/";
  constexpr std::string_view middle = "/qemu-server/";
  constexpr std::string_view tail = ".conf";
  if (!path.starts_with(head) || !path.ends_with(tail)) return std::nullopt;
  path.remove_prefix(head.size());
  path.remove_suffix(tail.size());
  const std::size_t at = path.find(middle);
  if (at == std::string_view::npos) return std::nullopt;
  const auto vmid = to_number<std::uint32_t>(path.substr(at + middle.size()));
  if (!vmid) return std::nullopt;
  return ConfigPath{std::string(path.substr(0, at)), *vmid};
}

}  // namespace

SurveyAnswer parse_survey_answer(std::string_view text, const std::string& host) {
  SurveyAnswer answer;
  bool whole = false;
  const auto broken = [&host](const std::string& why) {
    return Error(ErrorCode::format, "survey", host, why, true);
  };
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) throw broken("the answer ends in the middle of a line");
    const auto words = split_words(text.substr(0, end));
    const auto length = words.size() == 3 ? to_number<std::size_t>(words[2]) : std::nullopt;
    if (!length) throw broken(fmt::format("unexpected line '{}'", text.substr(0, std::min<std::size_t>(end, 80))));
    text.remove_prefix(end + 1);
    if (text.size() < *length + 1) throw broken("the answer was cut short");
    const std::string bytes(text.substr(0, *length));
    text.remove_prefix(*length + 1);
    const std::string_view kind = words[0];
    const std::string name(words[1]);
    if (kind == "file") {
      answer.files[name] = bytes;
    } else if (kind == "output") {
      answer.outputs[name] = bytes;
    } else if (kind == "status") {
      answer.statuses[name] = to_number<int>(bytes).value_or(-1);
    } else if (kind == "ceph") {
      answer.ceph_files.insert(name);
    } else if (kind == "snippet") {
      answer.snippets.insert(name);
    } else if (kind == "bridge") {
      answer.bridges.insert(name);
    } else if (kind == "interfaces") {
      answer.interfaces.push_back(bytes);
    } else if (kind == "processor") {
      answer.processor = bytes;
    } else if (kind == "writable") {
      answer.writable = bytes == "1";
    } else if (kind == "end") {
      whole = true;
    } else {
      throw broken(fmt::format("unexpected item '{}'", kind));
    }
  }
  if (!whole) throw broken("the answer was cut short");
  return answer;
}

std::map<std::uint32_t, Power> parse_qm_list(std::string_view text) {
  std::map<std::uint32_t, Power> powers;
  each_line(text, [&powers](std::string_view line) {
    // VMID NAME... STATUS MEM BOOTDISK PID: a name can hold blanks ("VM 100"), so the status is found from the end.
    const auto words = split_words(line);
    if (words.size() < 5) return;
    const auto vmid = to_number<std::uint32_t>(words.front());
    if (!vmid) return;
    const std::string_view status = words[words.size() - 4];
    powers[*vmid] = status == "stopped" ? Power::stopped : status == "running" ? Power::running : Power::unknown;
  });
  return powers;
}

std::map<std::uint32_t, std::string> parse_ha_resources(std::string_view text) {
  std::map<std::uint32_t, std::string> states;
  std::string* state = nullptr;  // of the resource whose section this is
  each_line(text, [&](std::string_view line) {
    const auto words = split_words(line);
    if (words.empty()) {
      state = nullptr;
    } else if (line.front() != ' ' && line.front() != '\t') {
      const auto vmid = words.size() == 2 && words[0] == "vm:" ? to_number<std::uint32_t>(words[1]) : std::nullopt;
      state = vmid ? &(states[*vmid] = "started") : nullptr;
    } else if (state != nullptr && words.size() == 2 && words[0] == "state") {
      *state = words[1];
    }
  });
  return states;
}

HaManager parse_ha_manager(std::string_view text) {
  HaManager manager;
  const auto status = nlohmann::json::parse(text, nullptr, false);
  if (!status.is_object()) return manager;
  const auto text_of = [](const nlohmann::json& object, const char* key) {
    const auto found = object.is_object() ? object.find(key) : object.end();
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
  };
  if (const auto disarm = status.find("disarm"); disarm != status.end()) manager.disarmed = text_of(*disarm, "mode");
  const auto services = status.find("service_status");
  if (services == status.end() || !services->is_object()) return manager;
  for (const auto& [name, service] : services->items()) {
    const auto vmid = name.starts_with("vm:") ? to_number<std::uint32_t>(name.substr(3)) : std::nullopt;
    if (vmid) manager.services[*vmid] = text_of(service, "state");
  }
  return manager;
}

std::set<std::string> parse_cpu_models(std::string_view text) {
  std::set<std::string> models;
  each_line(text, [&models](std::string_view line) {
    const auto words = split_words(line);
    if (words.size() == 2 && words[0] == "cpu-model:") models.emplace(words[1]);
  });
  return models;
}

std::map<std::string, std::set<std::string>> parse_device_mappings(std::string_view text) {
  std::map<std::string, std::set<std::string>> mappings;
  std::set<std::string>* nodes = nullptr;
  each_line(text, [&](std::string_view line) {
    const auto words = split_words(line);
    if (words.empty() || words[0].starts_with('#')) return;
    if (line.front() != ' ' && line.front() != '\t') {
      nodes = &mappings[std::string(words[0])];
    } else if (words.size() >= 2 && words[0] == "map" && nodes != nullptr) {
      std::string_view properties = line.substr(line.find("map") + 3);
      constexpr std::string_view node = "node=";
      for (std::size_t at = properties.find(node); at != std::string_view::npos; at = properties.find(node, at + 1)) {
        if (at > 0 && std::string_view(", \t").find(properties[at - 1]) == std::string_view::npos) continue;
        const std::string_view name = properties.substr(at + node.size());
        nodes->emplace(name.substr(0, name.find_first_of(", \t")));
      }
    }
  });
  return mappings;
}

std::set<std::string> parse_ovs_bridges(std::string_view text) {
  constexpr std::array<std::string_view, 5> stanzas{"iface", "mapping", "auto", "source", "source-directory"};
  std::set<std::string> bridges;
  std::string interface;
  each_line(text, [&](std::string_view line) {
    const auto words = split_words(line);
    if (words.empty()) return;
    if (std::find(stanzas.begin(), stanzas.end(), words[0]) != stanzas.end() || words[0].starts_with("allow-")) {
      interface = words[0] == "iface" && words.size() > 1 ? words[1] : "";
    } else if (!interface.empty() && words.size() == 2 && words[0] == "ovs_type" && words[1] == "OVSBridge") {
      bridges.insert(interface);
    }
  });
  return bridges;
}

std::string parse_qemu_version(std::string_view text) {
  constexpr std::string_view head = "QEMU emulator version ";
  if (!text.starts_with(head)) return "";
  text.remove_prefix(head.size());
  return std::string(text.substr(0, text.find_first_not_of("0123456789.")));
}

ClusterInventory cluster_inventory(const SurveyAnswer& answer, const std::string& host) {
  const auto file = [&answer](const std::string& name) -> const std::string* {
    const auto found = answer.files.find(name);
    return found == answer.files.end() ? nullptr : &found->second;
  };
  const std::string* members_file = file(".members");
  if (members_file == nullptr) {
    throw Error(ErrorCode::unsupported, "survey", host,
                "there is no /etc/pve/.members: this is not a Proxmox VE node, or its pve-cluster service is down");
  }
  ClusterInventory inventory;
  const ClusterMembers members = parse_members(*members_file);
  inventory.entry_node = members.node;
  inventory.name = members.cluster;
  inventory.writable = answer.writable;
  for (const auto& [name, member] : members.nodes) {
    inventory.nodes[name] = NodeState{.name = name, .address = member.ip, .online = member.online};
  }
  // A node that is not clustered lists no nodes, not even itself.
  NodeState& entry = inventory.nodes[members.node];
  entry.name = members.node;
  entry.online = true;
  for (auto& [name, node] : inventory.nodes) {
    if (const std::string* keys = file(fmt::format("nodes/{}/ssh_known_hosts", name))) node.known_hosts = *keys;
  }
  if (const std::string* storages = file("storage.cfg")) inventory.storages = parse_storage_config(*storages);
  inventory.ceph_files = answer.ceph_files;
  inventory.snippets = answer.snippets;
  if (const std::string* vmlist = file(".vmlist")) {
    for (const auto& [vmid, entry_of_list] : parse_vmlist(*vmlist)) {
      if (entry_of_list.type == GuestType::lxc) inventory.containers[vmid] = entry_of_list.node;
    }
  }
  if (const std::string* models = file("virtual-guest/cpu-models.conf")) {
    inventory.cpu_models = parse_cpu_models(*models);
  }
  if (const std::string* firewall = file("firewall/cluster.fw")) {
    inventory.firewall = defined_firewall_names(*firewall);
  }
  for (const char* kind : {"pci", "usb", "directory"}) {
    const std::string* mappings = file(fmt::format("mapping/{}.cfg", kind));
    if (mappings == nullptr) continue;
    for (auto& [name, nodes] : parse_device_mappings(*mappings)) {
      inventory.device_mappings[fmt::format("{}/{}", kind, name)] = std::move(nodes);
    }
  }
  std::map<std::uint32_t, std::string> ha_states;
  if (const std::string* resources = file("ha/resources.cfg")) ha_states = parse_ha_resources(*resources);
  HaManager manager;
  if (const std::string* status = file("ha/manager_status")) manager = parse_ha_manager(*status);
  inventory.ha_disarmed = manager.disarmed;
  for (const auto& [path, bytes] : answer.files) {
    const auto config = parse_config_path(path);
    if (!config) continue;
    GuestState guest{.vmid = config->vmid, .node = config->node, .config = bytes};
    if (const auto state = ha_states.find(config->vmid); state != ha_states.end()) guest.ha_state = state->second;
    if (const auto status = manager.services.find(config->vmid); status != manager.services.end()) {
      guest.ha_status = status->second;
    }
    if (const std::string* firewall = file(fmt::format("firewall/{}.fw", config->vmid))) guest.firewall = *firewall;
    inventory.guests.emplace(config->vmid, std::move(guest));
  }
  add_node(inventory, inventory.entry_node, answer);
  return inventory;
}

void add_node(ClusterInventory& inventory, const std::string& node, const SurveyAnswer& answer) {
  const auto output = [&answer](const std::string& name) -> const std::string* {
    const auto status = answer.statuses.find(name);
    const auto found = answer.outputs.find(name);
    return status == answer.statuses.end() || status->second != 0 || found == answer.outputs.end() ? nullptr
                                                                                                   : &found->second;
  };
  NodeState& state = inventory.nodes[node];
  if (const std::string* version = output("pveversion")) state.pve_version = first_line(*version);
  if (const std::string* version = output("ceph-version")) state.ceph_version = first_line(*version);
  if (const std::string* version = output("qemu-version")) state.qemu_version = parse_qemu_version(*version);
  state.processor = answer.processor;
  state.bridges = answer.bridges;
  for (const std::string& interfaces : answer.interfaces) state.bridges.merge(parse_ovs_bridges(interfaces));
  if (const std::string* list = output("qm-list")) {
    for (const auto& [vmid, power] : parse_qm_list(*list)) {
      const auto guest = inventory.guests.find(vmid);
      if (guest != inventory.guests.end() && guest->second.node == node) guest->second.power = power;
    }
  }
}

}  // namespace crossover
