/// \file
/// Requests and answers as JSON. The operations, which Server::operations() serves, and what they take and give; those
/// with a * are there for a client that is restricted to receiving, too:
///
///   * ping
///   * prepare               storage, user or null                    null; that storage's images come next
///   * survey                versions: boolean, guests or null        ClusterInventory
///   * fsid                  access                                   string
///   * available_bytes       access, pool                             number
///   * find_all              access, images                           list of ImageState or null
///   * hash_blocks           access, image, snapshot, blocks          list of BlockHash
///
///   * begin_point           offer (see offer_messages.hpp), half:    progress; held until end_point, or this ends.
///                           destination_half() of the client's plan  Nothing is written yet
///   * carry_out             step: the plan's next one here           progress: {"notes": strings, "torn": boolean}
///   * record_point          ends: list of Snapshot                   progress, and "transfers": a string for each disk
///   * end_point                                                      progress; gives up what is not complete
///   * receive_first_disk                                             null; the point's first, until release_disk
///   * receive_disk          access, image, transfer                  null; another connection's point's, held until
///                                                                    release_disk, or this ends
///   * write_disk            offset, repair: boolean                  null; a transfer; {"digest"}
///   * disk_applied
///   * disk_snapshot
///   * release_disk
///
///     create                access, image, layout
///     remove                access, image
///     trash                 access, image, delay_seconds
///     create_snapshot       access, image, name                      Snapshot
///     remove_snapshot       access, image, snapshot
///     set_metadata          access, image, key, value
///     remove_metadata       access, image, key
///     head_unchanged_since  access, image, snapshot                  boolean
///     read_diff             access, image, from or null, to, offset  null, then a transfer
///     read_ranges           access, image, snapshot, ranges          null, then a transfer
///     hold                  access, image                            null; held until release, or this ends
///     release
///     held_state                                                     ImageState
///     held_set_metadata     key, value
///     held_remove_metadata  key
///     held_roll_back        snapshot
///     held_head_unchanged_since  snapshot                            boolean
///     held_head_unchanged_since_transfer  transfer                   boolean
///     held_write_diff       from                                     null; a transfer; {"digest"}
///     held_create_snapshot  name                                     Snapshot
///     read_config           node, vmid                               ConfigVersion or null
///     write_config          node, vmid, expected, bytes              ConfigVersion; "expected": null says that
///                                                                    there must be none
///     write_firewall        vmid, bytes or null
///     hold_config           node, vmid, expected, bytes              null; held until release_config, or this ends
///     release_config
///     hold_guest            pause: boolean, node, vmid, deadline_ms  its state if it did not run anyway, else "";
///                                                                    held until release_guest, or this ends
///     release_guest                                                  milliseconds it was held
///     power                 node, vmid                               Power
///     start                 node, vmid
///     shut_down             node, vmid, timeout_seconds, force: boolean
///     suspend               node, vmid, storage
///     free_volume           node, volume
///     agent_answers         node, vmid                               boolean
///     set_ha_state          vmid, state
///     destroy               node, vmid
///
/// Values are objects with the members of the library's types, numbers whole and within their ranges. A connection has
/// one image, one point or one disk at a time. While it holds that, a guest or a configuration, the client says something at least every 45 s, if only "ping".
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "engine/hypervisor.hpp"
#include "engine/image_store.hpp"

NLOHMANN_JSON_NAMESPACE_BEGIN

template <typename T>
struct adl_serializer<std::optional<T>> {
  static void to_json(json& out, const std::optional<T>& value) {
    if (value) {
      out = *value;
    } else {
      out = nullptr;
    }
  }
  static void from_json(const json& in, std::optional<T>& value) {
    if (in.is_null()) {
      value.reset();
    } else {
      value = in.get<T>();
    }
  }
};

NLOHMANN_JSON_NAMESPACE_END

namespace crossover {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CephAccess, conf, monitors, user, keyring)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ImageSpec, pool, rados_namespace, name)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ImageLayout, size_bytes, order, stripe_unit, stripe_count, features, data_pool)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Snapshot, id, name, size_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ImageState, id, pool_id, layout, parent, snapshots, metadata, watchers)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ByteRange, offset, length_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BlockSample, per_million, seed)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BlockSelection, block_bytes, ranges, sample)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BlockHash, number, high, low)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TransferProgress, id, offset)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(NodeState, name, address, online, unreachable, pve_version, ceph_version,
                                   qemu_version, processor, bridges, known_hosts)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GuestState, vmid, node, config, firewall, power, ha_state, ha_status)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StorageConfigWarning, line, section, reason)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Storage, id, type, properties, content, nodes, disabled)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StorageConfig, storages, warnings)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VmidRange, first, last)
/// Without a name it is as it was before there were names.
void to_json(nlohmann::json& out, const Restriction& restriction);
void from_json(const nlohmann::json& in, Restriction& restriction);
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CephUser, name, keyring)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(SurveyScope, versions, guests)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FirewallNames, groups, ipsets, aliases)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ClusterInventory, entry_node, name, writable, nodes, storages, ceph_files,
                                   snippets, cpu_models, device_mappings, firewall, ha_disarmed, containers, guests,
                                   restriction)

/// The time is a number or null, and nothing else: it is compared on a node, by a script that has words of its own.
void to_json(nlohmann::json& out, const ConfigVersion& version);
void from_json(const nlohmann::json& in, ConfigVersion& version);

}  // namespace crossover

namespace crossover::agent {

using Json = nlohmann::json;

/// A client asks for the hashes of about so many blocks at once, some 600 KiB; an agent gives at most twice as many
/// in one answer, for how many a sample takes is a matter of chance.
constexpr std::size_t hashes_per_request = 8192;

/// JSON on the wire: each byte of a string is one code point.
std::string render_json(const Json& value);
/// Throws Error{format}, also for more than `max_values` values (each name, value and bracket counts) and for what is
/// nested deep, before they take memory.
Json parse_json(std::string_view text, std::size_t max_values = 1'000'000);

/// Of a request: some 30 MB of memory at most, beside its text.
constexpr std::size_t max_request_values = 400'000;

Json render_error(const Error& error);
/// Throws the error that `value` holds, or Error{format} if it holds none.
[[noreturn]] void throw_error(const Json& value);

/// Reads a value of an answer or request; what it lacks is Error{format} with `operation` in it.
template <typename T>
T value_of(const Json& value, const std::string& operation) {
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    // get() would make a number of what is none, and another one of what does not fit.
    const bool fits = value.is_number_unsigned()  ? std::in_range<T>(value.get<std::uint64_t>())
                      : value.is_number_integer() ? std::in_range<T>(value.get<std::int64_t>())
                                                  : false;
    if (!fits) throw Error(ErrorCode::format, operation, "", "a number is none, or out of range");
  }
  try {
    return value.get<T>();
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::format, operation, "", error.what());
  }
}

/// A member of an object, in the same way.
template <typename T>
T member_of(const Json& object, const char* key, const std::string& operation) {
  const auto found = object.find(key);
  if (found == object.end()) throw Error(ErrorCode::format, operation, "", std::string("there is no ") + key);
  return value_of<T>(*found, operation);
}

}  // namespace crossover::agent
