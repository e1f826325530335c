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

std::vector<std::string> words_of(const std::vector<VmidRange>& vmids) {
  std::vector<std::string> words;
  for (const VmidRange& range : vmids) {
    words.push_back(range.first == range.last ? std::to_string(range.first)
                                              : fmt::format("{}-{}", range.first, range.last));
  }
  return words;
}

}  // namespace

bool Restriction::allows(Vmid vmid) const noexcept {
  return std::any_of(vmids.begin(), vmids.end(),
                     [vmid](const VmidRange& range) { return range.first <= vmid && vmid <= range.last; });
}

Restriction parse_restriction(std::string_view pools, std::string_view vmids, std::string_view name) {
  Restriction restriction;
  for (const std::string_view item : text::split(pools, ',')) {
    const std::string_view id = text::trim(item);
    if (id.empty()) {
      throw Error(ErrorCode::usage, "read storages", fmt::format("'{}'", pools), "a storage id is missing");
    }
    if (!text::is_storage_id(id)) {
      throw Error(ErrorCode::usage, "read storages", fmt::format("'{}'", id),
                  "a storage id is letters, digits, '-', '_' and '.', with a letter first and no mark last");
    }
    restriction.pools.emplace(id);
  }
  for (const std::string_view item : text::split(vmids, ',')) {
    restriction.vmids.push_back(parse_range(text::trim(item)));
  }
  if (!name.empty() && !is_source_name(name)) {
    throw Error(ErrorCode::usage, "read the source's name", fmt::format("'{}'", name),
                "it is letters, digits, '_' and '-', does not begin with '-', and is not longer than 32");
  }
  restriction.name = name;
  return restriction;
}

bool is_source_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 32 && name.front() != '-' &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return text::is_alnum(c) || c == '-' || c == '_'; });
}

std::string to_string(const std::vector<VmidRange>& vmids) {
  return fmt::format("{}", fmt::join(words_of(vmids), ","));
}

std::string to_string(const Restriction& restriction) {
  return fmt::format("VMIDs {} on {}{}", fmt::join(words_of(restriction.vmids), ", "),
                     fmt::join(restriction.pools, ", "),
                     restriction.name.empty() ? "" : fmt::format(" (source {})", restriction.name));
}

}  // namespace crossover
