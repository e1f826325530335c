#include "plan/start_check.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace crossover {

namespace {

/// The parts of a property string, such as "virtio=52:54:00:00:00:01,bridge=vmbr0".
std::vector<std::pair<std::string, std::string>> properties(const std::string& value) {
  std::vector<std::pair<std::string, std::string>> parts;
  for (std::size_t begin = 0; begin <= value.size();) {
    const std::size_t end = std::min(value.find(',', begin), value.size());
    const std::string part = value.substr(begin, end - begin);
    const std::size_t equals = part.find('=');
    parts.emplace_back(equals == std::string::npos ? "" : part.substr(0, equals),
                       equals == std::string::npos ? part : part.substr(equals + 1));
    begin = end + 1;
  }
  return parts;
}

std::string property(const std::string& value, std::string_view name) {
  for (const auto& [key, text] : properties(value)) {
    if (key == name) return text;
  }
  return "";
}

/// "10.1" of "pc-q35-10.1+pve0"; empty for a machine without a version.
std::string machine_version(const std::string& machine) {
  const std::size_t digit = machine.find_last_not_of("0123456789.", machine.find('+') - 1);
  const std::string version = machine.substr(digit + 1, machine.find('+') - digit - 1);
  return version.find('.') == std::string::npos ? "" : version;
}

/// Whether `key` is one of "net0", "net1"...
bool is_numbered(const std::string& key, std::string_view name) {
  return key.starts_with(name) && key.size() > name.size() && key[name.size()] >= '0' && key[name.size()] <= '9';
}

class StartCheck {
 public:
  StartCheck(const ClusterInventory& destination, const GuestScope& scope, const GuestPlan& plan)
      : destination_(destination), scope_(scope), plan_(plan) {}

  std::vector<std::string> find() {
    const auto node = destination_.nodes.find(plan_.target_node);
    if (node != destination_.nodes.end() && node->second.unreachable.empty()) node_ = &node->second;
    if (!plan_.replica_config.empty()) {
      const VmConfig replica = parse_vm_config(plan_.replica_config);
      networks(replica);
      devices(replica);
    }
    processor();
    machine();
    firewall();
    return std::move(found_);
  }

 private:
  template <typename... Arguments>
  void add(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
    found_.push_back(fmt::format(text, std::forward<Arguments>(arguments)...));
  }

  void networks(const VmConfig& replica) {
    if (node_ == nullptr) return;
    for (const std::string& key : replica.keys()) {
      if (!is_numbered(key, "net")) continue;
      const std::string bridge = property(*replica.get(key), "bridge");
      if (bridge.empty() || node_->bridges.contains(bridge)) continue;
      add("{} is on the bridge {}, which {} does not have; make it, or --rewrite the line", key, bridge,
          plan_.target_node);
    }
  }

  void devices(const VmConfig& replica) {
    constexpr std::array<std::array<std::string_view, 3>, 3> kinds{
        {{"hostpci", "mapping", "pci"}, {"usb", "mapping", "usb"}, {"virtiofs", "dirid", "directory"}}};
    for (const std::string& key : replica.keys()) {
      for (const auto& [prefix, option, kind] : kinds) {
        if (!is_numbered(key, prefix)) continue;
        const std::string value = *replica.get(key);
        std::string name = property(value, option);
        if (name.empty() && option == "dirid") name = property(value, "");
        if (name.empty()) continue;
        const auto mapping = destination_.device_mappings.find(fmt::format("{}/{}", kind, name));
        if (mapping != destination_.device_mappings.end() && mapping->second.contains(plan_.target_node)) continue;
        add("{} is the mapped device {}, which has no mapping for {} ({} mappings of the datacenter); make one", key,
            name, plan_.target_node, kind);
      }
    }
  }

  void processor() {
    const std::string model = cpu_model(scope_.config);
    if (model.starts_with(custom_model) && !destination_.cpu_models.contains(model.substr(custom_model.size()))) {
      add("its CPU is the model {}, which the destination does not have", model);
    }
  }

  void machine() {
    const std::string machine = scope_.config.get("machine").value_or("");
    std::string type = property(machine, "type");
    if (type.empty()) type = property(machine, "");
    const std::string version = machine_version(type);
    if (version.empty() || node_ == nullptr || node_->qemu_version.empty()) return;
    if (is_newer_version(version, node_->qemu_version)) {
      add("its machine is {}, and {} has QEMU {}: it would not start there", type, plan_.target_node,
          node_->qemu_version);
    }
  }

  void firewall() {
    if (!plan_.firewall) return;
    const FirewallNames missing = missing_firewall_names(*plan_.firewall, destination_.firewall);
    std::vector<std::string> parts;
    const auto list = [&parts](const char* kind, const std::set<std::string>& names) {
      if (!names.empty()) parts.push_back(fmt::format("{}{} {}", kind, names.size() > 1 ? "s" : "", fmt::join(names, ", ")));
    };
    list("the security group", missing.groups);
    list("the IP set", missing.ipsets);
    list("the alias", missing.aliases);
    if (parts.empty()) return;
    add("its firewall rules name {}, which the destination's /etc/pve/firewall/cluster.fw does not define: rules with "
        "them do nothing there; define them",
        fmt::join(parts, ", "));
  }

  const ClusterInventory& destination_;
  const GuestScope& scope_;
  const GuestPlan& plan_;
  const NodeState* node_ = nullptr;  // the replica's; null: it was not looked at
  std::vector<std::string> found_;
};

}  // namespace

std::string cpu_model(const VmConfig& config) {
  const std::string cpu = config.get("cpu").value_or("");
  const std::string model = property(cpu, "cputype");
  return model.empty() ? property(cpu, "") : model;
}

bool is_newer_version(std::string_view version, std::string_view other) {
  while (!version.empty() || !other.empty()) {
    unsigned left = 0;
    unsigned right = 0;
    const auto take = [](std::string_view& text, unsigned& number) {
      const auto end = std::from_chars(text.data(), text.data() + text.size(), number).ptr;
      text.remove_prefix(static_cast<std::size_t>(end - text.data()));
      if (!text.empty()) text.remove_prefix(1);
    };
    take(version, left);
    take(other, right);
    if (left != right) return left > right;
  }
  return false;
}

std::vector<std::string> start_findings(const Inventory& inventory, const GuestScope& scope, const GuestPlan& plan) {
  return StartCheck(inventory.destination, scope, plan).find();
}

}  // namespace crossover
