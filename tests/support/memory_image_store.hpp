/// \file
/// Images in memory: what the engine's tests run against, and what the contract tests compare with.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "crossover/error.hpp"
#include "engine/fast_listing.hpp"
#include "engine/image_store.hpp"

namespace crossover::test {

/// ImageStore of sparse images in memory, with faults on request. Thread-safe.
///
/// A diff lists the blocks of 4 KiB that were written between its ends, whether or not their content changed, as
/// the byte-level listing of RBD does; a block of zeroes is listed as zero.
///
/// Its fast listing has no object maps to be blind: it believes what was kept with a base, and throws
/// std::logic_error where that is not true.
class MemoryImageStore final : public ImageStore, public FastListing {
 public:
  explicit MemoryImageStore(std::string fsid = "11111111-2222-3333-4444-555555555555",
                            std::uint64_t available_bytes = std::uint64_t{1} << 40);

  std::string fsid() override;
  std::optional<ImageState> find(const ImageSpec& image) override;
  bool lock_is_orphaned(const ImageSpec& image) override;
  std::uint64_t available_bytes(const std::string& pool) override;
  void create(const ImageSpec& image, const ImageLayout& layout) override;
  void remove(const ImageSpec& image) override;
  void trash(const ImageSpec& image, std::chrono::seconds delay) override;
  Snapshot create_snapshot(const ImageSpec& image, const std::string& name) override;
  void remove_snapshot(const ImageSpec& image, const Snapshot& snapshot) override;
  std::unique_ptr<ImageHold> hold(const ImageSpec& image, std::stop_token stop) override;
  void set_metadata(const ImageSpec& image, const std::string& key, const std::string& value) override;
  void remove_metadata(const ImageSpec& image, const std::string& key) override;
  bool replace_metadata(const ImageSpec& image, const std::string& key, const std::optional<std::string>& expected,
                        const std::optional<std::string>& wanted) override;
  bool head_unchanged_since(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) override;
  void read_diff(const ImageSpec& image, const std::optional<Snapshot>& from, const Snapshot& to,
                 std::uint64_t offset, DiffSink& sink, std::stop_token stop) override;
  void read_ranges(const ImageSpec& image, const Snapshot& snapshot, std::span<const ByteRange> ranges,
                   DiffSink& sink, std::stop_token stop) override;
  void hash_blocks(const ImageSpec& image, const Snapshot& snapshot, const BlockSelection& blocks,
                   const std::function<void(const BlockHash&)>& take, std::stop_token stop) override;

  FastListing* fast_listing() override { return this; }
  std::optional<std::vector<RollbackTarget>> rollback_targets(const ImageSpec& image) override;
  FirstPass first_pass(const ImageSpec& image, const Snapshot& from, const Snapshot& to,
                       const std::optional<RollbackTargets>& older) override;
  void read_diff_in(const ImageSpec& image, const Snapshot& from, const Snapshot& to,
                    std::span<const ByteRange> ranges, DiffSink& sink, std::stop_token stop) override;

  /// The `nth` call from now (1: the next one) of an operation throws `error` instead of being done. Operations are
  /// the members' names, and of a sink "size", "data", "zero", "mark" and "finish".
  void fail_call(const std::string& operation, int nth, Error error);
  /// How often an operation was called.
  [[nodiscard]] int calls(const std::string& operation) const;

  /// Called in each read_diff() before anything but the size is given, if it is set: the listing.
  std::function<void(DiffSink& sink, const std::stop_token& stop)> on_listing;

  // What a guest or an administrator would do to an image.
  void write(const ImageSpec& image, std::uint64_t offset, std::span<const std::byte> bytes);
  void zero(const ImageSpec& image, std::uint64_t offset, std::uint64_t length_bytes);
  /// What a bad disk would do: other bytes in the head, and in every snapshot that shares the blocks with it. No
  /// listing knows of it.
  void damage(const ImageSpec& image, std::uint64_t offset, std::span<const std::byte> bytes);
  void resize(const ImageSpec& image, std::uint64_t size_bytes);
  void protect(const ImageSpec& image, const std::string& snapshot, bool is_protected);
  /// The client that has its lock was taken for dead.
  void set_orphaned(const ImageSpec& image, bool orphaned);
  /// Whoever holds images was taken for dead: others may hold them, and it can do nothing more to them.
  void break_holds();
  /// Whether a run holds an image.
  [[nodiscard]] bool is_held() const;
  void set_watchers(const ImageSpec& image, std::vector<std::string> watchers);
  /// All bytes of a snapshot, or of the head without one.
  [[nodiscard]] std::vector<std::byte> content(const ImageSpec& image, const std::string& snapshot = {}) const;
  [[nodiscard]] std::vector<ImageSpec> images() const;
  /// The images in the trash, and how long they are kept there.
  [[nodiscard]] std::map<ImageSpec, std::chrono::seconds> trashed() const;

 private:
  class Sink;
  class Hold;
  static constexpr std::uint64_t block_bytes = 4096;
  using Block = std::array<std::byte, block_bytes>;
  /// By number. Blocks are shared between head and snapshots and never changed; one that is not there is zeroes
  /// that were never written, a null one zeroes that were.
  using Blocks = std::map<std::uint64_t, std::shared_ptr<const Block>>;

  struct StoredSnapshot {
    Snapshot snapshot;
    Blocks blocks;
    bool is_protected = false;
  };
  struct StoredImage {
    std::string id;
    ImageLayout layout;
    Blocks head;
    std::vector<StoredSnapshot> snapshots;
    std::map<std::string, std::string> metadata;
    std::vector<std::string> watchers;
    bool orphaned = false;
    std::string transfer;  ///< the one that changed the head last; empty: somebody else did
  };

  /// What a diff lists, block by block.
  std::vector<ByteRange> differing(const ImageSpec& image, const Snapshot& from, const Snapshot& to);
  void roll_back(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop);
  std::unique_ptr<DiffSink> write_diff(const ImageSpec& image, const TransferProgress& from, std::stop_token stop);

  // All of these want the lock held.
  void enter(const std::string& operation);
  StoredImage& image(const ImageSpec& spec, const std::string& operation);
  [[nodiscard]] const StoredImage& image(const ImageSpec& spec, const std::string& operation) const;
  static StoredSnapshot& snapshot(StoredImage& image, const ImageSpec& spec, const Snapshot& wanted,
                                  const std::string& operation);
  static void change(StoredImage& image, std::uint64_t offset, std::uint64_t length, const std::byte* bytes);
  static void change_size(StoredImage& image, std::uint64_t size_bytes);
  static void require_unwatched(const StoredImage& image, const ImageSpec& spec, const std::string& operation);

  const std::string fsid_;
  const std::uint64_t available_bytes_;
  mutable std::mutex mutex_;
  std::map<ImageSpec, StoredImage> images_;
  std::set<std::string> held_;  // ids of images that a run holds
  std::uint64_t epoch_ = 0;     // of the holds that are not broken
  std::map<ImageSpec, std::chrono::seconds> trash_;
  std::map<std::string, std::int64_t> pools_;
  std::uint64_t next_image_ = 1;
  std::map<std::string, std::uint64_t> last_snapshots_;  // by pool, as Ceph counts them
  std::minstd_rand order_;                               // of writes that are under way side by side
  std::map<std::string, int> calls_;
  std::map<std::pair<std::string, int>, Error> faults_;
};

}  // namespace crossover::test
