/// \file
/// The port to RBD images of one cluster. Implementations: librbd (rbd/librbd_store), the stock `rbd` command over
/// a Shell (rbd/rbd_command_store), and the tests' store in memory. tests/contract runs one suite over all of them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/error.hpp"
#include "crossover/image.hpp"
#include "plan/transfer_progress.hpp"
#include "stream/owned_bytes.hpp"

namespace crossover {

/// Takes the content of one diff, in ascending order, without overlaps. Not thread-safe.
class DiffSink {
 public:
  virtual ~DiffSink() = default;
  /// The image's size at the end of the diff; called once, first.
  virtual void size(std::uint64_t size_bytes) = 0;
  /// Bytes at an offset. The span is only valid during the call.
  virtual void data(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// As data(), of bytes that the sink may keep.
  virtual void hand_over(std::uint64_t offset, OwnedBytes bytes) { data(offset, bytes.span()); }
  /// A range that reads as zeroes.
  virtual void zero(std::uint64_t offset, std::uint64_t length_bytes) = 0;
  /// Everything that was given so far may be recorded as done, as soon as it is on stable storage. A sink that
  /// keeps no progress has nothing to do.
  virtual void mark() {}
  /// There is nothing to give yet, but whoever reads works: a part of the image was listed. Any number of times
  /// between size() and finish(). A sink that nobody waits for has nothing to do.
  virtual void alive() {}
  /// Everything was given; on return it is on stable storage. A sink destroyed without finish() leaves the image's
  /// head half written, and no snapshot.
  virtual void finish() = 0;
};

/// Some blocks out of many, the same ones wherever the choice is made: a block belongs to it if the XXH3-64 of its
/// number (u64, little-endian) with `seed` is below `per_million` millionths of 2^64.
struct BlockSample {
  std::uint32_t per_million = 0;  ///< 1 to 1'000'000
  std::uint64_t seed = 0;

  bool operator==(const BlockSample&) const = default;
};

/// Which blocks of a snapshot are hashed. Block n is `block_bytes` bytes from n * block_bytes on.
struct BlockSelection {
  std::uint64_t block_bytes = 0;  ///< a power of two, 4 KiB to 4 MiB
  std::vector<ByteRange> ranges;  ///< whole blocks, ascending, without overlaps; may reach past the snapshot's end
  std::optional<BlockSample> sample = {};  ///< only these of them

  bool operator==(const BlockSelection&) const = default;
};

/// The XXH3-128 of one block. What a snapshot does not have, past its end too, counts as zeroes.
struct BlockHash {
  std::uint64_t number = 0;
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  bool operator==(const BlockHash&) const = default;
};

/// One image, open for writing and kept from everybody else for as long as this object lives: nobody else can write
/// to its head or roll it back. What others do to its snapshots and metadata is not kept out; an image without the
/// exclusive-lock feature, and one that is written by the stock command, is only looked at for other clients. For
/// one thread at a time. Every call throws Error; after one that is not the image's own fault
/// (ErrorCode::unreachable), and after a sink that was not finished, all that is left to do is to destroy it.
class ImageHold {
 public:
  virtual ~ImageHold() = default;

  /// A look at the image. Its watchers are those beside this hold.
  virtual ImageState state() = 0;

  /// As ImageStore's.
  virtual void set_metadata(const std::string& key, const std::string& value) = 0;
  virtual void remove_metadata(const std::string& key) = 0;

  /// Makes the head read as the snapshot does, size included. Safe to repeat after an interruption.
  virtual void roll_back(const Snapshot& snapshot, std::stop_token stop) = 0;

  /// True if the head reads as the snapshot does; it stays so as long as nothing is written through this hold. As
  /// ImageStore's, but librbd does without the listing where it can prove that nobody has had the image's exclusive
  /// lock since one of our holds on it ended with that head.
  virtual bool head_unchanged_since(const Snapshot& snapshot, std::stop_token stop) = 0;

  /// True if it is certain that nobody has changed the head since the sinks of that transfer did (see
  /// write_diff()); only then may the rest of it be applied, or what was applied be taken for all of it. False
  /// where a store cannot tell.
  virtual bool head_unchanged_since_transfer(const std::string& id, std::stop_token stop) = 0;

  /// A sink that writes a diff to the head, from `from.offset` on; it must not outlive the hold, and there is one
  /// at a time. It makes no snapshot. With an id it may keep the progress in the image's metadata when it is marked
  /// (librbd does, the stock command does not); without one, or at offset 0, it first forgets any progress that
  /// stands there, where it keeps one. At another offset ErrorCode::conflict unless the metadata say that the
  /// transfer of that id came as far.
  virtual std::unique_ptr<DiffSink> write_diff(const TransferProgress& from, std::stop_token stop) = 0;

  /// Makes a snapshot of the head, which nobody else can have written to since the hold began.
  /// ErrorCode::already_exists if the name is taken.
  virtual Snapshot create_snapshot(const std::string& name) = 0;
};

class FastListing;

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

  /// True if somebody has the image's exclusive lock whom Ceph takes for dead, and nobody else has it open. Only
  /// asked of a source's images; other stores need not know.
  virtual bool lock_is_orphaned(const ImageSpec& /*image*/) { return false; }

  /// Creates an empty image. ErrorCode::already_exists if the name is taken.
  virtual void create(const ImageSpec& image, const ImageLayout& layout) = 0;

  /// Removes an image that has no snapshots.
  virtual void remove(const ImageSpec& image) = 0;

  /// Moves an image with its snapshots to RBD's trash, where `rbd trash restore` finds it and nobody purges it by
  /// rule before `delay` has passed. Its name is free then. ErrorCode::in_use if it is open for writing.
  virtual void trash(const ImageSpec& image, std::chrono::seconds delay) = 0;

  /// Makes a snapshot of the head and returns it. ErrorCode::already_exists if the name is taken.
  virtual Snapshot create_snapshot(const ImageSpec& image, const std::string& name) = 0;

  /// Removes a snapshot if its id is still the one given; ErrorCode::conflict if the name now means another one. A
  /// snapshot that is gone already is no error.
  virtual void remove_snapshot(const ImageSpec& image, const Snapshot& snapshot) = 0;

  /// Keeps an image from everybody else. ErrorCode::in_use if another client has it open for writing.
  virtual std::unique_ptr<ImageHold> hold(const ImageSpec& image, std::stop_token stop) = 0;

  /// Sets or replaces one metadata value; keys begin with "crossover.".
  virtual void set_metadata(const ImageSpec& image, const std::string& key, const std::string& value) = 0;

  /// Removes one metadata value; one that is not there is no error.
  virtual void remove_metadata(const ImageSpec& image, const std::string& key) = 0;

  /// Sets one metadata value, or removes it (`wanted` is nothing), if it still is `expected` (nothing: not there);
  /// returns whether it was. With librbd that is one operation of Ceph's on the image's header, so that nobody can
  /// come between; elsewhere it is a look, a write, and a look, and within a few milliseconds somebody can.
  virtual bool replace_metadata(const ImageSpec& image, const std::string& key,
                                const std::optional<std::string>& expected, const std::optional<std::string>& wanted) {
    const auto value = [&]() -> std::optional<std::string> {
      const std::optional<ImageState> state = find(image);
      if (!state) throw Error(ErrorCode::not_found, "replace metadata", to_string(image), "there is no such image");
      const auto found = state->metadata.find(key);
      return found == state->metadata.end() ? std::nullopt : std::optional(found->second);
    };
    if (value() != expected) return false;
    wanted ? set_metadata(image, key, *wanted) : remove_metadata(image, key);
    return value() == wanted;
  }

  /// True if the head reads as the snapshot does, by the byte-level listing and then what it lists; the stock
  /// command only lists, and answers false for a head that was rolled back.
  virtual bool head_unchanged_since(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) = 0;

  /// Reads what differs between two snapshots (or everything that is in `to`, without `from`) into `sink`, up to
  /// and including finish(). Byte-level; never by the object maps, which lose changes. Snapshots are checked by id,
  /// at the end once more: what was given before that may not be in them. Of what lies before `offset` nothing is
  /// given; an extent that begins before it is cut there.
  virtual void read_diff(const ImageSpec& image, const std::optional<Snapshot>& from, const Snapshot& to,
                         std::uint64_t offset, DiffSink& sink, std::stop_token stop) = 0;

  /// Gives what a snapshot holds in some ranges (ascending, without overlaps) to `sink`, up to and including
  /// finish(): each byte of them as data or as zeroes, as far as the snapshot reaches. It is checked by id.
  virtual void read_ranges(const ImageSpec& image, const Snapshot& snapshot, std::span<const ByteRange> ranges,
                           DiffSink& sink, std::stop_token stop) = 0;

  /// The images' object maps, with this store's life; nullptr where it cannot read them.
  virtual FastListing* fast_listing() { return nullptr; }

  /// Hashes blocks of a snapshot where the image is, and gives those that do not read as zeroes to `take`, in
  /// ascending order, from the calling thread. What was never written is not read. The snapshot is checked by id.
  /// ErrorCode::unsupported for a sample that would cost as much as the whole.
  virtual void hash_blocks(const ImageSpec& image, const Snapshot& snapshot, const BlockSelection& blocks,
                           const std::function<void(const BlockHash&)>& take, std::stop_token stop) = 0;
};

}  // namespace crossover
