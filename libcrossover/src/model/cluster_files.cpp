#include "crossover/cluster_files.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "crossover/error.hpp"
#include "text.hpp"

namespace crossover {

namespace {

using nlohmann::json;

[[noreturn]] void refuse(std::string_view file, std::string why) {
  throw Error(ErrorCode::format, "read", std::string(file), std::move(why));
}

/// Runs a reader of JSON and turns the library's exceptions into ours.
template <typename Read>
auto read_json(std::string_view file, std::string_view text, Read read) {
  try {
    const json document = json::parse(text);
    if (!document.is_object()) {
      refuse(file, "not a JSON object");
    }
    return read(document);
  } catch (const json::exception& error) {
    refuse(file, error.what());
  }
}

/// Numbers stand for flags in PVE's JSON.
bool flag(const json& object, const char* key) {
  const auto value = object.find(key);
  if (value == object.end()) {
    return false;
  }
  return value->is_boolean() ? value->get<bool>() : value->get<int>() != 0;
}

}  // namespace

ClusterMembers parse_members(std::string_view text) {
  return read_json("/etc/pve/.members", text, [](const json& document) {
    ClusterMembers members;
    members.node = document.at("nodename").get<std::string>();
    if (const auto cluster = document.find("cluster"); cluster != document.end()) {
      members.cluster = cluster->at("name").get<std::string>();
      members.quorate = flag(*cluster, "quorate");
    }
    if (const auto nodes = document.find("nodelist"); nodes != document.end()) {
      for (const auto& [name, node] : nodes->items()) {
        members.nodes.emplace(name, ClusterNode{name, node.at("id").get<std::uint32_t>(), flag(node, "online"),
                                                node.value("ip", std::string())});
      }
    }
    return members;
  });
}

std::string_view to_string(GuestType type) noexcept {
  return type == GuestType::qemu ? "qemu" : "lxc";
}

std::map<Vmid, GuestLocation> parse_vmlist(std::string_view text) {
  constexpr std::string_view file = "/etc/pve/.vmlist";
  return read_json(file, text, [file](const json& document) {
    std::map<Vmid, GuestLocation> guests;
    const auto ids = document.find("ids");
    if (ids == document.end()) {
      return guests;
    }
    for (const auto& [id, guest] : ids->items()) {
      const auto number = text::to_uint64(id);
      if (!number) {
        refuse(file, fmt::format("'{}' is no VM id", id));
      }
      const auto type = guest.at("type").get<std::string>();
      if (*number < min_vmid || *number > max_vmid || (type != "qemu" && type != "lxc")) {
        continue;
      }
      guests.emplace(static_cast<Vmid>(*number), GuestLocation{guest.at("node").get<std::string>(),
                                                               type == "qemu" ? GuestType::qemu : GuestType::lxc});
    }
    return guests;
  });
}

CorosyncConfig parse_corosync_config(std::string_view content) {
  constexpr std::string_view file = "/etc/pve/corosync.conf";
  CorosyncConfig config;
  std::vector<std::string> sections;
  ClusterNode node;
  std::size_t number = 0;
  for (const std::string_view raw : text::split(content, '\n')) {
    ++number;
    const std::string_view line = text::trim(raw);
    if (line.empty() || line.starts_with('#')) {
      continue;
    }
    if (line == "}") {
      if (sections.empty()) {
        refuse(file, fmt::format("line {}: '}}' without a section", number));
      }
      if (sections == std::vector<std::string>{"nodelist", "node"}) {
        const std::string name = node.name.empty() ? node.ip : node.name;
        config.nodes[name] = node;
        config.nodes[name].name = name;
      }
      sections.pop_back();
      continue;
    }
    if (line.ends_with('{')) {
      sections.emplace_back(text::trim(line.substr(0, line.size() - 1)));
      node = {};
      continue;
    }
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) {
      refuse(file, fmt::format("line {}: neither a section nor 'key: value'", number));
    }
    const std::string_view key = text::trim(line.substr(0, colon));
    const std::string_view value = text::trim(line.substr(colon + 1));
    if (sections == std::vector<std::string>{"totem"} && key == "cluster_name") {
      config.cluster = value;
    } else if (sections == std::vector<std::string>{"nodelist", "node"}) {
      if (key == "name") {
        node.name = value;
      } else if (key == "nodeid") {
        node.id = static_cast<std::uint32_t>(text::to_uint64(value).value_or(0));
      } else if (key == "ring0_addr") {
        node.ip = value;
      }
    }
  }
  if (!sections.empty()) {
    refuse(file, fmt::format("section '{}' does not end", sections.back()));
  }
  return config;
}

}  // namespace crossover
