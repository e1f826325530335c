#include "agent/server.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

#include "agent/transfer_sender.hpp"
#include "crossover/error.hpp"
#include "crossover/migrator.hpp"
#include "crossover/vmid.hpp"
#include "engine/unexpected_error.hpp"
#include "model/text.hpp"
#include "stream/agent_protocol.hpp"
#include "stream/transfer_digest.hpp"

namespace crossover::agent {

namespace {

template <typename T>
T argument(const Json& request, const char* key) {
  return member_of<T>(request, key, "read request");
}

/// What a client says gets into paths, command lines and scripts' arguments: none of it may be more than what it is
/// said to be.
void require(bool fits, const char* key) {
  if (!fits) throw Error(ErrorCode::format, "read request", "", fmt::format("'{}' is not what it should be", key));
}

Vmid vmid_of(const Json& request) {
  const auto vmid = argument<Vmid>(request, "vmid");
  require(vmid >= min_vmid && vmid <= max_vmid, "vmid");
  return vmid;
}

/// Seconds or milliseconds.
std::int64_t span_of(const Json& request, const char* key) {
  constexpr std::int64_t longest = std::int64_t{1} << 40;
  const auto span = argument<std::int64_t>(request, key);
  require(span >= 0 && span <= longest, key);
  return span;
}

std::string node_of(const Json& request) {
  auto node = argument<std::string>(request, "node");
  require(node.size() <= 63 && text::is_dns_name(node) && node.find('.') == std::string::npos, "node");
  return node;
}

std::string storage_of(const Json& request) {
  auto storage = argument<std::string>(request, "storage");
  require(text::is_storage_id(storage), "storage");
  return storage;
}

/// Of a pool, an image, a snapshot or a metadata key: no option, no path and no second part of a longer name, but
/// for those of `others`.
bool is_name(std::string_view name, std::string_view others = {}) {
  return !name.empty() && name.size() <= 255 && name.front() != '-' &&
         std::all_of(name.begin(), name.end(), [others](char c) {
           const auto byte = static_cast<unsigned char>(c);
           return byte >= 0x20 && byte != 0x7f && ((c != '/' && c != '@') || others.find(c) != std::string_view::npos);
         });
}

std::string name_of(const Json& request, const char* key, std::string_view others = {}) {
  auto name = argument<std::string>(request, key);
  require(is_name(name, others), key);
  return name;
}

void check_image(const ImageSpec& image) {
  require(is_name(image.pool) && is_name(image.name), "image");
  require(image.rados_namespace.empty() || is_name(image.rados_namespace), "image");
}

ImageSpec image_of(const Json& request) {
  auto image = argument<ImageSpec>(request, "image");
  check_image(image);
  return image;
}

std::vector<ImageSpec> images_of(const Json& request) {
  auto images = argument<std::vector<ImageSpec>>(request, "images");
  for (const ImageSpec& image : images) check_image(image);
  return images;
}

Snapshot snapshot_of(const Json& request, const char* key) {
  auto snapshot = argument<Snapshot>(request, key);
  require(is_name(snapshot.name), key);
  return snapshot;
}

std::vector<BlockHash> hash_blocks(ImageStore& store, const ImageSpec& image, const Snapshot& snapshot,
                                   const BlockSelection& blocks, const std::stop_token& stop) {
  std::vector<BlockHash> hashes;
  const auto take = [&](const BlockHash& hash) {
    if (hashes.size() == 2 * hashes_per_request) {
      throw Error(ErrorCode::usage, "hash blocks", to_string(image), "more than one answer has room for");
    }
    hashes.push_back(hash);
  };
  store.hash_blocks(image, snapshot, blocks, take, stop);
  return hashes;
}

/// Some at a time: what is known of one image may be much, and one request may ask for it again and again.
Json find_all(ImageStore& store, const std::vector<ImageSpec>& images) {
  constexpr std::size_t at_once = 256;
  constexpr std::size_t most_bytes = stream::max_answer_bytes / 4;
  constexpr std::size_t bytes_of_one = 64;  // of a snapshot, a key or an image beside its texts
  Json found = Json::array();
  std::size_t bytes = 0;
  for (std::size_t begin = 0; begin < images.size(); begin += at_once) {
    const std::size_t count = std::min(at_once, images.size() - begin);
    for (const auto& state : store.find_all(std::span(images).subspan(begin, count))) {
      bytes += bytes_of_one;
      if (state) {
        for (const Snapshot& snapshot : state->snapshots) bytes += bytes_of_one + snapshot.name.size();
        for (const auto& [key, value] : state->metadata) bytes += bytes_of_one + key.size() + value.size();
      }
      if (bytes > most_bytes) throw Error(ErrorCode::usage, "look at images", "", "more than one answer has room for");
      found.push_back(state);
    }
  }
  return found;
}

}  // namespace

Server::Server(int in, int out, Side side, std::uint64_t memory_bytes, Prepare prepare,
               std::chrono::milliseconds silence, std::chrono::milliseconds beat)
    : stream_(in, out, ending_.get_token()),
      side_(side),
      memory_bytes_(memory_bytes),
      prepare_(std::move(prepare)),
      inbox_(stream_, ending_, memory_bytes / 2, silence),
      beat_(beat),
      beating_([this](const std::stop_token& destroyed) { this->beat(destroyed); }) {}

Server::~Server() {
  // Ends the reading thread.
  ending_.request_stop();
}

void Server::serve(std::stop_token stop) {
  const std::stop_callback forward(std::move(stop), [this] { ending_.request_stop(); });
  try {
    if (!greet()) return;
    for (;;) {
      inbox_.expect(hold_ || guest_hold_ || config_hold_);
      const Inbox::Message message = inbox_.take();
      inbox_.expect(false);
      if (const auto* end = std::get_if<Inbox::End>(&message)) {
        if (end->why) std::rethrow_exception(end->why);
        return;
      }
      const auto* request = std::get_if<Inbox::Request>(&message);
      if (request == nullptr) throw Error(ErrorCode::format, "serve", "client", "a transfer nobody asked for");
      busy_ = true;
      const bool goes_on = handle(parse_json(request->frame.text(), max_request_values));
      busy_ = false;
      if (!goes_on) return;
    }
  } catch (const Cancelled&) {
  } catch (const Error& error) {
    try {
      if (error.code() == ErrorCode::format) answer_error(error);
    } catch (...) {  // NOLINT(bugprone-empty-catch): whoever is gone by now hears nothing
    }
    throw;
  }
}

void Server::beat(const std::stop_token& destroyed) {
  std::mutex mutex;
  std::condition_variable_any never;
  const std::vector<std::byte> frame = stream::render_frame(stream::FrameType::busy, "");
  try {
    for (std::unique_lock lock(mutex); !destroyed.stop_requested();) {
      never.wait_for(lock, destroyed, beat_, [&destroyed] { return destroyed.stop_requested(); });
      if (busy_ && !destroyed.stop_requested()) stream_.write(frame);
    }
  } catch (...) {  // NOLINT(bugprone-empty-catch): whoever answers the request meets the same
  }
}

bool Server::greet() {
  const std::string ours = stream::render_hello({stream::agent_protocol_version, crossover::version()});
  stream_.write(std::as_bytes(std::span(ours)));
  const Inbox::Message message = inbox_.take();
  if (const auto* end = std::get_if<Inbox::End>(&message)) {
    if (end->why) std::rethrow_exception(end->why);
    return false;
  }
  const auto* hello = std::get_if<stream::AgentHello>(&message);
  // A client of another version has our hello and knows by itself.
  return hello != nullptr && hello->protocol == stream::agent_protocol_version;
}

bool Server::handle(const Json& request) {
  try {
    if (!request.is_object()) throw Error(ErrorCode::format, "read request", "", "it is no object");
    id_ = argument<std::uint64_t>(request, "id");
    const std::optional<Json> result = dispatch(argument<std::string>(request, "op"), request);
    if (result) answer(*result);
  } catch (...) {
    answer_error(failure_at_hand());
  }
  return !broken_;
}

std::optional<Json> Server::dispatch(const std::string& operation, const Json& request) {
  if (request.contains("access")) return images(operation, request);
  if (operation == "ping") return Json(nullptr);
  if (operation == "prepare") {
    const auto storage = storage_of(request);
    const auto user = argument<std::optional<CephUser>>(request, "user");
    if (prepare_) prepare_(storage, user);
    return Json(nullptr);
  }
  if (operation == "release" || operation.starts_with("held_")) return held(operation, request);
  return hypervisor(operation, request);
}

std::optional<Json> Server::images(const std::string& operation, const Json& request) {
  ImageStore& store = side_.images.open(argument<CephAccess>(request, "access"));
  const std::stop_token stop = ending_.get_token();
  if (operation == "fsid") return store.fsid();
  if (operation == "available_bytes") return store.available_bytes(name_of(request, "pool"));
  if (operation == "find_all") return find_all(store, images_of(request));

  const auto image = image_of(request);
  const auto snapshot = [&request] { return snapshot_of(request, "snapshot"); };
  if (operation == "create_snapshot") return store.create_snapshot(image, name_of(request, "name"));
  if (operation == "head_unchanged_since") return store.head_unchanged_since(image, snapshot(), stop);
  if (operation == "read_diff") {
    read_diff(store, image, request);
    return std::nullopt;
  }
  if (operation == "read_ranges") {
    read_ranges(store, image, request);
    return std::nullopt;
  }
  if (operation == "hash_blocks") {
    return hash_blocks(store, image, snapshot(), argument<BlockSelection>(request, "blocks"), stop);
  }
  if (operation == "create") {
    store.create(image, argument<ImageLayout>(request, "layout"));
  } else if (operation == "remove") {
    store.remove(image);
  } else if (operation == "trash") {
    store.trash(image, std::chrono::seconds(span_of(request, "delay_seconds")));
  } else if (operation == "remove_snapshot") {
    store.remove_snapshot(image, snapshot());
  } else if (operation == "hold") {
    hold(store, image, request);
  } else if (operation == "set_metadata") {
    store.set_metadata(image, name_of(request, "key"), argument<std::string>(request, "value"));
  } else if (operation == "remove_metadata") {
    store.remove_metadata(image, name_of(request, "key"));
  } else {
    throw Error(ErrorCode::unsupported, "serve", operation, "there is no such operation");
  }
  return Json(nullptr);
}

void Server::hold(ImageStore& store, const ImageSpec& image, const Json& request) {
  if (hold_) throw Error(ErrorCode::usage, "hold", "", "this connection holds an image already");
  if (request.contains("memory_bytes")) {
    const std::uint64_t bytes = std::min(argument<std::uint64_t>(request, "memory_bytes"), memory_bytes_);
    side_.images.set_transfer_memory(bytes);
    inbox_.set_max_bytes(bytes / 2);
  }
  hold_ = store.hold(image, ending_.get_token());
}

void Server::read_diff(ImageStore& store, const ImageSpec& image, const Json& request) {
  const auto from = argument<std::optional<Snapshot>>(request, "from");
  const auto to = snapshot_of(request, "to");
  const auto offset = argument<std::uint64_t>(request, "offset");
  answer(nullptr);
  TransferSender sender([this](std::span<const std::byte> bytes) { stream_.write(bytes); }, to_string(image),
                        ending_.get_token());
  store.read_diff(image, from, to, offset, sender, ending_.get_token());
}

void Server::read_ranges(ImageStore& store, const ImageSpec& image, const Json& request) {
  const auto snapshot = snapshot_of(request, "snapshot");
  const auto ranges = argument<std::vector<ByteRange>>(request, "ranges");
  answer(nullptr);
  TransferSender sender([this](std::span<const std::byte> bytes) { stream_.write(bytes); }, to_string(image),
                        ending_.get_token());
  store.read_ranges(image, snapshot, ranges, sender, ending_.get_token());
}

Json Server::held(const std::string& operation, const Json& request) {
  if (!hold_) throw Error(ErrorCode::usage, operation, "", "this connection holds no image");
  if (operation == "held_state") return hold_->state();
  if (operation == "held_head_unchanged_since") {
    return hold_->head_unchanged_since(snapshot_of(request, "snapshot"), ending_.get_token());
  }
  if (operation == "held_head_unchanged_since_transfer") {
    return hold_->head_unchanged_since_transfer(argument<std::string>(request, "transfer"), ending_.get_token());
  }
  if (operation == "held_write_diff") return write_diff(argument<TransferProgress>(request, "from"));
  if (operation == "held_create_snapshot") return hold_->create_snapshot(name_of(request, "name"));
  if (operation == "held_set_metadata") {
    hold_->set_metadata(name_of(request, "key"), argument<std::string>(request, "value"));
  } else if (operation == "held_remove_metadata") {
    hold_->remove_metadata(name_of(request, "key"));
  } else if (operation == "held_roll_back") {
    hold_->roll_back(snapshot_of(request, "snapshot"), ending_.get_token());
  } else if (operation == "release") {
    hold_.reset();
  } else {
    throw Error(ErrorCode::unsupported, "serve", operation, "there is no such operation");
  }
  return nullptr;
}

Json Server::write_diff(const TransferProgress& from) {
  const std::unique_ptr<DiffSink> sink = hold_->write_diff(from, ending_.get_token());
  answer(nullptr);
  // What the client sends from now on is of no use once this has failed.
  broken_ = true;
  const stream::Digest digest = receive(*sink);
  broken_ = false;
  return {{"digest", stream::to_hex(digest)}};
}

stream::Digest Server::receive(DiffSink& sink) {
  for (;;) {
    Inbox::Message message = inbox_.take();
    if (const auto* end = std::get_if<Inbox::End>(&message)) {
      if (end->why) std::rethrow_exception(end->why);
      throw Cancelled{};
    }
    auto* record = std::get_if<stream::TransferRecord>(&message);
    if (record == nullptr)
      throw Error(ErrorCode::format, "write diff", "", "a request in the middle of a transfer");
    if (const auto* size = std::get_if<stream::SizeRecord>(record)) sink.size(size->size_bytes);
    if (auto* data = std::get_if<stream::DataRecord>(record)) sink.hand_over(data->offset, std::move(data->bytes));
    if (const auto* zero = std::get_if<stream::ZeroRecord>(record)) sink.zero(zero->offset, zero->length_bytes);
    if (std::holds_alternative<stream::MarkRecord>(*record)) sink.mark();
    if (const auto* end = std::get_if<stream::EndRecord>(record)) {
      sink.finish();
      return end->digest;
    }
  }
}

Json Server::hypervisor(const std::string& operation, const Json& request) {
  Hypervisor& hypervisor = side_.hypervisor;
  const std::stop_token stop = ending_.get_token();
  if (operation == "survey") {
    return hypervisor.survey(value_of<SurveyScope>(request, "read request"), stop);
  }
  if (operation == "release_guest") {
    const std::unique_ptr<GuestHold> hold = std::move(guest_hold_);
    if (!hold) throw Error(ErrorCode::usage, operation, "", "no guest is held");
    return hold->release().count();
  }
  if (operation == "read_config") {
    return hypervisor.read_config(node_of(request), vmid_of(request), stop);
  }
  if (operation == "write_config") {
    return hypervisor.write_config(node_of(request), vmid_of(request),
                                   argument<std::optional<ConfigVersion>>(request, "expected"),
                                   argument<std::string>(request, "bytes"), stop);
  }
  if (operation == "write_firewall") {
    hypervisor.write_firewall(vmid_of(request), argument<std::optional<std::string>>(request, "bytes"), stop);
    return nullptr;
  }
  if (operation == "hold_config") {
    if (config_hold_) throw Error(ErrorCode::usage, operation, "", "this connection holds a configuration already");
    config_hold_ = hypervisor.hold_config(node_of(request), vmid_of(request),
                                          argument<ConfigVersion>(request, "expected"),
                                          argument<std::string>(request, "bytes"));
    return nullptr;
  }
  if (operation == "release_config") {
    const std::unique_ptr<ConfigHold> hold = std::move(config_hold_);
    if (!hold) throw Error(ErrorCode::usage, operation, "", "no configuration is held");
    hold->release();
    return nullptr;
  }
  if (operation == "hold_guest") {
    if (guest_hold_) throw Error(ErrorCode::usage, operation, "", "this connection holds a guest already");
    guest_hold_ = hypervisor.hold_guest(
        argument<bool>(request, "pause") ? HoldWay::pause : HoldWay::freeze, node_of(request),
        vmid_of(request), std::chrono::milliseconds(span_of(request, "deadline_ms")), stop);
    return guest_hold_->already();
  }
  return power(operation, request);
}

Json Server::power(const std::string& operation, const Json& request) {
  GuestPower& power = side_.power;
  const std::stop_token stop = ending_.get_token();
  const auto node = [&request] { return node_of(request); };
  if (operation == "power") return power.power(node(), vmid_of(request), stop);
  if (operation == "agent_answers") return power.agent_answers(node(), vmid_of(request), stop);
  if (operation == "start") {
    power.start(node(), vmid_of(request), stop);
  } else if (operation == "shut_down") {
    power.shut_down(node(), vmid_of(request),
                    std::chrono::seconds(span_of(request, "timeout_seconds")),
                    argument<bool>(request, "force"), stop);
  } else if (operation == "suspend") {
    power.suspend(node(), vmid_of(request), storage_of(request), stop);
  } else if (operation == "free_volume") {
    power.free_volume(node(), name_of(request, "volume", "/@"), stop);
  } else if (operation == "set_ha_state") {
    power.set_ha_state(vmid_of(request), name_of(request, "state"), stop);
  } else if (operation == "destroy") {
    power.destroy(node(), vmid_of(request), stop);
  } else {
    throw Error(ErrorCode::unsupported, "serve", operation, "there is no such operation");
  }
  return nullptr;
}

void Server::answer(const Json& result) {
  stream_.write(stream::render_frame(stream::FrameType::answer, render_json({{"id", id_}, {"result", result}})));
}

void Server::answer_error(const Error& error) {
  stream_.write(
      stream::render_frame(stream::FrameType::answer, render_json({{"id", id_}, {"error", render_error(error)}})));
}

}  // namespace crossover::agent
