#include "agent/agent_store.hpp"

#include <utility>

#include "agent/agent_hold.hpp"
#include "crossover/error.hpp"
#include "engine/block_hashes.hpp"

namespace crossover {

using agent::Json;
using agent::value_of;

AgentStore::AgentStore(std::shared_ptr<agent::ConnectionPool> pool, CephAccess access, agent::SendWindow window)
    : pool_(std::move(pool)), access_(std::move(access)), window_(window) {}

Json AgentStore::call(const std::string& operation, Json request, const std::stop_token& stop) {
  request["access"] = access_;
  return pool_->acquire(stop)->call(operation, std::move(request), stop);
}

Json AgentStore::about(const ImageSpec& image) const {
  return {{"access", access_}, {"image", image}};
}

std::string AgentStore::fsid() {
  const std::scoped_lock lock(mutex_);
  if (fsid_.empty()) fsid_ = value_of<std::string>(call("fsid", Json::object()), "read fsid");
  return fsid_;
}

std::optional<ImageState> AgentStore::find(const ImageSpec& image) {
  return std::move(find_all({&image, 1}).front());
}

std::vector<std::optional<ImageState>> AgentStore::find_all(std::span<const ImageSpec> images) {
  const Json answer = call("find_all", {{"images", std::vector<ImageSpec>(images.begin(), images.end())}});
  auto states = value_of<std::vector<std::optional<ImageState>>>(answer, "look at images");
  if (states.size() != images.size()) {
    throw Error(ErrorCode::format, "look at images", pool_->host(), "an answer about other images");
  }
  return states;
}

std::uint64_t AgentStore::available_bytes(const std::string& pool) {
  return value_of<std::uint64_t>(call("available_bytes", {{"pool", pool}}), "read free space");
}

void AgentStore::create(const ImageSpec& image, const ImageLayout& layout) {
  Json request = about(image);
  request["layout"] = layout;
  call("create", std::move(request));
}

void AgentStore::remove(const ImageSpec& image) {
  call("remove", about(image));
}

void AgentStore::trash(const ImageSpec& image, std::chrono::seconds delay) {
  Json request = about(image);
  request["delay_seconds"] = delay.count();
  call("trash", std::move(request));
}

Snapshot AgentStore::create_snapshot(const ImageSpec& image, const std::string& name) {
  Json request = about(image);
  request["name"] = name;
  return value_of<Snapshot>(call("create_snapshot", std::move(request)), "create snapshot");
}

void AgentStore::remove_snapshot(const ImageSpec& image, const Snapshot& snapshot) {
  Json request = about(image);
  request["snapshot"] = snapshot;
  call("remove_snapshot", std::move(request));
}

std::unique_ptr<ImageHold> AgentStore::hold(const ImageSpec& image, std::stop_token stop) {
  // Others are needed while it is held.
  agent::ConnectionPool::Lease connection = pool_->acquire_extra(stop);
  Json request = about(image);
  if (const std::uint64_t bytes = far_memory_; bytes != 0) request["memory_bytes"] = bytes;
  connection->call("hold", std::move(request), stop);
  return agent::make_agent_hold(std::move(connection), to_string(image), window_, std::move(stop));
}

void AgentStore::set_metadata(const ImageSpec& image, const std::string& key, const std::string& value) {
  Json request = about(image);
  request["key"] = key;
  request["value"] = value;
  call("set_metadata", std::move(request));
}

void AgentStore::remove_metadata(const ImageSpec& image, const std::string& key) {
  Json request = about(image);
  request["key"] = key;
  call("remove_metadata", std::move(request));
}

bool AgentStore::head_unchanged_since(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) {
  Json request = about(image);
  request["snapshot"] = snapshot;
  return value_of<bool>(call("head_unchanged_since", std::move(request), stop), "compare with snapshot");
}

void AgentStore::read_diff(const ImageSpec& image, const std::optional<Snapshot>& from, const Snapshot& to,
                           std::uint64_t offset, DiffSink& sink, std::stop_token stop) {
  Json request = about(image);
  request["from"] = from;
  request["to"] = to;
  request["offset"] = offset;
  receive("read_diff", std::move(request), sink, stop);
}

void AgentStore::read_ranges(const ImageSpec& image, const Snapshot& snapshot, std::span<const ByteRange> ranges,
                             DiffSink& sink, std::stop_token stop) {
  Json request = about(image);
  request["snapshot"] = snapshot;
  request["ranges"] = std::vector<ByteRange>(ranges.begin(), ranges.end());
  receive("read_ranges", std::move(request), sink, stop);
}

void AgentStore::hash_blocks(const ImageSpec& image, const Snapshot& snapshot, const BlockSelection& blocks,
                             const std::function<void(const BlockHash&)>& take, std::stop_token stop) {
  check_selection(blocks);
  for (const BlockSelection& piece : split_selection(blocks, agent::hashes_per_request)) {
    Json request = about(image);
    request["snapshot"] = snapshot;
    request["blocks"] = piece;
    const Json answer = call("hash_blocks", std::move(request), stop);
    for (const BlockHash& hash : value_of<std::vector<BlockHash>>(answer, "hash blocks")) take(hash);
  }
}

void AgentStore::receive(const std::string& operation, Json request, DiffSink& sink, const std::stop_token& stop) {
  const agent::ConnectionPool::Lease connection = pool_->acquire(stop);
  connection->call(operation, std::move(request), stop);
  const agent::Connection::Watch watch(*connection, stop);
  stream::TransferDecoder decoder("agent on " + pool_->host());
  for (bool ended = false; !ended;) {
    stream::Frame frame = connection->read_frame();
    // An error is the last thing the agent says of a transfer.
    if (frame.type == stream::FrameType::answer) connection->answer_in(frame);
    try {
      stream::TransferRecord record = decoder.decode(std::move(frame));
      if (stop.stop_requested()) throw Cancelled{};
      if (const auto* size = std::get_if<stream::SizeRecord>(&record)) sink.size(size->size_bytes);
      if (auto* data = std::get_if<stream::DataRecord>(&record))
        sink.hand_over(data->offset, std::move(data->bytes));
      if (const auto* zero = std::get_if<stream::ZeroRecord>(&record)) sink.zero(zero->offset, zero->length_bytes);
      if (std::holds_alternative<stream::MarkRecord>(record)) sink.mark();
      ended = std::holds_alternative<stream::EndRecord>(record);
    } catch (...) {
      connection->give_up();
      throw;
    }
  }
  if (stop.stop_requested()) throw Cancelled{};
  sink.finish();
}

}  // namespace crossover
