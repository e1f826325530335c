/// \file
/// Byte counts as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace crossover {

/// A byte count as the shell tool's summary prints it: "0 Bytes", "372.89 KiB", "20.00 GiB". Two decimals, cut off
/// rather than rounded, so that a total never reads as more than was sent.
std::string format_bytes(std::uint64_t bytes);

/// Reads a number of bytes, with a unit or without: K, M, G or T (each 1024 times the one before), in upper or
/// lower case, such as "500000", "64M" or "1g"; less than 2^63. Throws Error{usage} that names the option, its
/// value and what is allowed.
std::uint64_t parse_bytes(std::string_view option, std::string_view text);

}  // namespace crossover
