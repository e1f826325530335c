#include "rbd/rbd_json.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "crossover/error.hpp"
#include "model/image_access.hpp"
#include "rbd/image_layout.hpp"

namespace crossover::rbd {

using nlohmann::json;

namespace {

struct FeatureName {
  std::uint64_t bit;
  const char* name;
};

constexpr FeatureName features_by_name[] = {
    {image_feature::layering, "layering"},
    {image_feature::striping, "striping"},
    {image_feature::exclusive_lock, "exclusive-lock"},
    {image_feature::object_map, "object-map"},
    {image_feature::fast_diff, "fast-diff"},
    {image_feature::deep_flatten, "deep-flatten"},
    {image_feature::journaling, "journaling"},
    {image_feature::data_pool, "data-pool"},
    {1U << 8, "operations"},
    {image_feature::migrating, "migrating"},
    {image_feature::non_primary, "non-primary"},
    {1U << 11, "dirty-cache"},
};

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::uint64_t number_of(const json& object, const char* key, std::uint64_t otherwise = 0) {
  const auto found = object.find(key);
  if (found == object.end()) return otherwise;
  if (found->is_number_integer()) return found->get<std::uint64_t>();
  if (found->is_string()) {
    const auto& text = found->get_ref<const std::string&>();
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return value;
  }
  return otherwise;
}

[[noreturn]] void fail(const std::string& cause) {
  throw Error(ErrorCode::format, "read rbd output", {}, cause);
}

}  // namespace

json parse_json(std::string_view text, std::string operation, std::string subject) {
  json out = json::parse(text, nullptr, false);
  if (out.is_discarded()) {
    throw Error(ErrorCode::format, std::move(operation), std::move(subject), "the answer is no JSON");
  }
  return out;
}

ImageState parse_info(const json& info, const ImageSpec& image) {
  if (!info.is_object()) fail("no image information");
  ImageState state;
  state.id = text_of(info, "id");
  // Only images of format 1 have none.
  if (state.id.empty()) throw old_format("look at image", image);
  state.layout.size_bytes = number_of(info, "size");
  state.layout.order = static_cast<std::uint8_t>(number_of(info, "order", 22));
  state.layout.stripe_unit = number_of(info, "stripe_unit");
  state.layout.stripe_count = number_of(info, "stripe_count");
  normalise(state.layout);
  state.layout.data_pool = text_of(info, "data_pool");
  if (const auto list = info.find("features"); list != info.end() && list->is_array()) {
    for (const json& name : *list) {
      for (const FeatureName& feature : features_by_name) {
        if (name == feature.name) state.layout.features |= feature.bit;
      }
    }
  }
  if (const auto parent = info.find("parent"); parent != info.end() && parent->is_object()) {
    const ImageSpec spec{text_of(*parent, "pool"), text_of(*parent, "pool_namespace"), text_of(*parent, "image")};
    state.parent = to_string(spec) + "@" + text_of(*parent, "snapshot");
  }
  require_listed("look at image", image, state.layout.features);
  return state;
}

std::optional<TrashEntry> find_in_trash(const json& list, const std::string& name) {
  std::optional<TrashEntry> found;
  if (!list.is_array()) return found;
  for (const json& entry : list) {
    if (!entry.is_object() || text_of(entry, "name") != name) continue;
    found = TrashEntry{text_of(entry, "id"), text_of(entry, "source") == "MIGRATION"};
  }
  return found;
}

std::vector<Snapshot> parse_snapshots(const json& list) {
  if (!list.is_array()) fail("no list of snapshots");
  std::vector<Snapshot> out;
  for (const json& entry : list) {
    if (!entry.is_object() || !entry.contains("id") || !entry.contains("name"))
      fail("a snapshot without id or name");
    // Without --all only user snapshots are listed; older releases do not say of which kind one is.
    if (const auto kind = entry.find("namespace"); kind != entry.end() && kind->is_object()) {
      if (kind->value("type", "user") != "user") continue;
    }
    out.push_back({number_of(entry, "id"), text_of(entry, "name"), number_of(entry, "size")});
  }
  std::sort(out.begin(), out.end(), [](const Snapshot& a, const Snapshot& b) { return a.id < b.id; });
  return out;
}

std::map<std::string, std::string> parse_metadata(const json& list) {
  std::map<std::string, std::string> out;
  if (!list.is_object()) return out;
  for (const auto& [key, value] : list.items()) {
    if (key.starts_with(metadata_prefix))
      out.emplace(key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return out;
}

std::vector<std::string> parse_watchers(const json& status) {
  std::vector<std::string> out;
  const auto list = status.find("watchers");
  if (list == status.end()) return out;
  for (const json& watcher : *list) {
    // A list of objects, or an object of them in old releases.
    const json& entry = watcher.is_object() && watcher.contains("watcher") ? watcher.at("watcher") : watcher;
    if (entry.is_object()) out.push_back(text_of(entry, "address"));
  }
  return out;
}

std::optional<std::uint64_t> available_bytes_of(const json& usage, const std::string& pool) {
  const auto stats = usage.find("stats");
  if (stats == usage.end() || number_of(*stats, "total_bytes") == 0) return std::nullopt;
  const auto pools = usage.find("pools");
  if (pools == usage.end() || !pools->is_array()) return std::nullopt;
  for (const json& entry : *pools) {
    if (text_of(entry, "name") != pool) continue;
    const auto figures = entry.find("stats");
    if (figures != entry.end() && figures->contains("max_avail")) return number_of(*figures, "max_avail");
  }
  return std::nullopt;
}

std::vector<std::string> feature_names(std::uint64_t features) {
  std::vector<std::string> out;
  for (const FeatureName& feature : features_by_name) {
    if ((features & feature.bit) != 0) out.emplace_back(feature.name);
  }
  return out;
}

}  // namespace crossover::rbd
