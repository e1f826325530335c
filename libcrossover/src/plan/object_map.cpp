#include "plan/object_map.hpp"

#include <cstddef>

#include "crossover/error.hpp"
#include "stream/little_endian.hpp"

namespace crossover {

namespace {

constexpr std::size_t length_bytes = 4;
// The version of the encoding, the oldest that can read it, and its length.
constexpr std::size_t versions_bytes = 1 + 1 + 4;
constexpr std::size_t header_bytes = versions_bytes + 8;

}  // namespace

ObjectMap ObjectMap::parse(std::string_view bytes) {
  const auto refuse = [] { return Error(ErrorCode::format, "read", "object map", "it is cut short, or none"); };
  if (bytes.size() < length_bytes) throw refuse();
  const auto length = stream::read_little_endian<std::uint32_t>(bytes);
  bytes.remove_prefix(length_bytes);
  // A later encoding may have more behind the size.
  if (length < header_bytes || bytes.size() < length) throw refuse();
  constexpr unsigned char known = 1;
  if (static_cast<unsigned char>(bytes[1]) > known) {
    throw Error(ErrorCode::unsupported, "read", "object map",
                "its encoding is newer than this version of crossover");
  }
  const auto size = stream::read_little_endian<std::uint64_t>(bytes.substr(versions_bytes));
  bytes.remove_prefix(length);
  const std::uint64_t packed = size / 4 + (size % 4 == 0 ? 0 : 1);
  if (bytes.size() < packed) throw refuse();
  // Checksums follow, which the OSD has checked.
  return {size, std::string(bytes.substr(0, packed))};
}

}  // namespace crossover
