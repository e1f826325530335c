/// \file
/// Drives of a VM as they stand in its configuration, the volumes they name, and what RBD volume names mean.
///
/// The rules are those of Proxmox VE's qemu-server (parse_drive, drive_is_cdrom, drive_is_cloudinit) and pve-common
/// (parse_property_string), up to version 9.2.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace crossover {

class VmConfig;

/// The kinds of configuration keys that hold a volume. `other` is a key that is not known here, of a newer PVE.
enum class DriveBus { ide, sata, scsi, virtio, efidisk, tpmstate, unused, other };

/// "ide", "sata", "scsi", "virtio", "efidisk", "tpmstate", "unused" or "other".
std::string_view to_string(DriveBus bus) noexcept;

/// One drive key, such as scsi0. Ordered by bus, then by number.
struct DriveKey {
  DriveBus bus = DriveBus::scsi;
  unsigned index = 0;
  std::string name = {};  ///< of DriveBus::other the whole key; else empty

  auto operator<=>(const DriveKey&) const = default;
};

/// The drive a configuration key stands for: ide0-3, sata0-5, scsi0-30, virtio0-15, efidisk0, tpmstate0,
/// unused0-255, and `cdrom`, which is another name of ide2. Nothing for any other key; numbers have no leading
/// zeros.
std::optional<DriveKey> parse_drive_key(std::string_view key) noexcept;

/// "scsi0".
std::string to_string(const DriveKey& key);

/// What a drive's volume is.
enum class VolumeKind {
  storage,  ///< "storeid:volname": managed by one of PVE's storages
  path,     ///< an absolute path, such as a host's block device
  none,     ///< "none": a CD drive without a medium
  cdrom,    ///< "cdrom": the host's own CD drive
};

/// The volume of a drive. `storage` is set only for VolumeKind::storage; `name` is the volume name there, or the
/// path.
struct Volume {
  VolumeKind kind = VolumeKind::none;
  std::string storage;
  std::string name;

  auto operator<=>(const Volume&) const = default;
};

/// Reads "storeid:volname", "/absolute/path", "none" or "cdrom". Storage ids may hold '-', '_' and '.'.
/// Throws Error(format) for anything else.
Volume parse_volume(std::string_view text);

/// The volume as it is written in a configuration; parse_volume(to_string(v)) == v.
std::string to_string(const Volume& volume);

/// A volume name on an RBD storage, taken apart as PVE does: ((base-N-x/)?((base)?(vm)?-N-x)), anchored at both
/// ends.
struct RbdVolumeName {
  std::string image;       ///< name of the RBD image all operations use: what follows the base prefix
  std::string owner;       ///< VMID in the image's name as it is written there; can have leading zeros
  std::string base_image;  ///< image of the base prefix ("base-9000-disk-0/..."); empty: none. May be stale
  std::string base_owner;  ///< VMID in base_image; empty: none
  bool is_base = false;    ///< the image is a template's base image

  /// True if the image belongs to this VM. `qm destroy` frees only such images.
  [[nodiscard]] bool owned_by(std::uint64_t vmid) const noexcept;

  auto operator<=>(const RbdVolumeName&) const = default;
};

/// Throws Error(format) "unable to parse rbd volume name '...'" as PVE does.
RbdVolumeName parse_rbd_volume_name(std::string_view volname);

/// How strictly a drive's line is checked.
enum class DriveCheck {
  pve,     ///< as PVE 9.2 does: an unknown option or a bad value makes PVE drop the whole line
  volume,  ///< only that its volume can be read: a newer PVE may know the rest of it
};

/// One option of a drive. `key` is PVE's canonical name (aliases such as `bps_rd_length` resolved). What has no '='
/// and is no volume is an option without a value.
struct DriveOption {
  std::string key;
  std::string value;

  auto operator<=>(const DriveOption&) const = default;
};

/// A drive: its key, and its property string that can be changed and written back with every other byte as it was.
class Drive {
 public:
  /// The drive's key in the configuration.
  [[nodiscard]] const DriveKey& key() const noexcept { return key_; }

  /// The property string, ready to be written to the configuration.
  [[nodiscard]] std::string text() const;

  /// The volume as written: the part without '=', or the value of `file=` or `volume=`, wherever it stands.
  [[nodiscard]] const std::string& volume_text() const noexcept { return parts_[volume_part_].value; }

  /// The volume.
  [[nodiscard]] Volume volume() const;

  /// Puts another volume in place; position, spelling (`file=`) and all options stay.
  /// Throws Error(usage) for a text with ',' or '=' in a bare volume, with a line break, or an empty one.
  void set_volume(std::string_view volume);

  /// The options without the volume, in the order they are written.
  [[nodiscard]] std::vector<DriveOption> options() const;

  /// The value of an option, by its canonical name; nothing if it is not set. Of one that comes twice, the first.
  [[nodiscard]] std::optional<std::string> get(std::string_view option) const;

  /// A boolean option in any of PVE's spellings (1/on/yes/true, 0/off/no/false); `fallback` if absent or neither.
  [[nodiscard]] bool flag(std::string_view option, bool fallback) const;

  /// Changes an option where it stands, or appends it. Throws Error(usage) for a text that cannot stand in a list.
  void set(std::string_view option, std::string_view value);

  /// Removes an option wherever it stands; true if it was there.
  bool remove(std::string_view option);

  /// `size=` in bytes. PVE keeps it for information only: the image's real size can differ.
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const;

  /// True for `media=cdrom`, the only thing that makes a drive a CD.
  [[nodiscard]] bool is_cdrom() const;

  /// True for a cloud-init image: PVE makes it anew at each start, so it is not worth a transfer.
  [[nodiscard]] bool is_cloudinit() const;

  /// Whether PVE's backup would include the drive: not with a false `backup=`, no CD, no unused volume, and
  /// efidisk0 only if the VM's `bios` (the value of that key, empty if absent) is "ovmf".
  [[nodiscard]] bool in_backup(std::string_view bios) const;

  bool operator==(const Drive&) const = default;

 private:
  friend Drive parse_drive(const DriveKey& key, std::string_view text, DriveCheck check);

  struct Part {
    std::string name;   ///< as written; empty for a bare volume or for blank parts
    std::string value;  ///< what follows '='; the whole part without one
    bool named = false;  ///< there is a '=' between the two
    bool blank = false;

    bool operator==(const Part&) const = default;
  };

  explicit Drive(DriveKey key) : key_(std::move(key)) {}
  void find_volume();
  [[nodiscard]] bool is_option(const Part& part) const noexcept;
  [[nodiscard]] std::string_view option_name(const Part& part) const noexcept;

  DriveKey key_;
  std::vector<Part> parts_;
  std::size_t volume_part_ = 0;
};

/// Reads a drive's property string. Throws Error(format); its cause is what PVE itself would warn of, or with
/// DriveCheck::volume why it has no volume that can be read.
Drive parse_drive(const DriveKey& key, std::string_view text, DriveCheck check = DriveCheck::pve);

/// Reads what stands behind a key of any name, with DriveCheck::volume.
Drive read_drive(std::string_view key, std::string_view text);

/// True if a setting of this name, which is not known here, is a drive of a newer PVE: its value names one volume,
/// and that is a guest's ("vm-100-...", "base-100-...").
bool is_unknown_drive(std::string_view key, std::string_view value);

/// The drives of a VM's main section in the order of their lines, unused volumes included: every line whose volume
/// can be read. Whether PVE 9.2 knows all of its options does not matter: a newer one may, and nobody may lose a disk
/// for that. Of several lines with one key it is the last.
std::vector<Drive> drives_of(const VmConfig& config);

/// Keys of drive lines in the main section whose volume cannot be read, with the reason: nobody may lose a disk
/// unseen.
std::vector<std::pair<std::string, std::string>> dropped_drives(const VmConfig& config);

/// A size as PVE reads it: digits, an optional fraction, and K, M, G or T (also KiB...). Nothing if it is none or
/// does not fit into 64 bits.
std::optional<std::uint64_t> parse_drive_size(std::string_view text) noexcept;

/// A size as PVE writes it: in the largest unit that is exact, such as "32G", "528K" or "100".
std::string format_drive_size(std::uint64_t bytes);

/// A boolean as PVE reads it: 1, on, yes, true, 0, off, no, false in any case. Nothing for anything else.
std::optional<bool> parse_pve_boolean(std::string_view text) noexcept;

}  // namespace crossover
