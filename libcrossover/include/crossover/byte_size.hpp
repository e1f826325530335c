/// \file
/// Byte counts for people.
#pragma once

#include <cstdint>
#include <string>

namespace crossover {

/// A byte count as the shell tool's summary prints it: "0 Bytes", "372.89 KiB", "20.00 GiB". Two decimals, cut off
/// rather than rounded, so that a total never reads as more than was sent.
std::string format_bytes(std::uint64_t bytes);

}  // namespace crossover
