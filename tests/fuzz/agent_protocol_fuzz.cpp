// Any bytes either throw Error{format} or are a transfer that can be sent again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "crossover/error.hpp"
#include "fuzz/repaired_stream.hpp"
#include "unit/stream/recorded_transfer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
  using namespace crossover::test;
  if (count == 0) return 0;
  // The first byte says how the rest is cut into pieces, small or large ones, and whether its checks are made to
  // fit.
  const std::size_t piece_bytes = (std::size_t{bytes[0] & 0x3fU} + 1) << ((bytes[0] & 0x40U) != 0 ? 12 : 0);
  std::string stream(reinterpret_cast<const char*>(bytes) + 1, count - 1);
  if ((bytes[0] & 0x80U) != 0) stream = repaired(stream);
  // Few bytes can stand for many zeroes.
  constexpr std::uint64_t most_bytes = 16U << 20;
  try {
    const Transfer transfer = read_transfer(stream, piece_bytes, most_bytes);
    if (read_transfer(greeting() + render_transfer(transfer), 4096) != transfer) std::abort();
  } catch (const crossover::Error& error) {
    if (error.code() != crossover::ErrorCode::format) std::abort();
  }
  return 0;
}
