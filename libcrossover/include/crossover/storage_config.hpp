/// \file
/// The storages of a PVE cluster, /etc/pve/storage.cfg, and how one of type rbd leads to a Ceph cluster and an
/// image.
///
/// The grammar is that of pve-common's SectionConfig and pve-storage's Plugin and RBDPlugin, up to version 9.
#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "crossover/image.hpp"

namespace crossover {

/// A line or section of storage.cfg that PVE skips, with its reason.
struct StorageConfigWarning {
  std::size_t line = 0;  ///< number of the line in the file, from 1
  std::string section;   ///< id of the section the line stands in; empty: in none
  std::string reason;    ///< PVE's text without the file's name and line

  bool operator==(const StorageConfigWarning&) const = default;
};

/// Anything PVE knows as a storage.
struct Storage {
  std::string id;
  std::string type;                                             ///< lower-cased: "rbd", "dir", ...
  std::vector<std::pair<std::string, std::string>> properties;  ///< in order; a flag without a value is "1"
  std::set<std::string, std::less<>> content;                   ///< content types; empty if the file names none
  std::optional<std::set<std::string, std::less<>>> nodes;      ///< nodes it is restricted to; nothing: all
  bool disabled = false;

  /// A property's value; nothing if it is not set.
  [[nodiscard]] std::optional<std::string> get(std::string_view property) const;

  bool operator==(const Storage&) const = default;
};

/// A storage of type rbd.
struct RbdStorage {
  std::string id;
  std::string pool = "rbd";
  std::string rados_namespace;        ///< empty: the pool's default namespace
  std::string data_pool;              ///< pool for the data objects of new images; empty: `pool`
  std::vector<std::string> monitors;  ///< of an external cluster, as "host", "host:port" or "[v6]:port"
  bool external = false;              ///< `monhost` is set: not the Ceph that the PVE nodes themselves run
  std::string username = "admin";     ///< cephx user without "client."
  bool krbd = false;                  ///< PVE maps images with the kernel's client
  std::set<std::string, std::less<>> content = {"images"};
  std::optional<std::set<std::string, std::less<>>> nodes;  ///< nodes it is restricted to; nothing: all
  bool disabled = false;

  bool operator==(const RbdStorage&) const = default;
};

/// All storages of a cluster.
struct StorageConfig {
  std::vector<Storage> storages;               ///< in the order of the file; `local` is always there
  std::vector<StorageConfigWarning> warnings;  ///< in the order of the lines

  /// The storage with exactly this id. Null if there is none; valid as long as `storages` is not changed.
  [[nodiscard]] const Storage* find(std::string_view id) const noexcept;

  /// The rbd storage with exactly this id; nothing if there is none or it is of another type.
  [[nodiscard]] std::optional<RbdStorage> rbd(std::string_view id) const;

  /// All rbd storages, in the order of the file.
  [[nodiscard]] std::vector<RbdStorage> rbd_storages() const;

  bool operator==(const StorageConfig&) const = default;
};

/// Reads storage.cfg. Never fails: what PVE skips is skipped and reported in `warnings`. Storages of a type PVE
/// does not bring itself are kept, with a warning: they may belong to a plug-in.
StorageConfig parse_storage_config(std::string_view bytes);

/// A warning as PVE prints it: "file /etc/pve/storage.cfg line 15 (section 'off') - ignore config line: ...".
std::string to_string(const StorageConfigWarning& warning);

/// Whether a node may use the storage: it is not disabled, and its list of nodes, if it has one, names the node.
bool is_available(const Storage& storage, std::string_view node);
bool is_available(const RbdStorage& storage, std::string_view node);

/// The files in /etc/pve/priv/ceph that belong to a storage.
std::string keyring_path(std::string_view storage_id);
std::string external_conf_path(std::string_view storage_id);

/// How PVE reaches the storage's Ceph cluster. Without `monhost` /etc/pve/ceph.conf is used; with it the monitors,
/// and <id>.conf in /etc/pve/priv/ceph if `external_conf_exists` (without it the client falls back to its own
/// defaults). The keyring is used if `keyring_exists`, else there is no cephx.
CephAccess ceph_access(const RbdStorage& storage, bool keyring_exists, bool external_conf_exists);

/// The image behind a volume name of this storage; of "base-9000-disk-0/vm-101-disk-0" the last component.
/// Throws Error(format) if the name is none of an RBD volume.
ImageSpec image_spec(const RbdStorage& storage, std::string_view volname);

/// What `pvesm path <storage>:<volname>` prints. `fsid` is needed for krbd storages only.
/// Throws Error(format) for a bad volume name, or "cluster fsid has invalid format" as PVE does.
std::string pvesm_path(const RbdStorage& storage, std::string_view volname, const CephAccess& access,
                       std::string_view fsid = {});

}  // namespace crossover
