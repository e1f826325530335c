/// \file
/// Taking over a replica that the shell tool made, from a snapshot that both sides have. Pure.
#pragma once

#include <string>
#include <vector>

#include "plan/guest_facts.hpp"

namespace crossover {

/// Names of the image's snapshots that look like the shell tool's.
std::vector<std::string> shell_tool_names(const ImageState& image);

/// Everything that can be said of such a replica without reading it. One snapshot is the base of all the guest's
/// disks. Throws Stop if nothing says that the image is this guest's, or if there is no such snapshot of one size
/// on both sides; Error for a record that cannot be read.
void plan_adoption(const GuestFacts& facts, const ImageState& source, const ImageState& replica, DiskPlan& disk,
                   std::vector<std::string>& warnings);

}  // namespace crossover
