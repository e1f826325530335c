/// \file
/// What keeps a replica from starting over there, or from being what the guest is here. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "crossover/vm_config.hpp"
#include "plan/guest_facts.hpp"

namespace crossover {

/// Each with the way out: bridges, the CPU's model, the machine's version, mapped devices, and names that its firewall
/// rules refer to and the destination's cluster.fw does not define. What could not be looked at is not spoken of.
std::vector<std::string> start_findings(const Inventory& inventory, const GuestScope& scope, const GuestPlan& plan);

/// The model of the guest's CPU, as its configuration says; empty: PVE's default.
std::string cpu_model(const VmConfig& config);
/// What a custom CPU model's name begins with.
inline constexpr std::string_view custom_model = "custom-";

/// Whether a version, such as "10.1", is newer than another, number by number.
bool is_newer_version(std::string_view version, std::string_view other);

}  // namespace crossover
