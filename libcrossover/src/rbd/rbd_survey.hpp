/// \file
/// A look at many images with one command.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/image.hpp"

namespace crossover::rbd {

/// `sh` with a script that asks `rbd` four things about each image: info, snapshots, metadata and watchers. Every
/// value arrives as a parameter of its own. Each answer is followed by a frame: the line "TOKEN STATUS", the
/// command's standard error, the line "TOKEN". An image whose `info` fails is asked nothing more.
std::vector<std::string> survey_command(const CephAccess& access, std::span<const ImageSpec> images,
                                        const std::string& token);

/// Reads what the script printed; nothing for an image that does not exist. Pool ids are left out: `rbd` does not
/// tell them. Throws the error of the first command that failed otherwise.
std::vector<std::optional<ImageState>> parse_survey(std::string_view output, std::span<const ImageSpec> images,
                                                    const std::string& token);

}  // namespace crossover::rbd
