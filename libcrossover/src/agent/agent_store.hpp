/// \file
/// Images of a cluster that another host's agent reaches.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agent/connection_pool.hpp"
#include "agent/transfer_sender.hpp"
#include "engine/image_store.hpp"

namespace crossover {

/// ImageStore through `crossover agent`, which serves its own librbd. Errors of the other side come out as they
/// were thrown there; Error{unreachable}, retryable, when it is gone. Diffs that are written are compressed and
/// hashed on the way, and finish() returns only when both sides have the same digest and everything is on stable
/// storage there.
class AgentStore final : public ImageStore {
 public:
  AgentStore(std::shared_ptr<agent::ConnectionPool> pool, CephAccess access, agent::SendWindow window = {});

  /// How much of a diff's content the agent may have under way at once, for images that are held from now on; until
  /// it is called, as much as the agent was started with.
  void set_far_memory(std::uint64_t bytes) noexcept { far_memory_ = bytes; }

  std::string fsid() override;
  std::optional<ImageState> find(const ImageSpec& image) override;
  std::vector<std::optional<ImageState>> find_all(std::span<const ImageSpec> images) override;
  std::uint64_t available_bytes(const std::string& pool) override;
  void create(const ImageSpec& image, const ImageLayout& layout) override;
  void remove(const ImageSpec& image) override;
  void trash(const ImageSpec& image, std::chrono::seconds delay) override;
  Snapshot create_snapshot(const ImageSpec& image, const std::string& name) override;
  void remove_snapshot(const ImageSpec& image, const Snapshot& snapshot) override;
  /// Has a connection of its own; a sink that is destroyed before it was finished closes it.
  std::unique_ptr<ImageHold> hold(const ImageSpec& image, std::stop_token stop) override;
  void set_metadata(const ImageSpec& image, const std::string& key, const std::string& value) override;
  void remove_metadata(const ImageSpec& image, const std::string& key) override;
  bool head_unchanged_since(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) override;
  void read_diff(const ImageSpec& image, const std::optional<Snapshot>& from, const Snapshot& to,
                 std::uint64_t offset, DiffSink& sink, std::stop_token stop) override;
  void read_ranges(const ImageSpec& image, const Snapshot& snapshot, std::span<const ByteRange> ranges,
                   DiffSink& sink, std::stop_token stop) override;
  void hash_blocks(const ImageSpec& image, const Snapshot& snapshot, const BlockSelection& blocks,
                   const std::function<void(const BlockHash&)>& take, std::stop_token stop) override;

 private:
  agent::Json call(const std::string& operation, agent::Json request, const std::stop_token& stop = {});
  /// Gives the transfer that follows the answer to a request to `sink`.
  void receive(const std::string& operation, agent::Json request, DiffSink& sink, const std::stop_token& stop);
  [[nodiscard]] agent::Json about(const ImageSpec& image) const;

  std::shared_ptr<agent::ConnectionPool> pool_;
  CephAccess access_;
  agent::SendWindow window_;
  std::atomic<std::uint64_t> far_memory_ = 0;  // 0: not told
  std::mutex mutex_;
  std::string fsid_;  // once it was asked for
};

}  // namespace crossover
