#include "crossover/vmid.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "crossover/error.hpp"
#include "text.hpp"

namespace crossover {

namespace {

[[noreturn]] void refuse(std::string_view what, std::string_view value, std::string why) {
  throw Error(ErrorCode::usage, fmt::format("read {}", what), fmt::format("'{}'", value), std::move(why));
}

/// Two guests must never be written into one.
void require_distinct_targets(const std::vector<VmidPair>& guests, std::string_view value) {
  std::map<Vmid, Vmid> source_of;
  for (const VmidPair& guest : guests) {
    if (!guest.target) {
      continue;
    }
    const auto [other, inserted] = source_of.emplace(*guest.target, guest.source);
    if (!inserted) {
      refuse("VM list", value,
             fmt::format("guests {} and {} would both become {}", other->second, guest.source, *guest.target));
    }
  }
}

}  // namespace

Vmid parse_vmid(std::string_view what, std::string_view value) {
  const auto number = text::to_uint64(value);
  if (!number) {
    refuse(what, value, "a VM id is a number from 100 to 999999999");
  }
  if (value.front() == '0') {
    refuse(what, value, "a VM id has no leading zeros");
  }
  if (*number < min_vmid || *number > max_vmid) {
    refuse(what, value, "a VM id is from 100 to 999999999");
  }
  return static_cast<Vmid>(*number);
}

VmidSelection parse_vmid_list(std::string_view list) {
  VmidSelection selection;
  std::set<Vmid> sources;
  for (const std::string_view part : text::split(list, ',')) {
    const std::string_view item = text::trim(part);
    if (item.empty()) {
      refuse("VM list", list, "an item is empty; allowed are ids, id:target and all, separated by commas");
    }
    if (item == "all") {
      if (selection.all) {
        refuse("VM list", list, "'all' comes twice");
      }
      selection.all = true;
      continue;
    }
    const auto colon = item.find(':');
    VmidPair pair;
    pair.source = parse_vmid("VM list", item.substr(0, colon));
    if (colon != std::string_view::npos) {
      pair.target = parse_vmid("VM list", item.substr(colon + 1));
    }
    if (!sources.insert(pair.source).second) {
      refuse("VM list", list, fmt::format("guest {} comes twice", pair.source));
    }
    selection.guests.push_back(pair);
  }
  require_distinct_targets(selection.guests, list);
  return selection;
}

std::set<Vmid> parse_vmid_exclusions(std::string_view list) {
  std::set<Vmid> excluded;
  if (text::all_space(list)) {
    return excluded;
  }
  for (const std::string_view part : text::split(list, ',')) {
    excluded.insert(parse_vmid("list of excluded VMs", text::trim(part)));
  }
  return excluded;
}

Vmid prefixed_vmid(std::string_view prefix, Vmid source) {
  if (prefix.empty()) {
    return source;
  }
  if (!text::all_digits(prefix) || prefix.front() == '0') {
    refuse("VM id prefix", prefix, "a prefix is digits of which the first is not 0");
  }
  const auto number = text::to_uint64(fmt::format("{}{}", prefix, source));
  if (!number || *number > max_vmid) {
    refuse("VM id prefix", prefix, fmt::format("in front of {} it makes more than 999999999", source));
  }
  return static_cast<Vmid>(*number);
}

std::vector<VmidPair> assign_targets(const VmidSelection& selection, const std::set<Vmid>& existing,
                                     const std::set<Vmid>& excluded, std::string_view prefix) {
  std::map<Vmid, std::optional<Vmid>> wanted;
  if (selection.all) {
    for (const Vmid vmid : existing) {
      wanted.emplace(vmid, std::nullopt);
    }
  }
  for (const VmidPair& guest : selection.guests) {
    wanted[guest.source] = guest.target;
  }
  std::vector<VmidPair> result;
  for (const auto& [source, target] : wanted) {
    if (!excluded.contains(source)) {
      result.push_back({source, target ? *target : prefixed_vmid(prefix, source)});
    }
  }
  require_distinct_targets(result, prefix);
  return result;
}

}  // namespace crossover
