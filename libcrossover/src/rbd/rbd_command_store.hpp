/// \file
/// Images of a cluster that another host reaches with the stock `rbd` command.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/image_store.hpp"
#include "engine/shell.hpp"

namespace crossover {

/// ImageStore through `rbd` and `ceph` on a host, as of Ceph 16. Slower than librbd and with less protection:
/// nothing holds an image's lock between the look for other clients and the end of a write. Metadata values must
/// not be empty: `rbd image-meta set` refuses them (ErrorCode::usage).
class RbdCommandStore final : public ImageStore {
 public:
  RbdCommandStore(std::shared_ptr<Shell> shell, CephAccess access);

  std::string fsid() override;
  std::optional<ImageState> find(const ImageSpec& image) override;
  std::vector<std::optional<ImageState>> find_all(std::span<const ImageSpec> images) override;
  /// MAX AVAIL of `ceph df`; ErrorCode::unsupported where no manager reports it.
  std::uint64_t available_bytes(const std::string& pool) override;
  void create(const ImageSpec& image, const ImageLayout& layout) override;
  void remove(const ImageSpec& image) override;
  void trash(const ImageSpec& image, std::chrono::seconds delay) override;
  Snapshot create_snapshot(const ImageSpec& image, const std::string& name) override;
  void remove_snapshot(const ImageSpec& image, const Snapshot& snapshot) override;
  /// Only looks for other clients, now and again before and after everything that rests on there being none.
  std::unique_ptr<ImageHold> hold(const ImageSpec& image, std::stop_token stop) override;
  void set_metadata(const ImageSpec& image, const std::string& key, const std::string& value) override;
  void remove_metadata(const ImageSpec& image, const std::string& key) override;
  bool head_unchanged_since(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) override;
  void read_diff(const ImageSpec& image, const std::optional<Snapshot>& from, const Snapshot& to,
                 std::uint64_t offset, DiffSink& sink, std::stop_token stop) override;
  /// Reads all of the image and gives on what is asked for.
  void read_ranges(const ImageSpec& image, const Snapshot& snapshot, std::span<const ByteRange> ranges,
                   DiffSink& sink, std::stop_token stop) override;
  /// Reads all of the image, whatever is selected of it, and refuses a sample.
  void hash_blocks(const ImageSpec& image, const Snapshot& snapshot, const BlockSelection& blocks,
                   const std::function<void(const BlockHash&)>& take, std::stop_token stop) override;

 private:
  class Hold;

  void roll_back(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop);
  /// Goes on where another implementation came to, and keeps no progress of its own.
  std::unique_ptr<DiffSink> write_diff(const ImageSpec& image, const TransferProgress& from, std::stop_token stop);
  CommandResult run(const std::vector<std::string>& argv, std::chrono::milliseconds limit,
                    std::stop_token stop = {});
  /// Runs `rbd` on an image and throws for an exit status that is neither 0 nor `accepted`.
  CommandResult rbd(const ImageSpec& image, const std::vector<std::string>& words, const std::string& operation,
                    std::chrono::milliseconds limit, std::stop_token stop = {}, int accepted = 0);
  /// Where an image that is not there may be, and how it comes back; empty if nothing is known.
  std::string why_missing(const ImageSpec& image);
  /// Why such a command failed, with what RBD itself does not say.
  Error explain(const ImageSpec& image, const CommandResult& result, const std::string& operation);
  std::vector<std::string> command(const ImageSpec& image, const std::vector<std::string>& words);
  /// How the cluster is reached, once it is known what the Ceph over there takes.
  const CephAccess& access();
  std::vector<std::optional<ImageState>> survey(std::span<const ImageSpec> images);
  /// What `rbd` says about an image in JSON.
  nlohmann::json ask(const ImageSpec& image, std::vector<std::string> words, const std::string& operation);
  /// Throws unless the snapshots' names still mean their ids.
  void require(const ImageSpec& image, std::span<const Snapshot> snapshots, const std::string& operation);
  /// Throws Error{in_use} if a client has the image open for writing.
  void require_unwatched(const ImageSpec& image, const std::string& operation);
  ImageLayout layout(const ImageSpec& image, const std::string& operation);
  std::int64_t pool_id(const std::string& pool);

  std::shared_ptr<Shell> shell_;
  CephAccess access_;
  std::once_flag access_is_asked_;
  std::mutex mutex_;
  std::map<std::string, std::int64_t> pool_ids_;
};

}  // namespace crossover
