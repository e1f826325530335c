#include "model/ceph_key.hpp"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace crossover {

namespace {

constexpr std::string_view base64_alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r\"";
  const std::size_t begin = text.find_first_not_of(blank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

/// The first 16 bits of what is written in base64.
std::optional<std::uint16_t> first_number(std::string_view key) {
  constexpr std::size_t needed = 3;
  if (key.size() < needed) return std::nullopt;
  std::array<std::size_t, needed> value{};
  for (std::size_t index = 0; index < needed; ++index) {
    value[index] = base64_alphabet.find(key[index]);
    if (value[index] == std::string_view::npos) return std::nullopt;
  }
  const std::size_t low = value[0] << 2U | value[1] >> 4U;
  const std::size_t high = (value[1] & 0xFU) << 4U | value[2] >> 2U;
  return static_cast<std::uint16_t>(low | high << 8U);
}

}  // namespace

std::string key_type(std::string_view key) {
  const std::optional<std::uint16_t> number = first_number(key);
  if (!number) return {};
  if (*number == 1) return "aes";
  if (*number == 2) return "aes256k";
  return fmt::format("of type {}", *number);
}

std::string key_type_in(std::string_view keyring, std::string_view entity) {
  bool is_of_entity = false;
  while (!keyring.empty()) {
    const std::size_t end = keyring.find('\n');
    const std::string_view line = trimmed(keyring.substr(0, end));
    keyring.remove_prefix(end == std::string_view::npos ? keyring.size() : end + 1);
    if (line.starts_with('[')) {
      is_of_entity = line.size() > 2 && line.ends_with(']') && line.substr(1, line.size() - 2) == entity;
      continue;
    }
    const std::size_t equals = line.find('=');
    if (!is_of_entity || equals == std::string_view::npos || trimmed(line.substr(0, equals)) != "key") continue;
    return key_type(trimmed(line.substr(equals + 1)));
  }
  return {};
}

std::string unreadable_key(std::string_view type) {
  if (type.empty() || type == "aes") return {};
  return fmt::format("its key is {}{}, which the Ceph of this host cannot read{}: update Ceph's packages here, or "
                     "give the user a key of type aes",
                     type.starts_with("of type ") ? "" : "of type ", type,
                     type == "aes256k" ? " if it is older than 19.2.6 or 20.2.4" : "");
}

}  // namespace crossover
