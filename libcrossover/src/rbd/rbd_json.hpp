/// \file
/// What `rbd` and `ceph` print as JSON. Releases differ in small ways (numbers as strings, fields that come and
/// go), so everything is read with a default.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/image.hpp"

namespace crossover::rbd {

/// Parses the JSON in a command's output; Error{format} if it is none.
nlohmann::json parse_json(std::string_view text, std::string operation, std::string subject);

/// Id, layout and parent of an image, from `rbd info`. Throws Error (unsupported) for one of format 1, and
/// (conflict) for one to which a live migration is prepared.
ImageState parse_info(const nlohmann::json& info, const ImageSpec& image);

/// The id in the trash of an image that had that name, and whether a live migration put it there, from `rbd trash
/// ls --all --long`; nothing if there is none.
struct TrashEntry {
  std::string id;
  bool is_migration = false;
};
std::optional<TrashEntry> find_in_trash(const nlohmann::json& list, const std::string& name);

/// User snapshots, oldest first, from `rbd snap ls`.
std::vector<Snapshot> parse_snapshots(const nlohmann::json& list);

/// Metadata that is ours, from `rbd image-meta list`.
std::map<std::string, std::string> parse_metadata(const nlohmann::json& list);

/// Addresses, from `rbd status`.
std::vector<std::string> parse_watchers(const nlohmann::json& status);

/// A pool's MAX AVAIL, from `ceph df`; nothing if no manager has reported.
std::optional<std::uint64_t> available_bytes_of(const nlohmann::json& usage, const std::string& pool);

/// Names of features for `rbd create --image-feature`.
std::vector<std::string> feature_names(std::uint64_t features);

}  // namespace crossover::rbd
