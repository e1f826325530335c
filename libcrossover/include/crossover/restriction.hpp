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

  [[nodiscard]] bool allows(Vmid vmid) const noexcept;

  bool operator==(const Restriction&) const = default;
};

/// Reads "data,data2" and "99000-99999,500". Throws Error{usage} for an empty list or item, an id that is none, or
/// a range that ends before it begins.
Restriction parse_restriction(std::string_view pools, std::string_view vmids);

/// "VMIDs 99000-99999, 500 on data, data2".
std::string to_string(const Restriction& restriction);

}  // namespace crossover
