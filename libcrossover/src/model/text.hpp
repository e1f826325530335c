/// \file
/// Small text helpers of the model, with the meaning Perl gives them on bytes: Proxmox VE is written in it.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crossover::text {

/// Perl's \s on bytes.
inline bool is_space(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

inline bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
inline bool is_lower(char c) noexcept {
  return c >= 'a' && c <= 'z';
}
inline bool is_upper(char c) noexcept {
  return c >= 'A' && c <= 'Z';
}
inline bool is_alpha(char c) noexcept {
  return is_lower(c) || is_upper(c);
}
inline bool is_alnum(char c) noexcept {
  return is_alpha(c) || is_digit(c);
}
inline char to_lower(char c) noexcept {
  return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c;
}

inline std::string lower(std::string_view s) {
  std::string result(s);
  std::transform(result.begin(), result.end(), result.begin(), to_lower);
  return result;
}

inline bool equals_ignore_case(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return to_lower(x) == to_lower(y); });
}

inline bool all_space(std::string_view s) noexcept {
  return std::all_of(s.begin(), s.end(), is_space);
}
inline bool all_digits(std::string_view s) noexcept {
  return !s.empty() && std::all_of(s.begin(), s.end(), is_digit);
}

inline std::string_view trim_right(std::string_view s) noexcept {
  while (!s.empty() && is_space(s.back())) {
    s.remove_suffix(1);
  }
  return s;
}

inline std::string_view trim(std::string_view s) noexcept {
  while (!s.empty() && is_space(s.front())) {
    s.remove_prefix(1);
  }
  return trim_right(s);
}

/// All parts between separators, empty ones too; one part if there is no separator.
inline std::vector<std::string_view> split(std::string_view s, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = s.find(separator);
    parts.push_back(s.substr(0, at));
    if (at == std::string_view::npos) {
      return parts;
    }
    s.remove_prefix(at + 1);
  }
}

/// Lines as one: what stood on a line of its own follows behind "; ", or behind the ":" that announces it.
inline std::string one_line(std::string_view s) {
  std::string line;
  for (const std::string_view part : split(s, '\n')) {
    const std::string_view trimmed = trim(part);
    if (trimmed.empty()) {
      continue;
    }
    line += line.empty() ? "" : line.back() == ':' ? " " : "; ";
    line += trimmed;
  }
  return line;
}

/// PVE's split_list: parts between ',', ';' and white space, without empty ones.
inline std::vector<std::string_view> split_list(std::string_view s) {
  const auto separates = [](char c) { return c == ',' || c == ';' || is_space(c); };
  std::vector<std::string_view> parts;
  std::size_t i = 0;
  while (i < s.size()) {
    if (separates(s[i])) {
      ++i;
      continue;
    }
    const std::size_t begin = i;
    while (i < s.size() && !separates(s[i])) {
      ++i;
    }
    parts.push_back(s.substr(begin, i - begin));
  }
  return parts;
}

/// Plain digits as a number; nothing for anything else or what does not fit.
inline std::optional<std::uint64_t> to_uint64(std::string_view s) noexcept {
  if (!all_digits(s)) {
    return std::nullopt;
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (error != std::errc() || end != s.data() + s.size()) {
    return std::nullopt;
  }
  return value;
}

/// PVE's storage id, and the first part of a volume id: [a-z][a-z0-9-_.]*[a-z0-9], upper case too.
inline bool is_storage_id(std::string_view s) noexcept {
  return s.size() >= 2 && is_alpha(s.front()) && is_alnum(s.back()) &&
         std::all_of(s.begin(), s.end(), [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; });
}

/// PVE's configuration id, such as a snapshot's name: [a-z][a-z0-9_-]+, upper case too.
inline bool is_config_id(std::string_view s) noexcept {
  return s.size() >= 2 && is_alpha(s.front()) &&
         std::all_of(s.begin(), s.end(), [](char c) { return is_alnum(c) || c == '-' || c == '_'; });
}

/// Labels of letters, digits and inner '-', joined by '.'.
inline bool is_dns_name(std::string_view s) {
  const auto labels = split(s, '.');
  return std::all_of(labels.begin(), labels.end(), [](std::string_view label) {
    return !label.empty() && is_alnum(label.front()) && is_alnum(label.back()) &&
           std::all_of(label.begin(), label.end(), [](char c) { return is_alnum(c) || c == '-'; });
  });
}

}  // namespace crossover::text
