/// \file
/// The port to RBD images of one cluster. Implementations: librbd (rbd/librbd_store), the stock `rbd` command over
/// a Shell (rbd/rbd_command_store), and the tests' store in memory. tests/contract runs one suite over all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/image.hpp"
#include "plan/transfer_progress.hpp"

namespace crossover {

/// Takes the content of one diff, in ascending order, without overlaps. Not thread-safe.
class DiffSink {
 public:
  virtual ~DiffSink() = default;
  /// The image's size at the end of the diff; called once, first.
  virtual void size(std::uint64_t size_bytes) = 0;
  /// Bytes at an offset. The span is only valid during the call.
  virtual void data(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// A range that reads as zeroes.
  virtual void zero(std::uint64_t offset, std::uint64_t length_bytes) = 0;
  /// Everything that was given so far may be recorded as done, as soon as it is on stable storage. A sink that
  /// keeps no progress has nothing to do.
  virtual void mark() {}
  /// Everything was given; on return it is on stable storage. A sink destroyed without finish() leaves the image's
  /// head half written, and no snapshot.
  virtual void finish() = 0;
};

/// Images of one cluster, seen with one user's rights. Thread-safe: different images may be used from different
/// threads at once, one image from one thread. Every call throws Error; those with a stop token throw Cancelled
/// once it is triggered.
class ImageStore {
 public:
  virtual ~ImageStore() = default;

  /// The cluster's fsid, in its 36-character form.
  virtual std::string fsid() = 0;

  /// A look at an image; nothing if it does not exist.
  virtual std::optional<ImageState> find(const ImageSpec& image) = 0;

  /// A look at many images, in their order. A store that pays per question answers with one.
  virtual std::vector<std::optional<ImageState>> find_all(std::span<const ImageSpec> images) {
    std::vector<std::optional<ImageState>> states;
    states.reserve(images.size());
    for (const ImageSpec& image : images) states.push_back(find(image));
    return states;
  }

  /// Bytes that can still be written to a pool, as the cluster estimates it (before a quota).
  virtual std::uint64_t available_bytes(const std::string& pool) = 0;

  /// Creates an empty image. ErrorCode::already_exists if the name is taken.
  virtual void create(const ImageSpec& image, const ImageLayout& layout) = 0;

  /// Removes an image that has no snapshots.
  virtual void remove(const ImageSpec& image) = 0;

  /// Makes a snapshot of the head and returns it. ErrorCode::already_exists if the name is taken.
  virtual Snapshot create_snapshot(const ImageSpec& image, const std::string& name) = 0;

  /// Removes a snapshot if its id is still the one given; ErrorCode::conflict if the name now means another one. A
  /// snapshot that is gone already is no error.
  virtual void remove_snapshot(const ImageSpec& image, const Snapshot& snapshot) = 0;

  /// Makes the head read as the snapshot does, size included. Safe to repeat after an interruption.
  virtual void roll_back(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) = 0;

  /// Sets or replaces one metadata value; keys begin with "crossover.".
  virtual void set_metadata(const ImageSpec& image, const std::string& key, const std::string& value) = 0;

  /// Removes one metadata value; one that is not there is no error.
  virtual void remove_metadata(const ImageSpec& image, const std::string& key) = 0;

  /// True if nothing was written to the head since the snapshot, by the byte-level listing (a head that was rolled
  /// back may answer false although it reads the same).
  virtual bool head_unchanged_since(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) = 0;

  /// Reads what differs between two snapshots (or everything that is in `to`, without `from`) into `sink`, up to
  /// and including finish(). Byte-level; never fast-diff, which loses changes. Snapshots are checked by id, at the
  /// end once more: what was given before that may not be in them. Of what lies before `offset` nothing is given;
  /// an extent that begins before it is cut there.
  virtual void read_diff(const ImageSpec& image, const std::optional<Snapshot>& from, const Snapshot& to,
                         std::uint64_t offset, DiffSink& sink, std::stop_token stop) = 0;

  /// A sink that writes a diff to the image's head, from `from.offset` on. It makes no snapshot. With an id it may
  /// keep the progress in the image's metadata when it is marked (librbd does, the stock command does not); without
  /// one, or at offset 0, it first forgets any progress that stands there, where it keeps one. At another offset
  /// ErrorCode::conflict unless the metadata say that the transfer of that id came as far.
  virtual std::unique_ptr<DiffSink> write_diff(const ImageSpec& image, const TransferProgress& from,
                                               std::stop_token stop) = 0;
};

}  // namespace crossover
