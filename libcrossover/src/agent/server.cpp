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
#include "plan/reception_check.hpp"
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

Server::Server(int in, int out, const Service& service, std::uint64_t memory_bytes, Prepare prepare,
               std::chrono::milliseconds silence, std::chrono::milliseconds beat)
    : stream_(in, out, ending_.get_token()),
      service_(service),
      memory_bytes_(memory_bytes),
      prepare_(std::move(prepare)),
      inbox_(stream_, ending_, memory_bytes / 2, silence),
      beat_(beat),
      beating_([this](const std::stop_token& destroyed) { this->beat(destroyed); }) {
  if (service.reception != nullptr) points_.emplace(*service.reception);
}

Server::~Server() {
  // Ends the reading thread.
  ending_.request_stop();
}

void Server::serve(std::stop_token stop) {
  const std::stop_callback forward(std::move(stop), [this] { ending_.request_stop(); });
  try {
    if (!greet()) return;
    for (;;) {
      inbox_.expect(hold_ || guest_hold_ || config_hold_ || (points_ && points_->holds()));
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
  } catch (const Error& error) {
    answer_error(error);
  } catch (...) {
    answer_error(failure_at_hand());
  }
  return !broken_;
}

namespace {

/// Of most operations.
std::optional<Json> nothing() {
  return Json(nullptr);
}

}  // namespace

const std::map<std::string, Server::Operation, std::less<>>& Server::operations() {
  using R = const Json&;
  constexpr auto anyone = Who::anyone;
  constexpr auto unrestricted = Who::unrestricted;
  static const std::map<std::string, Operation, std::less<>> all{
      {"ping", {anyone, [](Server&, R) { return nothing(); }}},
      {"prepare", {anyone, [](Server& s, R r) { return s.prepare(r); }}},
      // What is there.
      {"survey",
       {anyone,
        [](Server& s, R r) -> Result {
          return s.hypervisor().survey(value_of<SurveyScope>(r, "read request"), s.stop());
        }}},
      {"fsid", {anyone, [](Server& s, R r) -> Result { return s.store(r).fsid(); }}},
      {"available_bytes",
       {anyone, [](Server& s, R r) -> Result { return s.store(r).available_bytes(name_of(r, "pool")); }}},
      {"find_all", {anyone, [](Server& s, R r) -> Result { return find_all(s.store(r), images_of(r)); }}},
      {"hash_blocks",
       {anyone,
        [](Server& s, R r) -> Result {
          return hash_blocks(s.store(r), image_of(r), snapshot_of(r, "snapshot"),
                             argument<BlockSelection>(r, "blocks"), s.stop());
        }}},
      // A recovery point, and a disk's part in one.
      {"begin_point", {anyone, [](Server& s, R r) -> Result { return s.points().begin(r, s.stop()); }}},
      {"carry_out", {anyone, [](Server& s, R r) -> Result { return s.points().carry_out(r); }}},
      {"record_point", {anyone, [](Server& s, R r) -> Result { return s.points().record(r); }}},
      {"end_point", {anyone, [](Server& s, R) -> Result { return s.points().end(); }}},
      {"receive_disk",
       {anyone,
        [](Server& s, R r) {
          s.take_memory(r);
          s.points().receive_disk({argument<CephAccess>(r, "access"), image_of(r)},
                                  argument<std::string>(r, "transfer"), s.stop());
          return nothing();
        }}},
      {"receive_first_disk",
       {anyone,
        [](Server& s, R r) {
          s.take_memory(r);
          s.points().receive_first_disk(s.stop());
          return nothing();
        }}},
      {"write_disk", {anyone, [](Server& s, R r) -> Result { return s.write(s.points().write_disk(r, s.stop())); }}},
      {"disk_applied",
       {anyone,
        [](Server& s, R) {
          s.points().disk().applied();
          return nothing();
        }}},
      {"disk_snapshot",
       {anyone,
        [](Server& s, R) {
          s.points().disk().make_snapshot();
          return nothing();
        }}},
      {"release_disk",
       {anyone,
        [](Server& s, R) {
          s.points().release_disk();
          return nothing();
        }}},
      // Images.
      {"create",
       {unrestricted,
        [](Server& s, R r) {
          s.store(r).create(image_of(r), argument<ImageLayout>(r, "layout"));
          return nothing();
        }}},
      {"remove",
       {unrestricted,
        [](Server& s, R r) {
          s.store(r).remove(image_of(r));
          return nothing();
        }}},
      {"trash",
       {unrestricted,
        [](Server& s, R r) {
          s.store(r).trash(image_of(r), std::chrono::seconds(span_of(r, "delay_seconds")));
          return nothing();
        }}},
      {"create_snapshot",
       {unrestricted,
        [](Server& s, R r) -> Result { return s.store(r).create_snapshot(image_of(r), name_of(r, "name")); }}},
      {"remove_snapshot",
       {unrestricted,
        [](Server& s, R r) {
          s.store(r).remove_snapshot(image_of(r), snapshot_of(r, "snapshot"));
          return nothing();
        }}},
      {"set_metadata",
       {unrestricted,
        [](Server& s, R r) {
          s.store(r).set_metadata(image_of(r), name_of(r, "key"), argument<std::string>(r, "value"));
          return nothing();
        }}},
      {"remove_metadata",
       {unrestricted,
        [](Server& s, R r) {
          s.store(r).remove_metadata(image_of(r), name_of(r, "key"));
          return nothing();
        }}},
      {"head_unchanged_since",
       {unrestricted,
        [](Server& s, R r) -> Result {
          return s.store(r).head_unchanged_since(image_of(r), snapshot_of(r, "snapshot"), s.stop());
        }}},
      {"read_diff", {unrestricted, [](Server& s, R r) { return s.read_diff(r); }}},
      {"read_ranges", {unrestricted, [](Server& s, R r) { return s.read_ranges(r); }}},
      // An image that is held.
      {"hold", {unrestricted, [](Server& s, R r) { return s.hold(r); }}},
      {"release",
       {unrestricted,
        [](Server& s, R) {
          (void)s.held();
          s.hold_.reset();
          return nothing();
        }}},
      {"held_state", {unrestricted, [](Server& s, R) -> Result { return s.held().state(); }}},
      {"held_head_unchanged_since",
       {unrestricted,
        [](Server& s, R r) -> Result { return s.held().head_unchanged_since(snapshot_of(r, "snapshot"), s.stop()); }}},
      {"held_head_unchanged_since_transfer",
       {unrestricted,
        [](Server& s, R r) -> Result {
          return s.held().head_unchanged_since_transfer(argument<std::string>(r, "transfer"), s.stop());
        }}},
      {"held_write_diff",
       {unrestricted,
        [](Server& s, R r) -> Result {
          return s.write(s.held().write_diff(argument<TransferProgress>(r, "from"), s.stop()));
        }}},
      {"held_create_snapshot",
       {unrestricted, [](Server& s, R r) -> Result { return s.held().create_snapshot(name_of(r, "name")); }}},
      {"held_set_metadata",
       {unrestricted,
        [](Server& s, R r) {
          s.held().set_metadata(name_of(r, "key"), argument<std::string>(r, "value"));
          return nothing();
        }}},
      {"held_remove_metadata",
       {unrestricted,
        [](Server& s, R r) {
          s.held().remove_metadata(name_of(r, "key"));
          return nothing();
        }}},
      {"held_roll_back",
       {unrestricted,
        [](Server& s, R r) {
          s.held().roll_back(snapshot_of(r, "snapshot"), s.stop());
          return nothing();
        }}},
      // Guests' configurations.
      {"read_config",
       {unrestricted,
        [](Server& s, R r) -> Result { return s.hypervisor().read_config(node_of(r), vmid_of(r), s.stop()); }}},
      {"write_config",
       {unrestricted,
        [](Server& s, R r) -> Result {
          return s.hypervisor().write_config(node_of(r), vmid_of(r),
                                             argument<std::optional<ConfigVersion>>(r, "expected"),
                                             argument<std::string>(r, "bytes"), s.stop());
        }}},
      {"write_firewall",
       {unrestricted,
        [](Server& s, R r) {
          s.hypervisor().write_firewall(vmid_of(r), argument<std::optional<std::string>>(r, "bytes"), s.stop());
          return nothing();
        }}},
      {"hold_config", {unrestricted, [](Server& s, R r) { return s.hold_config(r); }}},
      {"release_config", {unrestricted, [](Server& s, R) { return s.release_config(); }}},
      // Guests themselves.
      {"hold_guest", {unrestricted, [](Server& s, R r) { return s.hold_guest(r); }}},
      {"release_guest", {unrestricted, [](Server& s, R) { return s.release_guest(); }}},
      {"power",
       {unrestricted, [](Server& s, R r) -> Result { return s.power().power(node_of(r), vmid_of(r), s.stop()); }}},
      {"agent_answers",
       {unrestricted,
        [](Server& s, R r) -> Result { return s.power().agent_answers(node_of(r), vmid_of(r), s.stop()); }}},
      {"start",
       {unrestricted,
        [](Server& s, R r) {
          s.power().start(node_of(r), vmid_of(r), s.stop());
          return nothing();
        }}},
      {"shut_down",
       {unrestricted,
        [](Server& s, R r) {
          s.power().shut_down(node_of(r), vmid_of(r), std::chrono::seconds(span_of(r, "timeout_seconds")),
                              argument<bool>(r, "force"), s.stop());
          return nothing();
        }}},
      {"suspend",
       {unrestricted,
        [](Server& s, R r) {
          s.power().suspend(node_of(r), vmid_of(r), storage_of(r), s.stop());
          return nothing();
        }}},
      {"free_volume",
       {unrestricted,
        [](Server& s, R r) {
          s.power().free_volume(node_of(r), name_of(r, "volume", "/@"), s.stop());
          return nothing();
        }}},
      {"set_ha_state",
       {unrestricted,
        [](Server& s, R r) {
          s.power().set_ha_state(vmid_of(r), name_of(r, "state"), s.stop());
          return nothing();
        }}},
      {"destroy",
       {unrestricted,
        [](Server& s, R r) {
          s.power().destroy(node_of(r), vmid_of(r), s.stop());
          return nothing();
        }}},
  };
  return all;
}

std::optional<Json> Server::dispatch(const std::string& operation, const Json& request) {
  const auto found = operations().find(operation);
  if (found == operations().end()) {
    throw Error(ErrorCode::unsupported, "serve", operation, "there is no such operation");
  }
  if (service_.restricted && found->second.who == Who::unrestricted) {
    throw refusal(operation, "a client looks at its images and offers recovery points, and nothing else");
  }
  return found->second.serve(*this, request);
}

ImageStore& Server::store(const Json& request) {
  return service_.side.images.open(argument<CephAccess>(request, "access"));
}

ImageHold& Server::held() {
  if (!hold_) throw Error(ErrorCode::usage, "serve", "", "this connection holds no image");
  return *hold_;
}

PointService& Server::points() {
  if (!points_) throw Error(ErrorCode::unsupported, "serve", "", "no recovery points are received here");
  return *points_;
}

std::optional<Json> Server::prepare(const Json& request) {
  const auto storage = storage_of(request);
  const auto user = argument<std::optional<CephUser>>(request, "user");
  if (prepare_) prepare_(storage, user);
  return nothing();
}

std::optional<Json> Server::hold(const Json& request) {
  if (hold_) throw Error(ErrorCode::usage, "hold", "", "this connection holds an image already");
  ImageStore& store = this->store(request);
  const ImageSpec image = image_of(request);
  take_memory(request);
  hold_ = store.hold(image, ending_.get_token());
  return nothing();
}

void Server::take_memory(const Json& request) {
  if (!request.contains("memory_bytes")) return;
  const std::uint64_t bytes = std::min(argument<std::uint64_t>(request, "memory_bytes"), memory_bytes_);
  service_.side.images.set_transfer_memory(bytes);
  inbox_.set_max_bytes(bytes / 2);
}

std::optional<Json> Server::read_diff(const Json& request) {
  ImageStore& store = this->store(request);
  const ImageSpec image = image_of(request);
  const auto from = argument<std::optional<Snapshot>>(request, "from");
  const auto to = snapshot_of(request, "to");
  const auto offset = argument<std::uint64_t>(request, "offset");
  answer(nullptr);
  TransferSender sender([this](std::span<const std::byte> bytes) { stream_.write(bytes); }, to_string(image),
                        ending_.get_token());
  store.read_diff(image, from, to, offset, sender, ending_.get_token());
  return std::nullopt;
}

std::optional<Json> Server::read_ranges(const Json& request) {
  ImageStore& store = this->store(request);
  const ImageSpec image = image_of(request);
  const auto snapshot = snapshot_of(request, "snapshot");
  const auto ranges = argument<std::vector<ByteRange>>(request, "ranges");
  answer(nullptr);
  TransferSender sender([this](std::span<const std::byte> bytes) { stream_.write(bytes); }, to_string(image),
                        ending_.get_token());
  store.read_ranges(image, snapshot, ranges, sender, ending_.get_token());
  return std::nullopt;
}

Json Server::write(std::unique_ptr<DiffSink> sink) {
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

std::optional<Json> Server::hold_config(const Json& request) {
  if (config_hold_) throw Error(ErrorCode::usage, "hold", "", "this connection holds a configuration already");
  config_hold_ = hypervisor().hold_config(node_of(request), vmid_of(request),
                                          argument<ConfigVersion>(request, "expected"),
                                          argument<std::string>(request, "bytes"));
  return nothing();
}

std::optional<Json> Server::release_config() {
  const std::unique_ptr<ConfigHold> hold = std::move(config_hold_);
  if (!hold) throw Error(ErrorCode::usage, "release", "", "no configuration is held");
  hold->release();
  return nothing();
}

std::optional<Json> Server::hold_guest(const Json& request) {
  if (guest_hold_) throw Error(ErrorCode::usage, "hold", "", "this connection holds a guest already");
  guest_hold_ = hypervisor().hold_guest(argument<bool>(request, "pause") ? HoldWay::pause : HoldWay::freeze,
                                        node_of(request), vmid_of(request),
                                        std::chrono::milliseconds(span_of(request, "deadline_ms")), stop());
  return guest_hold_->already();
}

std::optional<Json> Server::release_guest() {
  const std::unique_ptr<GuestHold> hold = std::move(guest_hold_);
  if (!hold) throw Error(ErrorCode::usage, "release", "", "no guest is held");
  return hold->release().count();
}

void Server::answer(const Json& result) {
  stream_.write(stream::render_frame(stream::FrameType::answer, render_json({{"id", id_}, {"result", result}})));
}

void Server::answer_error(const Error& error) {
  if (service_.restricted && service_.on_refusal && error.code() == ErrorCode::permission) {
    try {
      service_.on_refusal(error.what());
    } catch (...) {  // NOLINT(bugprone-empty-catch): a log that fails decides nothing
    }
  }
  stream_.write(
      stream::render_frame(stream::FrameType::answer, render_json({{"id", id_}, {"error", render_error(error)}})));
}

}  // namespace crossover::agent
