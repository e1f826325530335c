#include "model/image_access.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

namespace crossover {

std::string why_unwritable(const ImageSpec& image, std::uint64_t features) {
  if ((features & image_feature::non_primary) == 0) return {};
  return fmt::format(
      "it is the non-primary side of rbd-mirror's mirroring, and nobody else may write to it. Promote it ('rbd "
      "mirror image promote {0}', once the other side is demoted), or end its mirroring ('rbd mirror image disable "
      "--force {0}')",
      to_string(image));
}

std::string why_unlisted(const ImageSpec& image, std::uint64_t features) {
  if ((features & image_feature::migrating) == 0) return {};
  return fmt::format(
      "a live migration of it is prepared and not committed, and until then RBD does not tell what changed between "
      "its snapshots. Finish it ('rbd migration execute {0}', then 'rbd migration commit {0}'), or take it back ('rbd "
      "migration abort {0}')",
      to_string(image));
}

void require_writable(const char* operation, const ImageSpec& image, std::uint64_t features) {
  std::string why = why_unwritable(image, features);
  if (!why.empty()) throw Error(ErrorCode::conflict, operation, to_string(image), std::move(why), false, EROFS);
}

void require_listed(const char* operation, const ImageSpec& image, std::uint64_t features) {
  std::string why = why_unlisted(image, features);
  if (!why.empty()) throw Error(ErrorCode::conflict, operation, to_string(image), std::move(why), false, EBUSY);
}

std::string why_in_trash(const ImageSpec& image, std::string_view id, bool is_migration) {
  if (is_migration) {
    return fmt::format(
        "a live migration, which is prepared and not committed, gave it another name ('rbd migration abort' with "
        "that name brings this one back; id {})",
        id);
  }
  const std::string where = image.rados_namespace.empty() ? image.pool : image.pool + "/" + image.rados_namespace;
  return fmt::format("one of that name is in RBD's trash ('rbd trash restore {}/{}' brings it back)", where, id);
}

Error old_format(const char* operation, const ImageSpec& image) {
  return {ErrorCode::unsupported,
          operation,
          to_string(image),
          "it has RBD's old format 1, in which images have no id to be known by. Copy it into one of format 2 "
          "('rbd deep cp' takes its snapshots along)",
          false,
          EOPNOTSUPP};
}

}  // namespace crossover
