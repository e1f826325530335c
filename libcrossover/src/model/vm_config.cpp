#include "crossover/vm_config.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "crossover/drive.hpp"
#include "crossover/error.hpp"
#include "text.hpp"
#include "vm_schema.hpp"

namespace crossover {

namespace {

/// A "key: value" line taken apart; offsets are into the line.
struct KeyValue {
  std::string_view key;
  std::size_t value_begin = 0;
  std::size_t value_end = 0;
};

/// [a-z][a-z_-]*\d* at the start; its length, 0 if there is none.
std::size_t key_length(std::string_view line) {
  if (line.empty() || !text::is_lower(line.front())) {
    return 0;
  }
  std::size_t i = 1;
  while (i < line.size() && (text::is_lower(line[i]) || line[i] == '_' || line[i] == '-')) {
    ++i;
  }
  while (i < line.size() && text::is_digit(line[i])) {
    ++i;
  }
  return i;
}

/// key:\s*(.+?)\s* - a value of nothing but white space is its last character, as the pattern has it.
std::optional<KeyValue> split_key_value(std::string_view line) {
  const std::size_t length = key_length(line);
  if (length == 0 || length + 1 >= line.size() || line[length] != ':') {
    return std::nullopt;
  }
  KeyValue result{line.substr(0, length), length + 1, line.size()};
  while (result.value_end > result.value_begin + 1 && text::is_space(line[result.value_end - 1])) {
    --result.value_end;
  }
  if (text::all_space(line.substr(result.value_begin))) {
    return KeyValue{result.key, line.size() - 1, line.size()};
  }
  while (text::is_space(line[result.value_begin])) {
    ++result.value_begin;
  }
  return result;
}

struct Header {
  VmSectionKind kind;
  std::string name;
};

std::optional<Header> parse_header(std::string_view line) {
  if (!line.starts_with('[')) {
    return std::nullopt;
  }
  line = text::trim_right(line);
  if (line.size() < 2 || line.back() != ']') {
    return std::nullopt;
  }
  const std::string_view name = line.substr(1, line.size() - 2);
  if (name.find(']') != std::string_view::npos) {
    return std::nullopt;
  }
  if (text::equals_ignore_case(name, "PENDING")) {
    return Header{VmSectionKind::pending, {}};
  }
  for (const std::string_view special : {"cloudinit", "fleecing"}) {
    if (text::equals_ignore_case(name, fmt::format("special:{}", special))) {
      return Header{VmSectionKind::special, std::string(special)};
    }
  }
  return Header{text::is_config_id(name) ? VmSectionKind::snapshot : VmSectionKind::unknown, std::string(name)};
}

/// The value of snapstate, wherever in the line it stands: PVE's pattern is not anchored at the start.
std::optional<std::string_view> parse_snapstate(std::string_view line) {
  constexpr std::string_view key = "snapstate:";
  const auto at = line.find(key);
  if (at == std::string_view::npos) {
    return std::nullopt;
  }
  const std::string_view value = text::trim(line.substr(at + key.size()));
  return value == "prepare" || value == "delete" ? std::optional(value) : std::nullopt;
}

std::string_view canonical_key(std::string_view key) {
  return key == "cdrom" ? std::string_view("ide2") : key;
}

int hex_digit(char c) {
  if (text::is_digit(c)) {
    return c - '0';
  }
  const char l = text::to_lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

/// Reads the lines of all sections, as qemu-server's parse_vm_config does.
class Reader {
 public:
  Reader() { sections.emplace_back(); }

  void read_line(std::string_view line, std::size_t number) {
    if (text::all_space(line)) {
      return;
    }
    if (auto header = parse_header(line)) {
      begin_section(*std::move(header), number);
      return;
    }
    VmConfigSection& section = sections.back();
    if (section.kind == VmSectionKind::unknown) {
      return;
    }
    if (line.starts_with('#')) {
      description_ = description_.value_or("") + decode_description_line(line.substr(1)) + "\n";
      return;
    }
    read_entry(section, line, number);
  }

  void finish_description() {
    if (description_) {
      sections.back().description = std::string(text::trim_right(*description_));
      description_.reset();
    }
  }

  std::vector<VmConfigSection> sections;
  std::vector<VmConfigWarning> warnings;

 private:
  void begin_section(Header header, std::size_t number) {
    finish_description();
    const bool repeated = std::any_of(sections.begin(), sections.end(), [&](const VmConfigSection& s) {
      return s.kind == header.kind && s.name == header.name;
    });
    if (header.kind == VmSectionKind::unknown) {
      warnings.push_back({number, {}, fmt::format("skipping unknown section: '{}'", header.name)});
    } else if (repeated) {
      warnings.push_back({number, {}, repeated_section(header)});
    }
    VmConfigSection section;
    section.kind = header.kind;
    section.name = std::move(header.name);
    sections.push_back(std::move(section));
  }

  static std::string repeated_section(const Header& header) {
    switch (header.kind) {
      case VmSectionKind::pending:
        return "duplicate section: pending";
      case VmSectionKind::special:
        return fmt::format("duplicate special section: {}", header.name);
      default:
        return fmt::format("duplicate snapshot section: {}", header.name);
    }
  }

  void read_entry(VmConfigSection& section, std::string_view line, std::size_t number) {
    const auto pair = split_key_value(line);
    const std::string_view value =
        pair ? line.substr(pair->value_begin, pair->value_end - pair->value_begin) : std::string_view();
    const bool has_text = pair && !text::all_space(value);
    if (has_text && pair->key == "description") {
      description_ = description_.value_or("") + decode_description_line(value);
      section.entries.push_back({"description", std::string(value), number, false});
    } else if (const auto state = parse_snapstate(line)) {
      // In the main section PVE forgets it at once.
      section.entries.push_back({"snapstate", std::string(*state), number, section.kind == VmSectionKind::main});
    } else if (has_text && pair->key == "args") {
      section.entries.push_back({"args", std::string(value), number, false});
    } else if (has_text && pair->key == "delete") {
      const bool dropped = section.kind != VmSectionKind::pending;
      section.entries.push_back({"delete", std::string(value), number, dropped});
      if (dropped) {
        warnings.push_back({number, "delete", "property 'delete' is only allowed in [PENDING]"});
      }
    } else if (pair) {
      read_checked_entry(section, pair->key, value, number);
    } else {
      warnings.push_back({number, {}, fmt::format("unable to parse config: {}", line)});
    }
  }

  void read_checked_entry(VmConfigSection& section, std::string_view key, std::string_view value,
                          std::size_t number) {
    if (section.kind == VmSectionKind::special && section.name == "cloudinit") {
      section.entries.push_back({std::string(key), std::string(value), number, false});  // PVE checks nothing here
      return;
    }
    CheckedValue checked =
        section.kind == VmSectionKind::special ? check_fleecing_value(key, value) : check_vm_value(key, value);
    if (!checked.accepted || checked.newer) {
      warnings.push_back(
          {number, std::string(key), fmt::format("unable to parse value of '{}' - {}", key, checked.error)});
    }
    section.entries.push_back({std::string(canonical_key(key)),
                               checked.accepted ? std::move(checked.value) : std::string(value), number,
                               !checked.accepted, checked.newer});
  }

  std::optional<std::string> description_;
};

void require_line_value(std::string_view key, std::string_view value) {
  if (value.empty() || value.find_first_of("\r\n") != std::string_view::npos || text::trim(value) != value) {
    throw Error(ErrorCode::usage, "set", std::string(key), "the value cannot stand in a line of a configuration");
  }
}

}  // namespace

/// A line of the file; offsets into the bytes.
struct VmConfig::Line {
  std::size_t begin = 0;
  std::size_t end = 0;       ///< end of what PVE reads: before '\n', but after a '\r'
  std::size_t text_end = 0;  ///< end of the text: before "\n" or "\r\n"
  std::size_t next = 0;      ///< begin of the next line
  std::size_t section = 0;   ///< index into sections_
  bool header = false;
};

std::optional<std::string> VmConfigSection::get(std::string_view key) const {
  const std::string_view wanted = canonical_key(key);
  const auto found = std::find_if(entries.rbegin(), entries.rend(),
                                  [&](const VmConfigEntry& e) { return !e.dropped && e.key == wanted; });
  return found == entries.rend() ? std::nullopt : std::optional(found->value);
}

std::vector<std::string> VmConfigSection::keys() const {
  std::vector<std::string> result;
  for (const VmConfigEntry& entry : entries) {
    if (!entry.dropped && std::find(result.begin(), result.end(), entry.key) == result.end()) {
      result.push_back(entry.key);
    }
  }
  return result;
}

VmConfig::VmConfig() {
  assign({});
}

VmConfig parse_vm_config(std::string bytes) {
  VmConfig config;
  config.assign(std::move(bytes));
  return config;
}

void VmConfig::assign(std::string bytes) {
  bytes_ = std::move(bytes);
  Reader reader;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < bytes_.size();) {
    const auto end = std::min(bytes_.find('\n', begin), bytes_.size());
    reader.read_line(std::string_view(bytes_).substr(begin, end - begin), ++number);
    begin = end + 1;
  }
  reader.finish_description();
  sections_ = std::move(reader.sections);
  warnings_ = std::move(reader.warnings);
}

std::vector<VmConfig::Line> VmConfig::lines() const {
  std::vector<Line> result;
  std::size_t section = 0;
  for (std::size_t begin = 0; begin < bytes_.size();) {
    Line line;
    line.begin = begin;
    line.end = std::min(bytes_.find('\n', begin), bytes_.size());
    line.next = std::min(line.end + 1, bytes_.size());
    line.text_end =
        line.end > begin && line.end < bytes_.size() && bytes_[line.end - 1] == '\r' ? line.end - 1 : line.end;
    line.header = parse_header(std::string_view(bytes_).substr(begin, line.end - begin)).has_value();
    section += line.header ? 1 : 0;
    line.section = section;
    begin = line.next;
    result.push_back(line);
  }
  return result;
}

std::string VmConfig::digest() const {
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  unsigned length = 0;
  if (EVP_Digest(bytes_.data(), bytes_.size(), hash.data(), &length, EVP_sha1(), nullptr) != 1) {
    throw Error(ErrorCode::unsupported, "SHA1", "configuration", "the crypto library refuses it");
  }
  std::string hex;
  for (unsigned i = 0; i < length; ++i) {
    hex += fmt::format("{:02x}", hash[i]);
  }
  return hex;
}

std::optional<std::string> VmConfig::get(std::string_view key) const {
  return main().get(key);
}

bool VmConfig::flag(std::string_view key, bool fallback) const {
  const auto value = get(key);
  return value ? parse_pve_boolean(*value).value_or(fallback) : fallback;
}

void VmConfig::set(std::string_view key, std::string_view value) {
  if (key.empty() || key_length(key) != key.size()) {
    throw Error(ErrorCode::usage, "set", std::string(key), "no key of a configuration");
  }
  require_line_value(key, value);
  const auto all = lines();

  // The line that counts: the last PVE accepts, or else the last it drops.
  const VmConfigEntry* target = nullptr;
  for (const VmConfigEntry& entry : main().entries) {
    if (entry.key == canonical_key(key) && (target == nullptr || target->dropped || !entry.dropped)) {
      target = &entry;
    }
  }
  if (target != nullptr) {
    const Line& line = all[target->line - 1];
    const auto pair = split_key_value(std::string_view(bytes_).substr(line.begin, line.end - line.begin));
    if (pair) {
      std::string changed = bytes_;
      const bool blank = text::all_space(
          std::string_view(bytes_).substr(line.begin + pair->value_begin, pair->value_end - pair->value_begin));
      const std::size_t begin = blank ? line.text_end : line.begin + pair->value_begin;
      const std::size_t end = blank ? line.text_end : line.begin + pair->value_end;
      changed.replace(begin, end - begin, value);
      assign(std::move(changed));
      return;
    }
  }

  // Append behind the last line of the main section that is not blank.
  std::size_t at = 0;
  const Line* previous = nullptr;
  for (const Line& line : all) {
    if (line.section != 0) {
      break;
    }
    if (!text::all_space(std::string_view(bytes_).substr(line.begin, line.end - line.begin))) {
      at = line.next;
      previous = &line;
    }
  }
  const bool crlf = !all.empty() && all.front().text_end != all.front().end;
  const std::string_view ending = crlf ? "\r\n" : "\n";
  std::string line = fmt::format("{}: {}", key, value);
  if (previous != nullptr && previous->end == bytes_.size()) {
    line.insert(0, ending);  // the file had no final newline, and still has none
  } else {
    line += ending;
  }
  std::string changed = bytes_;
  changed.insert(at, line);
  assign(std::move(changed));
}

bool VmConfig::remove(std::string_view key) {
  const auto all = lines();
  std::string changed = bytes_;
  bool found = false;
  const auto& entries = main().entries;
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (entry->key == canonical_key(key)) {
      const Line& line = all[entry->line - 1];
      changed.erase(line.begin, line.next - line.begin);
      found = true;
    }
  }
  if (found) {
    assign(std::move(changed));
  }
  return found;
}

std::string VmConfig::display_name(std::uint64_t vmid) const {
  return name().value_or(fmt::format("VM {}", vmid));
}

std::set<std::string, std::less<>> VmConfig::tags() const {
  std::set<std::string, std::less<>> result;
  const std::string value = get("tags").value_or("");
  for (const std::string_view tag : text::split_list(value)) {
    result.emplace(tag);
  }
  return result;
}

bool VmConfig::has_tag(std::string_view tag, bool case_sensitive) const {
  const auto all = tags();
  return std::any_of(all.begin(), all.end(), [&](const std::string& t) {
    return case_sensitive ? t == tag : text::equals_ignore_case(t, tag);
  });
}

const VmConfigSection* VmConfig::section(VmSectionKind kind, std::string_view name) const noexcept {
  const auto found = std::find_if(sections_.rbegin(), sections_.rend(),
                                  [&](const VmConfigSection& s) { return s.kind == kind && s.name == name; });
  return found == sections_.rend() ? nullptr : &*found;
}

std::vector<std::string> VmConfig::snapshot_names() const {
  std::vector<std::string> names;
  for (const VmConfigSection& section : sections_) {
    if (section.kind == VmSectionKind::snapshot &&
        std::find(names.begin(), names.end(), section.name) == names.end()) {
      names.push_back(section.name);
    }
  }
  return names;
}

bool VmConfig::remove_section(VmSectionKind kind, std::string_view name) {
  if (kind == VmSectionKind::main) {
    throw Error(ErrorCode::usage, "remove section", "main", "a configuration always has one");
  }
  // The blank lines in front of a header belong to it: that is where PVE writes them.
  std::string kept;
  std::string blank;
  bool removing = false;
  bool found = false;
  for (const Line& line : lines()) {
    const std::string_view whole = std::string_view(bytes_).substr(line.begin, line.next - line.begin);
    if (line.header) {
      const VmConfigSection& section = sections_[line.section];
      removing = section.kind == kind && section.name == name;
      found = found || removing;
    } else if (text::all_space(whole)) {
      blank += whole;
      continue;
    }
    if (!removing) {
      kept += blank;
      kept += whole;
    }
    blank.clear();
  }
  if (!removing) {
    kept += blank;
  }
  if (found) {
    assign(std::move(kept));
  }
  return found;
}

bool VmConfig::keep_only_main() {
  if (sections_.size() == 1) {
    return false;
  }
  std::size_t end = 0;
  for (const Line& line : lines()) {
    if (line.section != 0) {
      break;
    }
    if (!text::all_space(std::string_view(bytes_).substr(line.begin, line.next - line.begin))) {
      end = line.next;
    }
  }
  assign(bytes_.substr(0, end));
  return true;
}

std::vector<std::string> VmConfig::main_lines() const {
  std::vector<std::string> result;
  for (const Line& line : lines()) {
    if (line.section == 0) {
      result.push_back(bytes_.substr(line.begin, line.text_end - line.begin));
    }
  }
  return result;
}

void VmConfig::replace_main_lines(const std::vector<std::string>& replacement) {
  const auto all = lines();
  const auto count = static_cast<std::size_t>(
      std::count_if(all.begin(), all.end(), [](const Line& line) { return line.section == 0; }));
  if (replacement.size() != count) {
    throw Error(ErrorCode::usage, "replace lines", "main section",
                fmt::format("{} lines in place of {}", replacement.size(), count));
  }
  std::string changed;
  for (std::size_t i = 0; i < count; ++i) {
    const Line& line = all[i];
    if (replacement[i].find('\n') != std::string::npos) {
      throw Error(ErrorCode::usage, "replace lines", fmt::format("line {}", i + 1), "it has a line break");
    }
    if (parse_header(replacement[i])) {
      throw Error(ErrorCode::usage, "replace lines", fmt::format("line {}", i + 1),
                  fmt::format("'{}' would begin a section", replacement[i]));
    }
    changed += replacement[i];
    changed += std::string_view(bytes_).substr(line.text_end, line.next - line.text_end);
  }
  changed += std::string_view(bytes_).substr(count == all.size() ? bytes_.size() : all[count].begin);
  assign(std::move(changed));
}

std::string to_string(const VmConfigWarning& warning, std::uint64_t vmid) {
  return fmt::format("vm {} - {}", vmid, warning.reason);
}

std::string decode_description_line(std::string_view encoded) {
  std::string result;
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    if (encoded[i] == '%' && i + 2 < encoded.size()) {
      const int high = hex_digit(encoded[i + 1]);
      const int low = hex_digit(encoded[i + 2]);
      if (high >= 0 && low >= 0) {
        result += static_cast<char>(high * 16 + low);
        i += 2;
        continue;
      }
    }
    result += encoded[i];
  }
  return result;
}

std::string encode_description_line(std::string_view plain) {
  std::string result;
  for (const char c : plain) {
    if (c >= 0x20 && c <= 0x7e && c != '%' && c != ':') {
      result += c;
    } else {
      result += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return result;
}

}  // namespace crossover
