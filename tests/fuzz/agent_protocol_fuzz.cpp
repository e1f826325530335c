// Any bytes either throw Error{format} or are a transfer that can be sent again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "crossover/error.hpp"
#include "unit/stream/recorded_transfer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
  using namespace crossover::test;
  if (count == 0) return 0;
  // The first byte says how the rest is cut into pieces.
  const std::string_view stream(reinterpret_cast<const char*>(bytes) + 1, count - 1);
  try {
    const Transfer transfer = read_transfer(stream, std::size_t{bytes[0]} + 1);
    if (read_transfer(greeting() + render_transfer(transfer), 4096) != transfer) std::abort();
  } catch (const crossover::Error& error) {
    if (error.code() != crossover::ErrorCode::format) std::abort();
  }
  return 0;
}
