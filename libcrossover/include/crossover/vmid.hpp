/// \file
/// VM ids: which guests an option names, and which id each gets on the destination.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// The id of a VM or container: 100 to 999999999, unique in its cluster (PVE's API).
using Vmid = std::uint32_t;

inline constexpr Vmid min_vmid = 100;
inline constexpr Vmid max_vmid = 999999999;

/// One guest and its id on the destination. In a selection, no target means that a prefix or the source's id
/// decides.
struct VmidPair {
  Vmid source = 0;
  std::optional<Vmid> target;

  auto operator<=>(const VmidPair&) const = default;
};

/// What `--vmid` says: guests by id, all guests, or all of which some have a target of their own.
struct VmidSelection {
  bool all = false;
  std::vector<VmidPair> guests;  ///< in the order of the option, each source once

  auto operator<=>(const VmidSelection&) const = default;
};

/// One id. `what` names the option for the error text. Throws Error(usage) for anything but digits without leading
/// zeros in PVE's range.
Vmid parse_vmid(std::string_view what, std::string_view text);

/// Reads "100,101:201,all". Throws Error(usage), with text, for an empty list or item, a bad id, a source that
/// comes twice, or two sources with one target.
VmidSelection parse_vmid_list(std::string_view text);

/// Reads a list of ids to leave out, such as "100,1100": an exact set. An empty text is an empty set.
std::set<Vmid> parse_vmid_exclusions(std::string_view text);

/// The id with the prefix in front, as text: "99" and 100 are 99100. Throws Error(usage) for a prefix that is not
/// digits or begins with 0, and if the result is over PVE's range.
Vmid prefixed_vmid(std::string_view prefix, Vmid source);

/// The guests of a run with their targets, in the order of their ids.
///
/// `existing` are the guests `all` stands for. A target named in the list counts before the prefix; with neither
/// the id stays. Excluded guests are left out, also if they are named. Throws Error(usage) if two guests get one
/// target.
std::vector<VmidPair> assign_targets(const VmidSelection& selection, const std::set<Vmid>& existing,
                                     const std::set<Vmid>& excluded, std::string_view prefix);

}  // namespace crossover
