#include "model/authorized_keys.hpp"

#include <algorithm>

#include "model/public_key.hpp"
#include "model/text.hpp"

namespace crossover {

namespace {

bool is_blank(char c) noexcept {
  return c == ' ' || c == '\t';
}

std::string_view without_blanks(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  return text;
}

std::string_view take_word(std::string_view& text) {
  text = without_blanks(text);
  const auto end = std::find_if(text.begin(), text.end(), is_blank);
  const std::string_view word = text.substr(0, static_cast<std::size_t>(end - text.begin()));
  text.remove_prefix(word.size());
  return word;
}

/// Where the options end: at the first blank outside quotes. As sshkey_advance_past_options() has it; nothing where
/// a quote does not end.
std::optional<std::size_t> end_of_options(std::string_view line) {
  bool quoted = false;
  std::size_t at = 0;
  for (; at < line.size() && (quoted || !is_blank(line[at])); ++at) {
    if (line[at] == '\\' && at + 1 < line.size() && line[at + 1] == '"') {
      ++at;
    } else if (line[at] == '"') {
      quoted = !quoted;
    }
  }
  return quoted ? std::nullopt : std::optional(at);
}

/// As opt_dequote() has it: \" is a quote, and no other backslash is more than itself. Takes the quoted text from
/// `text`; nothing if it does not end.
std::optional<std::string> take_quoted(std::string_view& text) {
  std::string value;
  for (std::size_t at = 1; at < text.size(); ++at) {
    if (text[at] == '"') {
      text.remove_prefix(at + 1);
      return value;
    }
    if (text[at] == '\\' && at + 1 < text.size() && text[at + 1] == '"') ++at;
    value += text[at];
  }
  return std::nullopt;
}

std::optional<std::vector<KeyOption>> parse_options(std::string_view text) {
  std::vector<KeyOption> options;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of("=,"), text.size());
    KeyOption& option = options.emplace_back();
    option.name = text::lower(text.substr(0, end));
    text.remove_prefix(end);
    if (text.starts_with('=')) {
      text.remove_prefix(1);
      if (!text.starts_with('"')) return std::nullopt;
      option.value = take_quoted(text);
      if (!option.value) return std::nullopt;
    }
    if (text.empty()) break;
    if (text.front() != ',') return std::nullopt;
    text.remove_prefix(1);
    if (text.empty()) return std::nullopt;
  }
  return options;
}

}  // namespace

std::optional<std::string> KeyLine::value(std::string_view option) const {
  const auto found =
      std::find_if(options.begin(), options.end(), [option](const KeyOption& own) { return own.name == option; });
  return found == options.end() ? std::nullopt : found->value;
}

bool KeyLine::has(std::string_view option) const {
  return count(option) > 0;
}

std::size_t KeyLine::count(std::string_view option) const {
  return static_cast<std::size_t>(
      std::count_if(options.begin(), options.end(), [option](const KeyOption& own) { return own.name == option; }));
}

std::optional<KeyLine> parse_key_line(std::string_view line) {
  line = without_blanks(text::trim_right(line));
  if (line.empty() || line.front() == '#') return std::nullopt;
  KeyLine key;
  std::string_view rest = line;
  if (!is_key_type(take_word(rest))) {
    const auto end = end_of_options(line);
    if (!end) return std::nullopt;
    auto options = parse_options(line.substr(0, *end));
    if (!options) return std::nullopt;
    key.options = *std::move(options);
    line.remove_prefix(*end);
  }
  key.type = take_word(line);
  key.base64 = take_word(line);
  key.comment = without_blanks(line);
  if (!is_key_type(key.type) || key.base64.empty()) return std::nullopt;
  return key;
}

}  // namespace crossover
