#include "image_spec.hpp"

#include <algorithm>

namespace crossover::cli {

namespace {

/// Cuts what stands before the first '/' off `text`; nothing if there is no '/' or nothing before it.
std::optional<std::string> cut_part(std::string_view& text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos || slash == 0) return std::nullopt;
  std::string part(text.substr(0, slash));
  text.remove_prefix(slash + 1);
  return part;
}

}  // namespace

std::optional<SnapshotSpec> parse_snapshot_spec(std::string_view text) {
  SnapshotSpec spec;
  const auto slashes = std::count(text.begin(), text.end(), '/');
  if (slashes > 2) return std::nullopt;
  if (slashes > 0) {
    const auto pool = cut_part(text);
    if (!pool) return std::nullopt;
    spec.image.pool = *pool;
  }
  if (slashes > 1) {
    const auto rados_namespace = cut_part(text);
    if (!rados_namespace || rados_namespace->find('@') != std::string::npos) return std::nullopt;
    spec.image.rados_namespace = *rados_namespace;
  }
  const std::size_t at = text.find('@');
  spec.image.name = text.substr(0, at);
  if (at != std::string_view::npos) {
    spec.snapshot = text.substr(at + 1);
    if (spec.snapshot.empty() || spec.snapshot.find('@') != std::string::npos) return std::nullopt;
  }
  if (spec.image.name.empty()) return std::nullopt;
  return spec;
}

}  // namespace crossover::cli
