/// \file
/// The lines of authorized_keys as sshd reads them (sshd(8), AUTHORIZED_KEYS FILE FORMAT; auth2-pubkeyfile.c and
/// auth-options.c of OpenSSH 9).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// One option before a key.
struct KeyOption {
  std::string name;                  ///< in lower case, in which sshd compares it
  std::optional<std::string> value;  ///< without its quotes, and with \" as "; nothing: it has none

  bool operator==(const KeyOption&) const = default;
};

/// A line that has a key.
struct KeyLine {
  std::vector<KeyOption> options;
  std::string type;
  std::string base64;
  std::string comment;

  bool operator==(const KeyLine&) const = default;

  /// The value of the first option of that name; nothing if there is none, or it has no value.
  [[nodiscard]] std::optional<std::string> value(std::string_view option) const;
  [[nodiscard]] bool has(std::string_view option) const;
  [[nodiscard]] std::size_t count(std::string_view option) const;
};

/// Reads one line, without the newline. Nothing for one that sshd steps over: blank, a comment, or what has no key
/// where one is to be, such as behind a quote that does not end.
std::optional<KeyLine> parse_key_line(std::string_view line);

}  // namespace crossover
