/// \file
/// Images of a cluster that this process reaches itself, through librbd.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/fast_listing.hpp"
#include "engine/image_store.hpp"
#include "rbd/librbd_handles.hpp"
#include "rbd/librbd_reader.hpp"
#include "rbd/librbd_writer.hpp"
#include "rbd/shared_attempt.hpp"

namespace crossover {

/// ImageStore through librbd. Connects when it is first used. What waits on the cluster can be cancelled between
/// operations, not inside one that hangs.
class LibrbdStore : public ImageStore, public FastListing {
 public:
  explicit LibrbdStore(CephAccess access, rbd::ReadWindow reads = {}, rbd::WriteWindow writes = {});

  std::string fsid() override;
  std::optional<ImageState> find(const ImageSpec& image) override;
  std::vector<std::optional<ImageState>> find_all(std::span<const ImageSpec> images) override;
  /// The pool's MAX AVAIL where a manager reports it, otherwise the cluster's free space by the number of copies;
  /// ErrorCode::unsupported if the cluster reports neither.
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

  // What is asked for beyond the port: by streams of the stock command, and by a restricted agent.

  /// read_diff() up to the head instead of a snapshot. Only consistent if nobody writes meanwhile.
  void read_head_diff(const ImageSpec& image, const std::optional<Snapshot>& from, DiffSink& sink,
                      std::stop_token stop);
  /// Where an image that is not there may be, and how it comes back; empty if nothing is known.
  std::string why_missing(const ImageSpec& image);
  /// Words of a command line for Ceph (CephWords::options), for the connection that is made from now on.
  void set_ceph_options(std::vector<std::string> words);
  /// True if nothing is stored in the image's head. Only certain if nobody writes meanwhile.
  bool is_empty(const ImageSpec& image);
  void protect_snapshot(const ImageSpec& image, const std::string& name);
  /// How much of a diff's content is being written at once, to images that are held from now on.
  void set_write_bytes(std::uint64_t bytes);
  /// The pool Ceph's commands take where none is named.
  std::string default_pool();

  /// An image's pool and namespace.
  rbd::IoContext context(const ImageSpec& image);

 private:
  std::shared_ptr<rbd::Cluster> cluster();
  rbd::Image open(const ImageSpec& image, rbd::Image::Mode mode);
  /// What lies in `ranges` of a diff; see read_diff().
  void read_parts(const ImageSpec& image, const std::optional<Snapshot>& from, const Snapshot& to,
                  std::vector<ByteRange> ranges, DiffSink& sink, const std::stop_token& stop);

  CephAccess access_;
  rbd::ReadWindow reads_;
  std::vector<std::string> ceph_options_;
  rbd::SharedAttempt<rbd::Cluster> cluster_;
  std::mutex mutex_;  // guards what follows
  rbd::WriteWindow writes_;
};

}  // namespace crossover
