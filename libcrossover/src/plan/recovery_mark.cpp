#include "plan/recovery_mark.hpp"

#include <fmt/format.h>

#include "model/text.hpp"

namespace crossover {

std::string render_recovery_mark(std::chrono::sys_seconds now) {
  return fmt::format("{}", now.time_since_epoch().count());
}

bool has_recovery_mark(const ImageState& image, std::chrono::sys_seconds now) {
  const auto mark = image.metadata.find(std::string(recovery_key));
  if (mark == image.metadata.end()) return false;
  const auto seconds = text::to_uint64(mark->second);
  if (!seconds || *seconds > static_cast<std::uint64_t>(now.time_since_epoch().count()) + 600) return false;
  return std::chrono::sys_seconds(std::chrono::seconds(*seconds)) + recovery_mark_lasts > now;
}

}  // namespace crossover
