/// \file
/// RBD images and snapshots as plain values.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace crossover {

/// How a Ceph cluster is reached, as the `rbd` command and librbd take it. Paths are on the host that connects.
struct CephAccess {
  std::string conf;                   ///< path of the ceph.conf; empty: none
  std::vector<std::string> monitors;  ///< monitor addresses of an external cluster; empty: those of `conf`
  std::string user = "admin";         ///< cephx user without "client."
  std::string keyring;                ///< path of the keyring; empty: the cluster is used without cephx
  /// What is empty is as Ceph's own commands have it (see ceph_defaults() in diff_transfer.hpp).
  bool with_defaults = false;
  std::string cluster_name = {};  ///< for `$cluster` in paths; empty: "ceph"
  /// Configuration options, such as {"rbd_concurrent_management_ops", "10"}; they win over everything else.
  std::vector<std::pair<std::string, std::string>> settings = {};

  auto operator<=>(const CephAccess&) const = default;
};

/// Where an image lives inside its cluster.
struct ImageSpec {
  std::string pool;
  std::string rados_namespace;  ///< empty: the pool's default namespace
  std::string name;

  auto operator<=>(const ImageSpec&) const = default;
};

/// "pool/name" or "pool/namespace/name", as `rbd` writes it.
std::string to_string(const ImageSpec& spec);

/// Feature bits of an image (librbd.h, RBD_FEATURE_*; the values are part of Ceph's on-disk format).
namespace image_feature {
inline constexpr std::uint64_t layering = 1U << 0;
inline constexpr std::uint64_t striping = 1U << 1;
inline constexpr std::uint64_t exclusive_lock = 1U << 2;
inline constexpr std::uint64_t object_map = 1U << 3;
inline constexpr std::uint64_t fast_diff = 1U << 4;
inline constexpr std::uint64_t deep_flatten = 1U << 5;
inline constexpr std::uint64_t journaling = 1U << 6;
inline constexpr std::uint64_t data_pool = 1U << 7;
}  // namespace image_feature

/// What an image is made of when it is created.
struct ImageLayout {
  std::uint64_t size_bytes = 0;
  std::uint8_t order = 22;         ///< objects are 2^order bytes, 12 to 25
  std::uint64_t stripe_unit = 0;   ///< bytes; 0: the object size
  std::uint64_t stripe_count = 0;  ///< 0 or 1: not striped
  std::uint64_t features = 0;      ///< image_feature bits; the data-pool bit follows `data_pool`
  std::string data_pool;           ///< pool for the data objects; empty: the image's own pool

  bool operator==(const ImageLayout&) const = default;
};

/// A snapshot a user can see. Names can be reused, ids never are.
struct Snapshot {
  std::uint64_t id = 0;
  std::string name;
  std::uint64_t size_bytes = 0;  ///< the image's size at that moment

  bool operator==(const Snapshot&) const = default;
};

/// Some bytes of an image.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;

  auto operator<=>(const ByteRange&) const = default;
};

/// What is known of an image after one look at it.
struct ImageState {
  std::string id;  ///< the image's own id, unique in its pool; survives renaming
  std::int64_t pool_id = 0;
  ImageLayout layout;
  std::string parent;                           ///< "pool/image@snap" of a clone; empty: no clone
  std::vector<Snapshot> snapshots;              ///< user snapshots, oldest first
  std::map<std::string, std::string> metadata;  ///< keys that begin with "crossover."
  std::vector<std::string> watchers;            ///< addresses of clients that have it open for writing

  bool operator==(const ImageState&) const = default;
};

}  // namespace crossover
