/// \file
/// The configuration of a VM, /etc/pve/nodes/<node>/qemu-server/<vmid>.conf, read and written without any loss.
///
/// The grammar is that of qemu-server's parse_vm_config, up to version 9.2: blank lines mean nothing, `[...]`
/// begins a section, `#` lines are the description, `key: value` lines must be known and of the right type, or else
/// PVE drops them with a warning - and the next thing that makes PVE write the file deletes them. A line that names
/// a guest's volume is an exception: what is unknown about it may be known to a newer PVE, and its disk counts here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// What a section of a VM's configuration is.
enum class VmSectionKind {
  main,      ///< the VM as it is
  pending,   ///< [PENDING]: changes that wait for the next start
  special,   ///< [special:cloudinit], [special:fleecing]
  snapshot,  ///< [name]: the configuration at one of PVE's own snapshots
  unknown,   ///< a header PVE does not know; it skips every line up to the next header
};

/// One `key: value` line.
struct VmConfigEntry {
  std::string key;       ///< `ide2` for a line that says `cdrom`
  std::string value;     ///< as PVE keeps it: white space around it gone, booleans as "1" and "0"
  std::size_t line = 0;  ///< number of the line in the file, from 1
  bool dropped = false;  ///< PVE does not accept the line; `value` is then as written
  bool newer = false;    ///< PVE 9.2 does not accept the line, but it names a volume that can be read, and counts

  bool operator==(const VmConfigEntry&) const = default;
};

/// One line or section PVE 9.2 would warn of and drop.
struct VmConfigWarning {
  std::size_t line = 0;  ///< number of the line in the file, from 1
  std::string key;       ///< empty if the line has none
  std::string reason;    ///< PVE's text without its "vm <id> - "

  bool operator==(const VmConfigWarning&) const = default;
};

/// A view of one section, as a value.
struct VmConfigSection {
  VmSectionKind kind = VmSectionKind::main;
  std::string name;                        ///< of the snapshot or special section, else empty
  std::vector<VmConfigEntry> entries;      ///< all lines with a key, in order, dropped and repeated ones too
  std::optional<std::string> description;  ///< decoded, UTF-8, lines joined by '\n'; nothing if there is none

  /// The value that counts: that of the last line that is not dropped. Nothing if there is none.
  [[nodiscard]] std::optional<std::string> get(std::string_view key) const;

  /// Each key with an accepted line once, in the order of first appearance.
  [[nodiscard]] std::vector<std::string> keys() const;

  bool operator==(const VmConfigSection&) const = default;
};

/// A VM's configuration: the file's bytes, and what PVE reads in them. Changes touch only the lines they are about.
/// Two configurations are equal if their bytes are.
class VmConfig {
 public:
  /// An empty file; a valid VM.
  VmConfig();

  /// The file's bytes, exactly as read where nothing was changed.
  [[nodiscard]] const std::string& to_bytes() const noexcept { return bytes_; }

  /// SHA1 of the bytes in hex, PVE's own "digest" against concurrent changes.
  [[nodiscard]] std::string digest() const;

  /// What PVE 9.2 would drop, in the order of the lines; those that count all the same (`newer`) included.
  [[nodiscard]] const std::vector<VmConfigWarning>& warnings() const noexcept { return warnings_; }

  // The main section. Keys are PVE's; `cdrom` and `ide2` are one.

  /// The value that counts. Nothing if the key is absent or every line with it would be dropped.
  [[nodiscard]] std::optional<std::string> get(std::string_view key) const;

  /// A boolean key; `fallback` if absent.
  [[nodiscard]] bool flag(std::string_view key, bool fallback) const;

  /// Keys with an accepted line, in the order of first appearance.
  [[nodiscard]] std::vector<std::string> keys() const { return main().keys(); }

  /// Replaces the value of the line that counts (its key, white space and line ending stay); if there is none,
  /// appends a line to the main section, before the blank line in front of the first section.
  /// Whether PVE would accept the value shows in warnings(). Throws Error(usage) if key or value cannot stand in a
  /// line: a key is [a-z][a-z_-]*[0-9]*, a value is not empty, has no line break and no white space at its ends.
  void set(std::string_view key, std::string_view value);

  /// Removes every line with this key from the main section; true if there was one.
  bool remove(std::string_view key);

  /// The description (the `#` lines and `description:`), decoded.
  [[nodiscard]] std::optional<std::string> description() const { return main().description; }

  /// The VM's name; nothing if it has none.
  [[nodiscard]] std::optional<std::string> name() const { return get("name"); }

  /// The name, or "VM <id>" as PVE's tools show a VM without one.
  [[nodiscard]] std::string display_name(std::uint64_t vmid) const;

  /// The tags, split at ',', ';' and white space. PVE stores them in lower case unless told otherwise; they are
  /// exact strings here. See has_tag() for comparison.
  [[nodiscard]] std::set<std::string, std::less<>> tags() const;

  /// True if the VM has exactly this tag. Upper and lower case are one unless `case_sensitive`, which is what
  /// `tag-style: case-sensitive=1` in datacenter.cfg asks for.
  [[nodiscard]] bool has_tag(std::string_view tag, bool case_sensitive = false) const;

  // Sections.

  /// The main section.
  [[nodiscard]] const VmConfigSection& main() const noexcept { return sections_.front(); }

  /// All sections in the order of the file, the main section first; it is there even in an empty file.
  [[nodiscard]] const std::vector<VmConfigSection>& sections() const noexcept { return sections_; }

  /// The section PVE would use: the last of that kind and name. Pending has no name. Null if there is none; valid
  /// until the configuration changes.
  [[nodiscard]] const VmConfigSection* section(VmSectionKind kind, std::string_view name = {}) const noexcept;

  /// Names of the snapshots PVE knows, each once, in the order of the file.
  [[nodiscard]] std::vector<std::string> snapshot_names() const;

  /// Removes every section of that kind and name, with its header and the blank lines in front of it; true if there
  /// was one. The main section cannot be removed: Error(usage).
  bool remove_section(VmSectionKind kind, std::string_view name = {});

  /// Drops everything but the main section; true if there was anything.
  bool keep_only_main();

  /// The main section's text, line by line without line endings, for rules that work on text.
  [[nodiscard]] std::vector<std::string> main_lines() const;

  /// Puts lines in place of the main section's; each keeps the line ending of the one it replaces. As many lines as
  /// main_lines() returned, else Error(usage); so is a line with a line break or one that reads as a section
  /// header.
  void replace_main_lines(const std::vector<std::string>& lines);

  bool operator==(const VmConfig& other) const noexcept { return bytes_ == other.bytes_; }

 private:
  friend VmConfig parse_vm_config(std::string bytes);

  struct Line;

  [[nodiscard]] std::vector<Line> lines() const;
  void assign(std::string bytes);

  std::string bytes_;
  std::vector<VmConfigSection> sections_;
  std::vector<VmConfigWarning> warnings_;
};

/// Reads a configuration. Never fails: odd lines are kept and reported by warnings().
VmConfig parse_vm_config(std::string bytes);

/// A warning as PVE prints it: "vm 104 - unable to parse value of 'x' - unknown setting 'x'".
std::string to_string(const VmConfigWarning& warning, std::uint64_t vmid);

/// Percent-decodes one description line, as PVE's decode_text does.
std::string decode_description_line(std::string_view text);

/// Encodes one description line: everything but 0x20 to 0x7e, and '%' and ':', becomes %XX.
std::string encode_description_line(std::string_view text);

}  // namespace crossover
