#include "crossover/restriction.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "crossover/error.hpp"
#include "text.hpp"

namespace crossover {

namespace {

VmidRange parse_range(std::string_view item) {
  const auto dash = item.find('-');
  VmidRange range;
  range.first = parse_vmid("VM range", item.substr(0, dash));
  range.last = dash == std::string_view::npos ? range.first : parse_vmid("VM range", item.substr(dash + 1));
  if (range.last < range.first) {
    throw Error(ErrorCode::usage, "read VM range", fmt::format("'{}'", item), "it ends before it begins");
  }
  return range;
}

}  // namespace

bool Restriction::allows(Vmid vmid) const noexcept {
  return std::any_of(vmids.begin(), vmids.end(),
                     [vmid](const VmidRange& range) { return range.first <= vmid && vmid <= range.last; });
}

Restriction parse_restriction(std::string_view pools, std::string_view vmids) {
  Restriction restriction;
  for (const std::string_view item : text::split(pools, ',')) {
    const std::string_view id = text::trim(item);
    if (id.empty()) {
      throw Error(ErrorCode::usage, "read storages", fmt::format("'{}'", pools), "a storage id is missing");
    }
    restriction.pools.emplace(id);
  }
  for (const std::string_view item : text::split(vmids, ',')) {
    restriction.vmids.push_back(parse_range(text::trim(item)));
  }
  return restriction;
}

std::string to_string(const Restriction& restriction) {
  std::vector<std::string> ranges;
  for (const VmidRange& range : restriction.vmids) {
    ranges.push_back(range.first == range.last ? std::to_string(range.first)
                                               : fmt::format("{}-{}", range.first, range.last));
  }
  return fmt::format("VMIDs {} on {}", fmt::join(ranges, ", "), fmt::join(restriction.pools, ", "));
}

}  // namespace crossover
