/// \file
/// What the settings of a configuration may hold that a restricted agent takes. Proxmox VE checks no value when it
/// reads a file, and puts many into QEMU's command line as they are, where a ',' begins another option and some
/// options open files. So each key has a grammar here, and a key without one is refused. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "crossover/drive.hpp"

namespace crossover {

/// Whether a setting of the guest alone has a value of its grammar; false for keys that have none here. Drives, and
/// what needs the restriction to be judged (`onboot`, `lock`, `vmstatestorage`), are not among them.
bool is_safe_setting(std::string_view key, std::string_view value);

/// Whether there is a grammar for the key at all.
bool has_grammar(std::string_view key);

/// The drive's options that could be more than an option of the drive, such as a `serial` that ends it in QEMU's
/// command line, or a `format` that makes QEMU open what the disk's content names.
std::vector<DriveOption> unsafe_options(const Drive& drive);

/// Letters, digits, '.', '_' and '-': an image's name that means nothing else to QEMU, to rbd or in a path.
bool is_safe_image_name(std::string_view name) noexcept;

}  // namespace crossover
