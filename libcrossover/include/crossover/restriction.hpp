/// \file
/// What an agent that may only receive replicas is limited to.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/vmid.hpp"

namespace crossover {

/// Some VMIDs in a row, both ends included.
struct VmidRange {
  Vmid first = 0;
  Vmid last = 0;

  auto operator<=>(const VmidRange&) const = default;
};

/// The replicas an agent is limited to: those with these VMIDs, with disks on these storages.
struct Restriction {
  std::set<std::string, std::less<>> pools;  ///< storage ids
  std::vector<VmidRange> vmids;
  std::string name = {};  ///< of the source that has it; empty: nobody gave it one

  [[nodiscard]] bool allows(Vmid vmid) const noexcept;

  bool operator==(const Restriction&) const = default;
};

/// Reads "data,data2", "99000-99999,500" and a source's name. Throws Error{usage} for an empty list or item, an id
/// that is none, a range that ends before it begins, or a name that is none.
Restriction parse_restriction(std::string_view pools, std::string_view vmids, std::string_view name = {});

/// What a source may be called: letters, digits, '-' and '_', not '-' first, at most 32.
bool is_source_name(std::string_view name) noexcept;

/// The ranges as parse_restriction() reads them: "99000-99999,500".
std::string to_string(const std::vector<VmidRange>& vmids);

/// "VMIDs 99000-99999, 500 on data, data2", and " (source siteA)" if it has a name.
std::string to_string(const Restriction& restriction);

}  // namespace crossover
