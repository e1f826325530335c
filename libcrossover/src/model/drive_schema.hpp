/// \file
/// Which options a drive line may have, per bus, and what their values must look like.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "crossover/drive.hpp"

namespace crossover {

/// The option's canonical name: legacy aliases (`volume`, `bps_rd_length`, ...) resolved for buses that have them.
std::string_view canonical_drive_option(DriveBus bus, std::string_view option) noexcept;

/// Whether drives on this bus have the option, as far as is known here.
bool is_known_drive_option(DriveBus bus, std::string_view canonical) noexcept;

/// Checks one option's value. Nothing if it is fine; else PVE's text for it.
std::optional<std::string> check_drive_option(DriveBus bus, std::string_view canonical, std::string_view value);

/// Checks a volume's text for the bus. Nothing if it is fine; else PVE's text for it.
std::optional<std::string> check_drive_volume(DriveBus bus, std::string_view volume);

}  // namespace crossover
