// Any bytes either throw Error{format} or are what the encoder writes for the records they were read as. Only the
// protection of an end snapshot is written in two ways, of which both are read.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "crossover/diff_stream.hpp"
#include "crossover/error.hpp"
#include "unit/stream/recorded_diff.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
  if (count == 0) return 0;
  // The first byte says how the rest is cut into pieces.
  const std::string_view stream(reinterpret_cast<const char*>(bytes) + 1, count - 1);
  try {
    const crossover::test::RecordedDiff diff = crossover::test::decode(stream, std::size_t{bytes[0]} + 1);
    const std::string again = crossover::test::encode(diff);
    if (again != stream && !diff.head.end_protected) std::abort();
    if (!(crossover::test::decode(again) == diff)) std::abort();
  } catch (const crossover::Error& error) {
    if (error.code() != crossover::ErrorCode::format) std::abort();
  }
  return 0;
}
