/// \file
/// The keys a VM's configuration may have, and the check PVE makes of each line it reads.
#pragma once

#include <string>
#include <string_view>

namespace crossover {

/// What PVE makes of one `key: value` line.
struct CheckedValue {
  bool accepted = false;
  std::string value;   ///< accepted: as PVE keeps it
  std::string error;   ///< not accepted, or `newer`: what is wrong with it, in PVE's words
  bool newer = false;  ///< accepted for the volume it names; PVE 9.2 would not
};

/// Checks a line of any section but the special ones. Enumerations, patterns and ranges are not checked, as PVE
/// does not check them when it reads. Of property strings only those of drives are looked into.
CheckedValue check_vm_value(std::string_view key, std::string_view value);

/// Checks a line of [special:fleecing].
CheckedValue check_fleecing_value(std::string_view key, std::string_view value);

}  // namespace crossover
