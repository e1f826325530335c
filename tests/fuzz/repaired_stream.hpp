/// \file
/// An agent's stream whose checks fit what it says.
#pragma once

#include <string>
#include <string_view>

namespace crossover::test {

/// The stream with the lengths of its frames, their checks, the blocks' hashes and the digests made to fit, as far
/// as it can be understood: a fuzzer cannot guess them, and would see nothing of what lies behind.
std::string repaired(std::string_view stream);

}  // namespace crossover::test
