/// \file
/// Integers as the rbd formats write them.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace crossover::stream {

/// Appends an integer, least significant byte first.
template <std::unsigned_integral Integer>
void append_little_endian(std::string& out, Integer value) {
  for (std::size_t byte = 0; byte < sizeof(Integer); ++byte) {
    out.push_back(static_cast<char>(static_cast<unsigned char>(value >> (8 * byte))));
  }
}

/// Reads an integer from the first bytes of `in`, which must be long enough.
template <std::unsigned_integral Integer>
Integer read_little_endian(std::string_view in) {
  Integer value = 0;
  for (std::size_t byte = 0; byte < sizeof(Integer); ++byte) {
    value |= static_cast<Integer>(static_cast<Integer>(static_cast<unsigned char>(in[byte])) << (8 * byte));
  }
  return value;
}

}  // namespace crossover::stream
