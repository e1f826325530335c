// What an agent makes of requests that nobody who means well would send: known operations with arguments that fit,
// almost fit or do not, in any order, and text that is no request. Every one is answered, the connection goes on as
// long as both sides agree on what comes next, and nothing stays held when it ends. Through a restricted agent all
// of that changes nothing that is not its client's.
//
// CROSSOVER_REQUESTS (default 12000) says how many each kind of agent gets, CROSSOVER_SEED where to begin.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>
#include <thread>

#include "agent/offer_messages.hpp"
#include "agent/restricted_hypervisor.hpp"
#include "agent/restricted_power.hpp"
#include "agent/restricted_store.hpp"
#include "agent/server.hpp"
#include "crossover/error.hpp"
#include "engine/reception.hpp"
#include "engine/survey.hpp"
#include "plan/guest_disks.hpp"
#include "plan/record.hpp"
#include "plan/restricted_config.hpp"
#include "plan/transfer_progress.hpp"
#include "support/two_clusters.hpp"
#include "unit/stream/recorded_transfer.hpp"

using namespace crossover;
using namespace crossover::test;
using agent::Json;

namespace {

using Random = std::mt19937_64;

constexpr std::uint64_t kib = 1024;
const std::string next_point = "crossover-default-20261123T150000Z";
const ImageSpec first{"backup", "", "vm-99100-disk-0-ssd"};
const ImageSpec second{"backup", "", "vm-99100-disk-1-hdd"};
const ImageSpec strangers{"backup", "", "vm-500-disk-0"};
const ImageSpec elsewhere{"vault", "", "vm-99100-disk-0-ssd"};

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

/// The client's end of a connection, and a server at the other.
class Client {
 public:
  explicit Client(const agent::Service& service) {
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds_.data()) == 0);
    const timeval patience{60, 0};
    ::setsockopt(fds_[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    server_ = std::thread([this, service] {
      try {
        agent::Server(fds_[1], fds_[1], service).serve({});
      } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the client heard of it
      }
      ::shutdown(fds_[1], SHUT_RDWR);
    });
    send(greeting());
  }

  ~Client() {
    ::shutdown(fds_[0], SHUT_RDWR);
    server_.join();
    ::close(fds_[0]);
    ::close(fds_[1]);
  }

  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(fds_[0], bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return;  // the server is gone, as the next answer tells
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
  }

  void request(std::string text) {
    text.resize(std::max<std::size_t>(text.size(), 2), ' ');  // no frame of a request is shorter
    send(text_of(stream::render_frame(stream::FrameType::request, text)));
  }

  /// The next answer; nothing at the connection's end. What else comes has to be a transfer, or a sign of life.
  std::optional<Json> answer() {
    for (;;) {
      if (!greeted_) greeted_ = decoder_.hello().has_value();
      if (greeted_) {
        while (auto frame = decoder_.next()) {
          if (frame->type != stream::FrameType::answer) {
            REQUIRE(frame->type != stream::FrameType::request);
            continue;
          }
          const Json json = agent::parse_json(frame->text());
          REQUIRE(json.is_object());
          REQUIRE(json.contains("result") != json.contains("error"));
          if (json.contains("error")) CHECK_THROWS_AS(agent::throw_error(json["error"]), Error);
          return std::optional<Json>(std::in_place, json);
        }
      }
      std::array<std::byte, 65536> buffer{};
      const ssize_t count = ::recv(fds_[0], buffer.data(), buffer.size(), 0);
      REQUIRE_MESSAGE(!(count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)), "no answer within a minute");
      if (count <= 0) return std::nullopt;
      decoder_.feed(std::span(buffer).first(static_cast<std::size_t>(count)));
    }
  }

  /// Whether everything that was sent so far has been answered; false at the connection's end.
  bool catch_up(std::uint64_t id) {
    request(agent::render_json({{"id", id}, {"op", "ping"}}));
    for (;;) {
      const auto heard = answer();
      if (!heard) return false;
      if (heard->value("id", Json()) == Json(id)) return true;
      ++answers;
    }
  }

  int answers = 0;  ///< that catch_up() skipped

 private:
  std::array<int, 2> fds_{};
  std::thread server_;
  stream::FrameDecoder decoder_{"server"};
  bool greeted_ = false;
};

/// A replica with two recovery points, a stranger's running guest, and an image of a pool that is not the client's.
struct Stage {
  Stage() {
    clusters.options.keep_local = "1d";
    clusters.options.keep_remote = "1d";
    clusters.add_guest(100);
    for (int run = 0; run < 2; ++run) {
      const MirrorReport report = clusters.run();
      REQUIRE(report.guests.front().outcome == Outcome::ok);
      points.push_back(report.guests.front().recovery_point);
      clusters.clock.time += std::chrono::minutes(10);
      clusters.write_at_random();
    }
    ImageLayout layout;
    layout.size_bytes = 64 * kib;
    for (const ImageSpec& image : {strangers, elsewhere}) {
      images().create(image, layout);
      images().write(image, 4 * kib, std::vector<std::byte>(8 * kib, std::byte{7}));
      images().create_snapshot(image, "monday");
    }
    // What the next run would offer, as somebody who listens has it.
    clusters.restriction = context.restriction;
    clusters.tamper = [this](PointOffer& one) {
      offer = agent::render_offer(one);
      const Survey found = survey_offered(one, {clusters.destination, clusters.destination, all}, false, {});
      half = destination_half(plan_guest(one.request, found.inventory, found.guests.at(0), one.now, one.repair));
      throw Error(ErrorCode::usage, "offer", "", "it was only to be seen");
    };
    (void)clusters.run();
    REQUIRE_FALSE(half.empty());
    clusters.tamper = nullptr;
    clusters.restriction.reset();
    clusters.destination.put_guest(500, "w2", "memory: 512\nscsi0: copy:vm-500-disk-0\n", Power::running);
  }

  MemoryImageStore& images() { return clusters.replica_images; }

  /// What the client of a restricted agent must not change, as text.
  std::string not_the_clients() {
    std::string out = clusters.source.dump() + clusters.destination.config(500).value() +
                      std::to_string(clusters.destination.memory(500)) +
                      std::to_string(clusters.destination.memory(99100));
    for (const ImageSpec& image : {strangers, elsewhere}) {
      const ImageState state = images().find(image).value();
      out += to_string(image);
      for (const Snapshot& one : state.snapshots) out += content(image, one);
      for (const auto& [key, value] : state.metadata) out += key + "=" + value;
      out += text_of(images().content(image));
    }
    for (const ImageSpec& image : {first, second}) {
      const ImageState state = images().find(image).value();
      const auto record = image_record(state).replica;
      REQUIRE(record);
      for (const Snapshot& one : state.snapshots) {
        if (std::find(points.begin(), points.end(), one.name) == points.end()) continue;
        out += content(image, one);
        const auto config = state.metadata.find(std::string(point_key_prefix) + one.name);
        if (config != state.metadata.end()) out += config->second;
        for (const PointIds& known : record->points) {
          if (known.name == one.name) out += fmt::format("{} {} {}", known.source_id, known.replica_id, known.bad);
        }
      }
    }
    return out;
  }

  std::string content(const ImageSpec& image, const Snapshot& snapshot) {
    return fmt::format("{} {} {}", snapshot.id, snapshot.name, text_of(images().content(image, snapshot.name)));
  }

  TwoClusters clusters;
  Json offer;
  std::string half;
  std::vector<std::string> points;
  OneStore all{clusters.replica_images};
  agent::ReceiveContext context{parse_restriction("copy", "99000-99999"), all,
                                [this] { return clusters.destination.inventory; }};
};

/// Requests that are right, almost right, or wrong.
class Requests {
 public:
  Requests(Stage& stage, std::uint64_t seed) : stage_(stage), random_(seed) {}

  Random& random() { return random_; }
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  template <typename T>
  T one_of(std::vector<T> values) {
    return std::move(values[below(values.size())]);
  }

  Json next(std::uint64_t id) {
    // Those of a hold more often: what leads to a new recovery point takes several of them in the right order.
    static const std::vector<std::string> about_images = words(
        "fsid available_bytes find_all create remove trash create_snapshot remove_snapshot set_metadata "
        "remove_metadata head_unchanged_since read_diff read_ranges hash_blocks hold hold hold hold");
    static const std::vector<std::string> about_the_rest = words(
        "release ping prepare held_state held_remove_metadata held_head_unchanged_since held_set_metadata "
        "held_set_metadata "
        "held_set_metadata held_set_metadata held_set_metadata held_set_metadata held_roll_back held_roll_back "
        "held_write_diff held_write_diff held_write_diff held_create_snapshot held_create_snapshot survey "
        "read_config "
        "write_config write_config write_firewall hold_config release_config hold_guest release_guest power start "
        "shut_down suspend free_volume agent_answers set_ha_state destroy held_ none begin_point begin_point begin_point "
        "carry_out carry_out carry_out record_point record_point end_point receive_first_disk receive_disk "
        "receive_disk write_disk "
        "disk_applied disk_snapshot release_disk");
    const bool is_about_images = below(3) == 0;
    const std::string operation = one_of(is_about_images ? about_images : about_the_rest);
    Json request = {{"id", id}, {"op", operation}};
    image_ = one_of<ImageSpec>({first,
                                first,
                                first,
                                second,
                                strangers,
                                elsewhere,
                                {"backup", "", "vm-99101-disk-0"},
                                {"backup", "space", "vm-99100-disk-0-ssd"},
                                {"backup", "", "../vm-99100\xff"},
                                {"", "", ""}});
    if (is_about_images) {
      request.update(Json{{"access", access()}, {"image", image_}, {"images", std::vector{first, image_}}});
    }
    if (operation == "begin_point") request.update(Json{{"offer", stage_.offer}, {"half", stage_.half}});
    if (operation == "receive_disk") {
      request.update(Json{{"access", access()}, {"image", image_}, {"transfer", one_of<std::string>({"", "transfer"})}});
    }
    if (operation == "hold") held_ = image_;
    if (operation.starts_with("held_") && below(8) != 0) image_ = held_;
    // Whoever needs no argument of that name does not look at it.
    const std::uint32_t vmid = one_of<std::uint32_t>({99100, 99100, 99101, 500, 100, 0, 4294967295});
    request.update(Json{{"pool", one_of<std::string>({"backup", "vault", ""})},
                        {"layout", layout()},
                        {"snapshot", snapshot()},
                        {"from", one_of<Json>({nullptr, snapshot()})},
                        {"to", snapshot()},
                        {"offset", number()},
                        {"delay_seconds", number()},
                        {"name", snapshot_name()},
                        {"key", key()},
                        {"value", value()},
                        {"blocks",
                         {{"block_bytes", one_of<Json>({4096, 65536, number()})},
                          {"ranges", ranges()},
                          {"sample", one_of<Json>({nullptr, {{"per_million", 5000}, {"seed", 1}}})}}},
                        {"ranges", ranges()}});
    request.update(Json{{"node", one_of<std::string>({"w1", "w1", "w2", "e1", ""})},
                        {"vmid", vmid},
                        {"bytes", config(vmid)},
                        {"expected", expected(vmid)},
                        {"versions", below(2) == 0},
                        {"guests", one_of<Json>({nullptr, Json::array({99100, 500}), Json::array()})},
                        {"pause", below(2) == 0},
                        {"deadline_ms", number()},
                        {"timeout_seconds", number()},
                        {"force", below(2) == 0},
                        {"storage", "copy"},
                        {"user", one_of<Json>({nullptr, {{"name", "x"}, {"keyring", "/k"}}})},
                        {"volume", one_of<std::string>({"copy:vm-500-disk-0", "copy:vm-99100-disk-0-ssd", ":"})},
                        {"state", one_of<std::string>({"started", "stopped", ""})},
                        {"step", one_of<std::string>({"lock_replica", "check_head", "commit", "write_config", "x"})},
                        {"ends", Json::array({snapshot(), snapshot()})},
                        {"repair", below(8) == 0}});
    if (operation == "held_write_diff") {
      // As a client would, or not.
      request["from"] =
          below(3) != 0 ? Json{{"id", "transfer"}, {"offset", 0}} : Json{{"id", ""}, {"offset", number()}};
    }
    if (below(4) == 0) spoil(request);
    return request;
  }

  /// What is sent where a transfer is asked for.
  std::string transfer() {
    Transfer out{.size_bytes = one_of<std::uint64_t>({16 * 4 * kib, 64 * kib, 1024, 0})};
    if (out.size_bytes >= 16 * kib) {
      out.extents.push_back({4 * kib, 6 * kib, false, {}});
      out.extents.push_back({12 * kib, below(2) == 0 ? 4 * kib : 1024 * kib, true, {}});
    }
    fill(out, random_);
    return render_transfer(out);
  }

  /// Text that is hardly a request any more.
  std::string broken(const Json& request) {
    std::string text = agent::render_json(request);
    for (auto changes = 1 + below(3); changes > 0; --changes) {
      const std::size_t at = below(text.size());
      if (below(2) == 0) {
        text[at] = static_cast<char>(random_());
      } else {
        text.erase(at, 1 + below(40));
        if (text.empty()) break;
      }
    }
    return text;
  }

 private:
  Json access() {
    const ClusterInventory& there = stage_.clusters.destination.inventory;
    Json right = storage_access(there, *there.storages.rbd("copy"));
    if (below(10) == 0) right["user"] = "admin2";
    return right;
  }

  Json number() {
    return one_of<Json>({0, 1, 4096, 65536, 1000000, -1, std::uint64_t{1} << 63, ~std::uint64_t{0}});
  }

  std::string snapshot_name() {
    return one_of<std::string>(
        {stage_.points[0], stage_.points[1], next_point, next_point, next_point, "monday", "", "a@b/\n"});
  }

  Json snapshot() {
    if (const auto state = stage_.images().find(image_); state && !state->snapshots.empty() && below(4) != 0) {
      return state->snapshots[below(state->snapshots.size())];
    }
    return Snapshot{below(20), snapshot_name(), 64 * kib};
  }

  Json layout() {
    ImageLayout out;
    out.size_bytes = one_of<std::uint64_t>({64 * kib, 1024 * kib, 0});
    return out;
  }

  Json ranges() {
    return one_of<Json>({Json::array(), Json::array({ByteRange{0, 64 * kib}}),
                         Json::array({ByteRange{4 * kib, 8 * kib}, ByteRange{4 * kib, 4 * kib}}),
                         Json::array({ByteRange{~std::uint64_t{0}, 1}}),
                         Json::array({ByteRange{1, ~std::uint64_t{0}}})});
  }

  std::string key() {
    return one_of<std::string>({std::string(replica_key), std::string(replica_key), std::string(replica_key),
                                std::string(promotion_key), source_key("nightly"),
                                std::string(point_key_prefix) + stage_.points[1],
                                std::string(point_key_prefix) + next_point, std::string(progress_key),
                                "conf_rbd_cache", ""});
  }

  /// A record as it is, or as somebody would like to have it.
  std::string value() {
    const auto state = stage_.images().find(image_);
    if (!state || below(6) == 0) return one_of<std::string>({"", "{", "null", "{\"format\":1}", "\xff"});
    ImageRecord record;
    try {
      record = image_record(*state);
    } catch (const Error&) {
      return "";
    }
    if (!record.replica) return "{}";
    ReplicaRecord& replica = *record.replica;
    switch (below(12)) {
      case 0:
        replica.points.clear();
        break;
      case 1:
        replica.points.push_back({next_point, 1, 2, false});
        break;
      case 2:
        if (!replica.points.empty()) replica.points[below(replica.points.size())].bad = true;
        break;
      case 3:
        replica.target_vmid = 500;
        break;
      case 4:
        return "{}";
      case 5:
      case 6:
      case 7:  // as a run does once it has sent
        replica.state = ReplicaState::applied;
        break;
      default:  // as a run does before it sends
        replica.state = ReplicaState::applying;
        replica.end_snapshot = next_point;
        replica.transfer = "transfer";
    }
    return render_replica(replica);
  }

  std::string config(std::uint32_t vmid) {
    const std::string now = stage_.clusters.destination.config(vmid).value_or("memory: 512\n");
    return one_of<std::string>({now, now + "onboot: 0\n", now + "hookscript: local:snippets/x.pl\n",
                                now + "args: -device evil\n", "scsi0: copy:vm-500-disk-0\n", "", "\xff\n[",
                                now + "[monday]\nmemory: 1\n"});
  }

  Json expected(std::uint32_t vmid) {
    if (below(4) == 0) return nullptr;
    const auto now = stage_.clusters.destination.read_config("w1", vmid, {});
    Json version = now ? *now : ConfigVersion{};
    // Words of a script on the node, and numbers that are none.
    if (below(3) == 0) version["modified"] = one_of<Json>({"any", "absent", "bytes", "", -1, 1.5, true, nullptr});
    return version;
  }

  /// Something else in the place of one of the values, or nothing.
  void spoil(Json& value) {
    if (value.is_object() && !value.empty() && below(5) != 0) {
      auto member = value.begin();
      std::advance(member, static_cast<std::ptrdiff_t>(below(value.size())));
      if (below(4) == 0) {
        value.erase(member);
      } else {
        spoil(*member);
      }
      return;
    }
    if (value.is_array() && !value.empty() && below(2) == 0) {
      spoil(value[below(value.size())]);
      return;
    }
    value =
        one_of<Json>({nullptr, true, -1, 1.5, 1e300, 4096, ~std::uint64_t{0}, "", "\xff", "99100", Json::array(),
                      Json::array({nullptr}), Json::object(), Json::array({Json::array({Json::array()})})});
  }

  Stage& stage_;
  Random random_;
  ImageSpec image_;  // that the request at hand is about
  ImageSpec held_;   // that was asked for last
};

/// One connection. Ends early where the server has to.
void converse(const agent::Service& service, Requests& requests, int count, std::uint64_t& id) {
  Client client(service);
  for (; count > 0; --count) {
    const Json request = requests.next(++id);
    const Json operation = request.is_object() ? request.value("op", Json()) : Json();
    CAPTURE(agent::render_json(request));
    client.answers = 0;
    bool may_end = false;
    if (requests.below(50) == 0) {
      client.request(requests.broken(request));
      may_end = true;
    } else if (requests.below(500) == 0) {
      client.send(requests.transfer());
      may_end = true;
    } else {
      client.request(agent::render_json(request));
    }
    if (!may_end && (operation == "held_write_diff" || operation == "write_disk")) {
      const auto answer = client.answer();
      REQUIRE(answer);
      ++client.answers;
      if (answer->contains("result")) {
        client.send(requests.transfer());
        may_end = true;
      }
    }
    const bool goes_on = client.catch_up(++id);
    REQUIRE((goes_on || may_end));
    if (!goes_on) return;
    if (!may_end) REQUIRE(client.answers > 0);
  }
}

void converse_often(Stage& stage, const agent::Service& service, const std::function<void()>& check) {
  constexpr int requests_each = 60;
  const std::uint64_t seed = setting("CROSSOVER_SEED", 1);
  const std::uint64_t connections = setting("CROSSOVER_REQUESTS", 12000) / requests_each;
  std::uint64_t id = 0;
  for (std::uint64_t at = seed; at < seed + connections; ++at) {
    CAPTURE(at);
    Requests requests(stage, at);
    converse(service, requests, requests_each, id);
    for (const std::uint32_t vmid : {500U, 99100U}) REQUIRE_FALSE(stage.clusters.destination.held(vmid));
    check();
  }
}

}  // namespace

TEST_CASE("a message of brackets alone is refused before it takes the memory it could") {
  const auto cause_of = [](const std::string& text) {
    try {
      (void)agent::parse_json(text);
    } catch (const Error& error) {
      return error.cause();
    }
    return std::string();
  };
  std::string flat = "[";
  for (int count = 0; count < 1'000'000; ++count) flat += "0,";
  CHECK(cause_of(flat + "0]") == "it has more than 1000000 values");
  CHECK(cause_of(std::string(40, '[') + std::string(40, ']')) == "values nested too deep");
  CHECK(cause_of(std::string(1'000'000, '[')) == "values nested too deep");
  CHECK(cause_of("[[],[1]]").empty());
}

/// The most that this process had resident since the last reset_peak(), in bytes.
std::uint64_t peak() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) * kib;
  }
  FAIL("no VmHWM");
  return 0;
}

std::uint64_t reset_peak() {
  std::ofstream("/proc/self/clear_refs") << "5";
  return peak();
}

TEST_CASE("requests that nobody waits to be answered take no more memory than a few of them") {
  Stage stage;
  const Side side{stage.clusters.destination, stage.clusters.destination, stage.all};
  // Brackets: of text a hundred times as many bytes in memory.
  std::string text = "{\"id\":1,\"op\":\"ping\",\"x\":[[]";
  while (text.size() < 400'000) text += ",[]";
  text += "]}";
  const std::string frame = text_of(stream::render_frame(stream::FrameType::request, text));
  stage.clusters.destination.survey({}, {});
  const std::uint64_t before = reset_peak();
  {
    Client client(agent::Service{side});
    std::jthread sending([&] {
      for (int count = 0; count < 400; ++count) client.send(frame);
    });
    for (int count = 0; count < 400; ++count) REQUIRE(client.answer());
  }
  CHECK(peak() - before < 96 * kib * kib);
}

TEST_CASE("a request that is too large is refused before its bytes have come") {
  Stage stage;
  Client client(agent::Service{{stage.clusters.destination, stage.clusters.destination, stage.all}});
  std::string header(stream::frame_header_bytes, '\0');
  stream::write_frame_header(std::as_writable_bytes(std::span(header)).first<stream::frame_header_bytes>(),
                             stream::FrameType::request, (std::size_t{8} << 20) + 1);
  client.send(header);
  const std::optional<Json> heard = client.answer();
  REQUIRE(heard);
  CHECK(heard->at("error").at("code") == "format");
  CHECK_FALSE(client.answer());
}

TEST_CASE("a request of more values than any has is refused, and so is an answer of more than it has room for") {
  Stage stage;
  ImageLayout layout;
  layout.size_bytes = 4096;
  const ImageSpec large{"backup", "", "vm-1-large"};
  stage.images().create(large, layout);
  stage.images().set_metadata(large, "crossover.x", std::string(std::size_t{256} * kib, 'x'));
  const std::uint64_t before = reset_peak();
  Client client(agent::Service{{stage.clusters.destination, stage.clusters.destination, stage.all}});
  client.request(agent::render_json({{"id", 1},
                                     {"op", "find_all"},
                                     {"access", CephAccess{}},
                                     {"images", std::vector<ImageSpec>(4000, large)}}));
  const std::optional<Json> first_heard = client.answer();
  REQUIRE(first_heard);
  CHECK(first_heard->at("error").at("cause") == "more than one answer has room for");
  CHECK(peak() - before < 160 * kib * kib);
  std::string text = "{\"id\":2,\"op\":\"ping\",\"x\":[0";
  while (text.size() < 1'000'000) text += ",0";
  client.request(text + "]}");
  const std::optional<Json> heard = client.answer();
  REQUIRE(heard);
  CHECK(heard->at("error").at("cause").get<std::string>().find("values") != std::string::npos);
}

TEST_CASE("the time that a configuration has to have is a number, never a word of the script that compares it") {
  Stage stage;
  agent::RestrictedStores stores(stage.context);
  agent::RestrictedHypervisor hypervisor(stage.clusters.destination, stage.context);
  agent::RestrictedPower power(stage.clusters.destination, stage.context);
  Client client(agent::Service{{hypervisor, power, stores}});
  const std::string before = stage.clusters.destination.config(99100).value();
  const auto error_of = [&](const Json& expected, const Json& vmid) {
    client.request(agent::render_json({{"id", 1},
                                       {"op", "write_config"},
                                       {"node", "w1"},
                                       {"vmid", vmid},
                                       {"expected", expected},
                                       {"bytes", before + "tags: mine\n"}}));
    const std::optional<Json> heard = client.answer();
    REQUIRE(heard);
    CHECK(stage.clusters.destination.config(99100) == before);
    return heard->contains("error") ? heard->at("error").at("code").get<std::string>() : "";
  };
  for (const Json& word : {Json("any"), Json("absent"), Json("bytes"), Json(""), Json("12"), Json(1.5), Json(true),
                           Json(~std::uint64_t{0}), Json::array(), Json::object()}) {
    CAPTURE(word.dump());
    CHECK(error_of({{"bytes", before}, {"modified", word}}, 99100) == "format");
  }
  CHECK(error_of({{"bytes", before}}, 99100) == "format");
  CHECK(error_of("absent", 99100) == "format");
  // Nor does a VMID become another one's by what does not fit.
  for (const Json& vmid : {Json(99100.5), Json((std::uint64_t{1} << 32) + 99100), Json(-1), Json(true), Json("99100")}) {
    CAPTURE(vmid.dump());
    CHECK(error_of({{"bytes", before}, {"modified", nullptr}}, vmid) == "format");
  }
}

TEST_CASE("whatever is asked of an agent is answered, and nothing stays held") {
  Stage stage;
  const Side side{stage.clusters.destination, stage.clusters.destination, stage.all};
  PortReception reception(side, side, std::nullopt, [&] { return stage.clusters.clock.now(); });
  converse_often(stage, {side, &reception}, [&] {
    for (const ImageSpec& image : stage.images().images()) REQUIRE_NOTHROW(stage.images().hold(image, {}));
  });
}

TEST_CASE("whatever is asked of a restricted agent, what is not its client's stays as it is") {
  Stage stage;
  agent::RestrictedStores stores(stage.context);
  agent::RestrictedHypervisor hypervisor(stage.clusters.destination, stage.context);
  agent::RestrictedPower power(stage.clusters.destination, stage.context);
  const std::string before = stage.not_the_clients();
  const std::vector<ImageSpec> images = stage.images().images();
  const ClusterInventory& there = stage.clusters.destination.inventory;
  const Side seen{hypervisor, power, stores};
  PortReception reception(seen, {stage.clusters.destination, stage.clusters.destination, stage.all}, ReceiveLimits{},
                          [&] { return stage.clusters.clock.now(); });
  converse_often(stage, {seen, &reception, true}, [&] {
    REQUIRE(stage.not_the_clients() == before);
    const std::vector<ImageSpec> now = stage.images().images();
    for (const ImageSpec& image : images) REQUIRE(std::find(now.begin(), now.end(), image) != now.end());
    for (const ImageSpec& image : now) {
      REQUIRE_NOTHROW(stage.images().hold(image, {}));
      if (std::find(images.begin(), images.end(), image) != images.end()) continue;
      const auto owner = owner_of_image(image.name);
      REQUIRE((owner && stage.context.restriction.allows(*owner) && image.pool == "backup"));
    }
    for (const auto& [vmid, guest] : there.guests) {
      if (vmid == 500) continue;
      REQUIRE(stage.context.restriction.allows(vmid));
      REQUIRE(refused_settings(parse_vm_config(guest.config), vmid, stage.context.restriction).empty());
    }
  });
}
