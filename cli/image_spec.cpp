#include "image_spec.hpp"

#include <cstddef>

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

/// "image[@snapshot]", where all that is not '@' belongs to the image.
std::optional<SnapshotSpec> parse_name(std::string_view text) {
  SnapshotSpec spec;
  const std::size_t at = text.find('@');
  spec.image.name = text.substr(0, at);
  if (spec.image.name.empty()) return std::nullopt;
  if (at == std::string_view::npos) return spec;
  spec.snapshot = text.substr(at + 1);
  if (spec.snapshot.empty()) return std::nullopt;
  return spec;
}

}  // namespace

std::optional<SnapshotSpec> parse_snapshot_spec(std::string_view text) {
  std::string_view behind_pool = text;
  const std::optional<std::string> pool = cut_part(behind_pool);
  if (!pool) return parse_name(text);
  std::string_view behind_namespace = behind_pool;
  const std::optional<std::string> rados_namespace = cut_part(behind_namespace);
  if (rados_namespace && rados_namespace->find('@') == std::string::npos) {
    if (std::optional<SnapshotSpec> spec = parse_name(behind_namespace)) {
      spec->image.pool = *pool;
      spec->image.rados_namespace = *rados_namespace;
      return spec;
    }
  }
  if (std::optional<SnapshotSpec> spec = parse_name(behind_pool)) {
    spec->image.pool = *pool;
    return spec;
  }
  return parse_name(text);
}

}  // namespace crossover::cli
