#include "crossover/storage_config.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "crossover/drive.hpp"
#include "crossover/error.hpp"
#include "text.hpp"

namespace crossover {

namespace {

using StringSet = std::set<std::string, std::less<>>;

constexpr std::array<std::string_view, 18> known_types = {
    "btrfs", "cephfs",  "cifs", "dir", "drbd", "esxi",     "glusterfs", "iscsi",   "iscsidirect",
    "lvm",   "lvmthin", "nfs",  "pbs", "rbd",  "sheepdog", "zfs",       "zfspool", "zfsdir"};

constexpr std::array<std::string_view, 11> rbd_properties = {"nodes",     "disable",   "monhost",  "pool",
                                                             "data-pool", "namespace", "username", "content",
                                                             "krbd",      "keyring",   "bwlimit"};

bool is_hex(char c) noexcept {
  const char l = text::to_lower(c);
  return text::is_digit(c) || (l >= 'a' && l <= 'f');
}

bool is_uuid(std::string_view s) noexcept {
  if (s.size() != 36) {
    return false;
  }
  for (std::size_t i = 0; i < s.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? s[i] != '-' : !is_hex(s[i])) {
      return false;
    }
  }
  return true;
}

bool is_ipv6(std::string_view host) {
  in6_addr address{};
  return inet_pton(AF_INET6, std::string(host).c_str(), &address) == 1;
}

bool is_host(std::string_view host) noexcept {
  return !host.empty() &&
         std::all_of(host.begin(), host.end(), [](char c) { return text::is_alnum(c) || c == '-' || c == '.'; });
}

/// One monitor address as PVE rewrites it: "host", "host:port", "[v6]", "[v6]:port". Nothing if it is no address.
std::optional<std::string> parse_monitor(std::string_view address) {
  const auto render = [](std::string_view host, std::string_view port) {
    std::string result = is_ipv6(host) ? fmt::format("[{}]", host) : std::string(host);
    return port.empty() ? result : result + ":" + std::string(port);
  };
  if (address.starts_with('[')) {
    const auto close = address.find(']');
    if (close == std::string_view::npos) {
      return std::nullopt;
    }
    const std::string_view host = address.substr(1, close - 1);
    std::string_view port = address.substr(close + 1);
    if (!is_host(host) && !is_ipv6(host)) {
      return std::nullopt;
    }
    if (port.empty()) {
      return render(host, {});
    }
    port.remove_prefix(1);
    return address[close + 1] == ':' && text::all_digits(port) ? std::optional(render(host, port)) : std::nullopt;
  }
  const auto colon = address.find(':');
  if (is_host(address.substr(0, colon))) {
    if (colon == std::string_view::npos) {
      return render(address, {});
    }
    if (text::all_digits(address.substr(colon + 1))) {
      return render(address.substr(0, colon), address.substr(colon + 1));
    }
  }
  if (is_ipv6(address)) {
    return render(address, {});
  }
  // An IPv6 address takes its port behind a dot.
  const auto dot = address.rfind('.');
  if (dot != std::string_view::npos && is_ipv6(address.substr(0, dot)) &&
      text::all_digits(address.substr(dot + 1))) {
    return render(address.substr(0, dot), address.substr(dot + 1));
  }
  return std::nullopt;
}

bool is_node_name(std::string_view name) noexcept {
  return !name.empty() && text::is_alnum(name.front()) && text::is_alnum(name.back()) &&
         std::all_of(name.begin(), name.end(), [](char c) { return text::is_alnum(c) || c == '-'; });
}

struct Header {
  std::string type;
  std::string id;
};

/// "type: id" at the start of a line: ^(\S+):\s*(\S+)\s*$, of which the first part is as long as can be.
std::optional<Header> parse_header(std::string_view line) {
  std::size_t run = 0;
  while (run < line.size() && !text::is_space(line[run])) {
    ++run;
  }
  for (std::size_t at = run; at-- > 1;) {
    if (line[at] != ':') {
      continue;
    }
    const std::string_view id = text::trim(line.substr(at + 1));
    if (!id.empty() && std::none_of(id.begin(), id.end(), text::is_space)) {
      return Header{text::lower(line.substr(0, at)), std::string(id)};
    }
  }
  return std::nullopt;
}

class Parser {
 public:
  explicit Parser(std::string_view bytes) : rest_(bytes) {}

  StorageConfig parse() {
    while (!rest_.empty()) {
      const auto line = next_line();
      if (!line || ends_section(*line)) {
        continue;
      }
      if (auto header = parse_header(*line)) {
        read_section(*std::move(header));
      } else {
        warn({}, fmt::format("ignore config line: {}", *line));
      }
    }
    ensure_local();
    return std::move(config_);
  }

 private:
  /// The next line that is no comment.
  std::optional<std::string_view> next_line() {
    while (!rest_.empty()) {
      const auto end = std::min(rest_.find('\n'), rest_.size());
      const std::string_view line = rest_.substr(0, end);
      rest_.remove_prefix(std::min(end + 1, rest_.size()));
      ++number_;
      if (!text::trim(line).starts_with('#')) {
        return line;
      }
    }
    return std::nullopt;
  }

  /// What is false in Perl: only a line of no characters at all ends a section, one with a space in it does not.
  static bool ends_section(std::string_view line) { return line.empty() || line == "0"; }

  void warn(std::string section, std::string reason) {
    config_.warnings.push_back({number_, std::move(section), std::move(reason)});
  }

  void read_section(Header header) {
    bool skip = false;
    if (!text::is_storage_id(header.id)) {
      warn(header.id, fmt::format("skip section '{0}': storage ID '{0}' contains illegal characters", header.id));
      skip = true;
    } else if (std::find(known_types.begin(), known_types.end(), header.type) == known_types.end()) {
      warn(header.id, fmt::format("unsupported type '{}'", header.type));
    }
    Storage storage;
    storage.id = std::move(header.id);
    storage.type = std::move(header.type);
    bool usable = true;
    for (auto line = next_line(); line && !ends_section(*line); line = next_line()) {
      if (!skip) {
        read_property(storage, *line);
      }
    }
    usable = !skip && finish(storage);
    if (!usable) {
      return;
    }
    // A later section with the same id takes the place of the earlier one.
    const auto same = std::find_if(config_.storages.begin(), config_.storages.end(),
                                   [&](const Storage& s) { return s.id == storage.id; });
    if (same != config_.storages.end()) {
      *same = std::move(storage);
    } else {
      config_.storages.push_back(std::move(storage));
    }
  }

  void read_property(Storage& storage, std::string_view line) {
    const std::string_view trimmed = text::trim(line);
    if (trimmed.empty() || !text::is_space(line.front())) {
      warn(storage.id, fmt::format("ignore config line: {}", line));
      return;
    }
    const auto key_end = std::find_if(trimmed.begin(), trimmed.end(), text::is_space);
    const std::string_view key = trimmed.substr(0, static_cast<std::size_t>(key_end - trimmed.begin()));
    const std::string_view value = text::trim(trimmed.substr(key.size()));
    if (const auto error = check(storage, key, value)) {
      warn(storage.id, fmt::format("unable to parse value of '{}': {}", key, *error));
      return;
    }
    storage.properties.emplace_back(key, value.empty() ? std::string_view("1") : value);
  }

  /// Why PVE does not take the property; nothing if it does. For other types than rbd only what matters here.
  static std::optional<std::string> check(const Storage& storage, std::string_view key, std::string_view value) {
    if (storage.get(key)) {
      return "duplicate attribute";
    }
    const bool rbd = storage.type == "rbd";
    if (rbd && std::find(rbd_properties.begin(), rbd_properties.end(), key) == rbd_properties.end()) {
      return fmt::format("unexpected property '{}'", key);
    }
    if (key == "disable" || key == "krbd") {
      if (value.empty() || value == "1" || value == "0") {
        return std::nullopt;
      }
      return fmt::format("type check ('boolean') failed - got '{}'", value);
    }
    if (value.empty() && rbd) {
      return "got undefined value";
    }
    if (key == "nodes") {
      for (const std::string_view node : text::split_list(value)) {
        if (!is_node_name(node)) {
          return "invalid format - value does not look like a valid node name";
        }
      }
    }
    if (key == "monhost" && rbd) {
      for (const std::string_view monitor : text::split_list(value)) {
        if (!parse_monitor(monitor)) {
          return "invalid format - value does not look like a valid portal address";
        }
      }
    }
    return std::nullopt;
  }

  /// Derives the members from the properties; false if PVE skips the section.
  bool finish(Storage& storage) {
    storage.disabled = storage.get("disable") == "1";
    if (const auto nodes = storage.get("nodes")) {
      storage.nodes.emplace();
      for (const std::string_view node : text::split_list(*nodes)) {
        storage.nodes->emplace(node);
      }
    }
    const auto content = storage.get("content");
    if (!content) {
      return true;
    }
    for (const std::string_view type : text::split_list(*content)) {
      if (storage.type == "rbd" && type != "images" && type != "rootdir") {
        warn(storage.id, fmt::format("storage does not support content type '{}'", type));
      } else {
        storage.content.emplace(type);
      }
    }
    if (storage.type == "rbd" && storage.content.empty()) {
      warn(storage.id, fmt::format("skip section '{}': storage does not support content type 'none'", storage.id));
      return false;
    }
    return true;
  }

  void ensure_local() {
    const auto found = std::find_if(config_.storages.begin(), config_.storages.end(),
                                    [](const Storage& s) { return s.id == "local"; });
    if (found != config_.storages.end() && found->type == "dir" &&
        found->get("path").value_or("/var/lib/vz") == "/var/lib/vz") {
      found->nodes.reset();
      return;
    }
    Storage local;
    local.id = "local";
    local.type = "dir";
    local.properties = {{"path", "/var/lib/vz"}, {"prune-backups", "keep-all=1"}};
    local.content = {"backup", "images", "iso", "rootdir", "snippets", "vztmpl"};
    if (found != config_.storages.end()) {
      *found = std::move(local);
    } else {
      config_.storages.push_back(std::move(local));
    }
  }

  std::string_view rest_;
  std::size_t number_ = 0;
  StorageConfig config_;
};

RbdStorage to_rbd(const Storage& storage) {
  RbdStorage rbd;
  rbd.id = storage.id;
  rbd.pool = storage.get("pool").value_or(rbd.pool);
  rbd.rados_namespace = storage.get("namespace").value_or("");
  rbd.data_pool = storage.get("data-pool").value_or("");
  if (const auto monhost = storage.get("monhost")) {
    rbd.external = true;
    for (const std::string_view monitor : text::split_list(*monhost)) {
      rbd.monitors.push_back(parse_monitor(monitor).value_or(std::string()));
    }
  }
  rbd.username = storage.get("username").value_or(rbd.username);
  rbd.krbd = storage.get("krbd") == "1";
  if (!storage.content.empty()) {
    rbd.content = storage.content;
  }
  rbd.nodes = storage.nodes;
  rbd.disabled = storage.disabled;
  return rbd;
}

bool is_available_on(bool disabled, const std::optional<StringSet>& nodes, std::string_view node) {
  return !disabled && (!nodes || nodes->contains(node));
}

}  // namespace

std::optional<std::string> Storage::get(std::string_view property) const {
  const auto found =
      std::find_if(properties.begin(), properties.end(), [property](const auto& p) { return p.first == property; });
  return found == properties.end() ? std::nullopt : std::optional(found->second);
}

const Storage* StorageConfig::find(std::string_view id) const noexcept {
  const auto found = std::find_if(storages.begin(), storages.end(), [id](const Storage& s) { return s.id == id; });
  return found == storages.end() ? nullptr : &*found;
}

std::optional<RbdStorage> StorageConfig::rbd(std::string_view id) const {
  const Storage* storage = find(id);
  return storage != nullptr && storage->type == "rbd" ? std::optional(to_rbd(*storage)) : std::nullopt;
}

std::vector<RbdStorage> StorageConfig::rbd_storages() const {
  std::vector<RbdStorage> result;
  for (const Storage& storage : storages) {
    if (storage.type == "rbd") {
      result.push_back(to_rbd(storage));
    }
  }
  return result;
}

StorageConfig parse_storage_config(std::string_view bytes) {
  return Parser(bytes).parse();
}

std::string to_string(const StorageConfigWarning& warning) {
  const std::string section = warning.section.empty() ? "" : fmt::format(" (section '{}')", warning.section);
  return fmt::format("file /etc/pve/storage.cfg line {}{} - {}", warning.line, section, warning.reason);
}

bool is_available(const Storage& storage, std::string_view node) {
  return is_available_on(storage.disabled, storage.nodes, node);
}

bool is_available(const RbdStorage& storage, std::string_view node) {
  return is_available_on(storage.disabled, storage.nodes, node);
}

std::string keyring_path(std::string_view storage_id) {
  return fmt::format("/etc/pve/priv/ceph/{}.keyring", storage_id);
}

std::string external_conf_path(std::string_view storage_id) {
  return fmt::format("/etc/pve/priv/ceph/{}.conf", storage_id);
}

CephAccess ceph_access(const RbdStorage& storage, bool keyring_exists, bool external_conf_exists) {
  CephAccess access;
  if (!storage.external) {
    access.conf = "/etc/pve/ceph.conf";  // PVE ignores an <id>.conf of such a storage
  } else if (external_conf_exists) {
    access.conf = external_conf_path(storage.id);
  }
  access.monitors = storage.monitors;
  access.user = storage.username;
  if (keyring_exists) {
    access.keyring = keyring_path(storage.id);
  }
  return access;
}

ImageSpec image_spec(const RbdStorage& storage, std::string_view volname) {
  return {storage.pool, storage.rados_namespace, parse_rbd_volume_name(volname).image};
}

std::string pvesm_path(const RbdStorage& storage, std::string_view volname, const CephAccess& access,
                       std::string_view fsid) {
  const std::string image = to_string(image_spec(storage, volname));
  if (storage.krbd) {
    if (!is_uuid(fsid)) {
      throw Error(ErrorCode::format, "find path", fmt::format("{}:{}", storage.id, volname),
                  "cluster fsid has invalid format");
    }
    return fmt::format("/dev/rbd-pve/{}/{}", fsid, image);
  }
  std::string path = "rbd:" + image;
  if (!access.conf.empty()) {
    path += ":conf=" + access.conf;
  }
  if (storage.external) {
    path += ":mon_host=";
    for (const char c : fmt::format("{}", fmt::join(access.monitors, ";"))) {
      path += c == ':' ? std::string("\\:") : std::string(1, c);
    }
    path += access.keyring.empty() ? ":auth_supported=none" : ":auth_supported=cephx";
  }
  if (!access.keyring.empty()) {
    path += fmt::format(":id={}:keyring={}", access.user, access.keyring);
  }
  return path;
}

}  // namespace crossover
