/// \file
/// `rbd export-diff` and `rbd import-diff` as calls: an image's changes to a stream of bytes and back, without a
/// job, a record or Proxmox VE. The streams are those of the stock command, both ways.
///
/// All calls throw Error, whose error_number() is what the stock command exits with, and Cancelled. `progress` and
/// the streams' functions are called in the calling thread. `ceph_options` are CephWords::options.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "crossover/byte_stream.hpp"
#include "crossover/diff_stream.hpp"
#include "crossover/image.hpp"

namespace crossover {

/// Access as Ceph's own commands have it when they are given no options: the configuration of CEPH_CONF or else of
/// the default paths, options and user of CEPH_ARGS, user "admin", and cephx where the configuration asks for it.
/// What is set in the result afterwards takes precedence. The environment is read when a call connects.
CephAccess ceph_defaults();

/// What Ceph's own commands read of every command line, and what is left of it.
struct CephWords {
  CephAccess access = ceph_defaults();  ///< from --conf (-c), --cluster, --id, --user and --name (-n)
  /// Options of Ceph's configuration with their values, such as {"--no-mon-config", "--rbd_cache", "false"}. The
  /// words are given to Ceph again when a call connects, and win over everything in `access`.
  std::vector<std::string> options = {};
  std::vector<std::string> rest = {};  ///< in their order; a "--" and what follows it among them

  bool operator==(const CephWords&) const = default;
};

/// Parts a command line. Which words are Ceph's, and whether one that follows is a value, is asked of the librados
/// that is there: it differs between releases. Nothing is connected. Throws Error (usage) for a value that is
/// missing or cannot be read.
CephWords take_ceph_words(const std::vector<std::string>& words);

/// Called with how far into the image a transfer is.
using DiffProgress = std::function<void(std::uint64_t offset, std::uint64_t size_bytes)>;

/// What a stream is to be of.
struct DiffRequest {
  ImageSpec image;            ///< an empty pool is Ceph's `rbd_default_pool`
  std::string from_snapshot;  ///< empty: everything there is, not only changes
  std::string end_snapshot;   ///< empty: the head as it is while it is read; consistent only if nobody writes

  bool operator==(const DiffRequest&) const = default;
};

/// Writes a diff v1 to `sink`: what differs, byte by byte, between two snapshots (or a snapshot and the head).
/// Nothing is written before image and snapshots have been found. Throws ErrorCode::not_found, and ErrorCode::usage
/// if `from_snapshot` is newer than `end_snapshot`; a stream without its end record is one whose export failed.
DiffHeader export_diff(const CephAccess& access, const DiffRequest& request, const ByteSink& sink,
                       const DiffProgress& progress = {}, const std::stop_token& stop = {},
                       const std::vector<std::string>& ceph_options = {});

/// Applies a diff, v1 or v2, to an image's head and then makes its end snapshot, last of all: a stream that is cut
/// short or wrong leaves no end snapshot, but a head that is half written. The same diff can be applied again;
/// before another one the head has to be rolled back.
///
/// Before anything is written the stream's start snapshot has to be there (by name: nothing in the formats can say
/// that it is the same one), its end snapshot must not be, and nobody else may have the image open for writing.
DiffHeader import_diff(const CephAccess& access, const ImageSpec& image, const ByteSource& source,
                       const DiffProgress& progress = {}, const std::stop_token& stop = {},
                       const std::vector<std::string>& ceph_options = {});

}  // namespace crossover
