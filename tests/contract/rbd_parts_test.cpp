// The parts of the rbd room that need no cluster.
#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <future>
#include <latch>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "crossover/error.hpp"
#include "engine/zero_splitter.hpp"
#include "rbd/ceph_arguments.hpp"
#include "rbd/data_gatherer.hpp"
#include "rbd/image_layout.hpp"
#include "rbd/rbd_command_line.hpp"
#include "rbd/rbd_error.hpp"
#include "rbd/rbd_json.hpp"
#include "rbd/rbd_survey.hpp"
#include "rbd/shared_attempt.hpp"

using namespace crossover;
using nlohmann::json;

namespace {

/// Says in words what it is given.
class WordSink final : public DiffSink {
 public:
  std::string words;
  void size(std::uint64_t) override {}
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override { say('d', offset, bytes.size()); }
  void zero(std::uint64_t offset, std::uint64_t length) override { say('z', offset, length); }
  void finish() override {}

 private:
  void say(char kind, std::uint64_t offset, std::uint64_t length) {
    words += std::string(words.empty() ? "" : " ") + kind + std::to_string(offset) + "+" + std::to_string(length);
  }
};

/// What becomes of pieces that begin at `offset`: 'd' is a block of 4 KiB of data, 'z' one of zeroes.
std::string split(std::uint64_t offset, const std::vector<std::string>& pieces) {
  WordSink sink;
  ZeroSplitter splitter(sink);
  for (const std::string& piece : pieces) {
    std::vector<std::byte> bytes;
    for (const char block : piece) bytes.insert(bytes.end(), 4096, std::byte{block == 'd'});
    splitter.data(offset, bytes);
    offset += bytes.size();
  }
  splitter.flush();
  return sink.words;
}

}  // namespace

TEST_CASE("zeroes are told from data") {
  CHECK(split(0, {"d"}) == "d0+4096");
  CHECK(split(0, {"z"}) == "z0+4096");
  CHECK(split(0, {"zd"}) == "z0+4096 d4096+4096");
  CHECK(split(0, {"dz"}) == "d0+4096 z4096+4096");
  CHECK(split(0, {"dz", "zd"}) == "d0+4096 z4096+8192 d12288+4096");
  CHECK(split(0, {"dzzzd"}) == "d0+20480");
  CHECK(split(0, {"dzzzzd"}) == "d0+4096 z4096+16384 d20480+4096");
  CHECK(split(0, {"dzdzzzzdzdz"}) == "d0+12288 z12288+16384 d28672+12288 z40960+4096");
  CHECK(split(0, {"z", "z", "zz"}) == "z0+16384");
  CHECK(split(8192, {"zzzz", "d"}) == "z8192+16384 d24576+4096");
}

TEST_CASE("split pieces are the bytes they were made of") {
  class CopySink final : public DiffSink {
   public:
    explicit CopySink(std::size_t size) : image(size, std::byte{7}) {}
    std::vector<std::byte> image;
    void size(std::uint64_t) override {}
    void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
      std::memcpy(image.data() + offset, bytes.data(), bytes.size());
    }
    void zero(std::uint64_t offset, std::uint64_t length) override {
      std::memset(image.data() + offset, 0, length);
    }
    void finish() override {}
  };
  std::mt19937_64 random(3);
  for (int round = 0; round < 100; ++round) {
    std::vector<std::byte> image(random() % 200000 + 1);
    for (std::size_t at = 0; at < image.size();) {
      const std::size_t run = std::min<std::size_t>(image.size() - at, random() % 40000 + 1);
      std::memset(image.data() + at, static_cast<int>(random() % 2), run);
      at += run;
    }
    CopySink sink(image.size());
    ZeroSplitter splitter(sink);
    for (std::size_t at = 0; at < image.size();) {
      const std::size_t piece = std::min<std::size_t>(image.size() - at, random() % 70000 + 1);
      splitter.data(at, std::span(image).subspan(at, piece));
      at += piece;
    }
    splitter.flush();
    const bool is_same = sink.image == image;
    CHECK(is_same);
  }
}

TEST_CASE("pieces are gathered up to a boundary") {
  std::string words;
  rbd::DataGatherer gatherer(100, [&](std::uint64_t offset, const OwnedBytes& bytes) {
    words += std::to_string(offset) + "+" + std::to_string(bytes.size()) + " ";
  });
  const std::vector<std::byte> bytes(250);
  gatherer.data(10, std::span(bytes).first(20));
  gatherer.data(30, std::span(bytes).first(20));
  gatherer.data(60, std::span(bytes).first(10));
  gatherer.data(70, bytes);
  gatherer.flush();
  gatherer.flush();
  CHECK(words == "10+40 60+40 100+100 200+100 300+20 ");
}

TEST_CASE("features to create are consistent") {
  using namespace image_feature;
  ImageLayout layout;
  CHECK(rbd::features_to_create(layout) == exclusive_lock);
  layout.features = ~std::uint64_t{0};
  CHECK(rbd::features_to_create(layout) == (layering | exclusive_lock | object_map | fast_diff | deep_flatten));
  layout.features = fast_diff;
  CHECK(rbd::features_to_create(layout) == exclusive_lock);
  layout.stripe_count = 2;
  CHECK(rbd::features_to_create(layout) == (exclusive_lock | striping));
}

TEST_CASE("the JSON of several releases is read") {
  const ImageSpec image{"rbd", "", "x"};
  const ImageState old = rbd::parse_info(json::parse(
      R"({"name":"x","id":"1f","size":"1048576","objects":1,"order":22,"features":["layering","deep-flatten","new"]})"),
                                         image);
  CHECK(old.layout.size_bytes == 1048576);
  CHECK(old.layout.features == (image_feature::layering | image_feature::deep_flatten));
  const ImageState clone = rbd::parse_info(json::parse(
      R"({"name":"x","id":"1f","size":5,"order":20,"features":[],"data_pool":"ec","stripe_unit":1048576,
          "stripe_count":1,"parent":{"pool":"p","pool_namespace":"n","image":"i","id":"2","snapshot":"s"}})"),
                                           image);
  CHECK(clone.parent == "p/n/i@s");
  CHECK(clone.layout.data_pool == "ec");
  CHECK(clone.layout.stripe_unit == 0);
  CHECK_THROWS_AS(rbd::parse_info(json::parse("[]"), image), Error);
  CHECK_THROWS_WITH_AS(rbd::parse_info(json::parse(R"({"name":"x","id":"","size":5,"format":1})"), image),
                       doctest::Contains("old format 1"), Error);

  const auto snapshots = rbd::parse_snapshots(json::parse(
      R"([{"id":9,"name":"b","size":2,"protected":"false"},{"id":"4","name":"a","size":1,"namespace":{"type":"user"}},
          {"id":10,"name":"t","size":1,"namespace":{"type":"trash"}}])"));
  CHECK(snapshots == std::vector<Snapshot>{{4, "a", 1}, {9, "b", 2}});
  CHECK(rbd::parse_watchers(json::parse(R"({"watchers":[{"address":"1.2.3.4:0/5","client":1,"cookie":2}]})")) ==
        std::vector<std::string>{"1.2.3.4:0/5"});
  CHECK(rbd::parse_watchers(json::parse(R"({"watchers":{"watcher":{"address":"1.2.3.4:0/5"}}})")) ==
        std::vector<std::string>{"1.2.3.4:0/5"});
  CHECK(rbd::available_bytes_of(json::parse(R"({"stats":{"total_bytes":0},"pools":[]})"), "rbd") == std::nullopt);
  CHECK(rbd::available_bytes_of(
            json::parse(R"({"stats":{"total_bytes":9},"pools":[{"name":"rbd","stats":{"max_avail":0}}]})"),
            "rbd") == 0);
}

TEST_CASE("a command's failure is put into words") {
  const auto error = [](int status, const std::string& text) {
    return rbd::error_of_command({status, {}, text}, "op", "subject");
  };
  const Error missing = error(2,
                              "did not load config file, using default settings.\n"
                              "2024-05-06T07:08:09.123+0000 7f00aa -1 librbd: no such image\n"
                              "rbd: error opening image x: (2) No such file or directory\n");
  CHECK(missing.code() == ErrorCode::not_found);
  CHECK(missing.cause() ==
        "librbd: no such image; rbd: error opening image x: (2) No such file or directory (exit "
        "status 2)");
  CHECK(error(17, "").cause() == "exit status 17");
  CHECK(error(17, "").code() == ErrorCode::already_exists);
  CHECK(error(30, "x").code() == ErrorCode::in_use);
  CHECK(error(39, "x").code() == ErrorCode::conflict);
  CHECK(error(110, "x").retryable());
  CHECK(error(127, "sh: rbd: not found").code() == ErrorCode::unsupported);
  CHECK(error(137, "").code() == ErrorCode::command);
  CHECK(error(16, "Removing snap: 0% complete...failed.\nrbd: snapshot 'a' is protected from removal.").code() ==
        ErrorCode::conflict);
  CHECK(error(13, "rbd: couldn't connect to the cluster!").code() == ErrorCode::authentication);
  CHECK(error(110, "rbd: couldn't connect to the cluster!").code() == ErrorCode::unreachable);
}

TEST_CASE("a command's failure does not show the key that Ceph shows") {
  for (const char* text :
       {"2026-05-06T07:08:09.123+0000 7f00aa -1 auth: error parsing file /a.keyring: error setting modifier for "
        "[client.a] type=key val=AQBsecret==: Malformed input\n",
        "auth: failed to decode key 'AQBsecret=='\n"}) {
    CAPTURE(text);
    const std::string cause = rbd::cause_of_errors(text);
    CHECK(cause.find("secret") == std::string::npos);
    CHECK(cause.find("(not shown)") != std::string::npos);
    CHECK(cause.starts_with("auth: "));
  }
}

TEST_CASE("a cluster is reached as the storage plugin reaches it") {
  CephAccess access{"/etc/pve/ceph.conf", {}, "admin", "/etc/pve/priv/ceph/store.keyring"};
  CHECK(rbd::rbd_command(access, {"pool", "ns", "image"}) ==
        std::vector<std::string>{"rbd", "-p", "pool", "--namespace", "ns", "-c", "/etc/pve/ceph.conf",
                                 "--auth_client_required", "cephx", "-n", "client.admin", "--keyring",
                                 "/etc/pve/priv/ceph/store.keyring"});
  access = {"", {"10.0.0.1", "10.0.0.2"}, "pve", ""};
  CHECK(rbd::rbd_command(access, {"pool", "", "image"}) ==
        std::vector<std::string>{"rbd", "-p", "pool", "-m", "10.0.0.1,10.0.0.2", "--auth_client_required", "none", "-n",
                                 "client.pve"});
}

TEST_CASE("a survey that ends early is no answer") {
  const std::vector<ImageSpec> images{{"rbd", "", "a"}, {"rbd", "", "b"}};
  const std::string whole =
      "\nT 2\nrbd: error opening image a: (2) No such file or directory\nT\n"
      "{\"id\":\"5\",\"size\":7}\n\nT 0\n\nT\n[]\n\nT 0\n\nT\n\nT 0\n\nT\n{\"watchers\":[]}\n\nT 0\n\nT\n";
  const auto states = rbd::parse_survey(whole, images, "T");
  REQUIRE(states.size() == 2);
  CHECK_FALSE(states[0]);
  CHECK(states[1]->id == "5");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CHECK_THROWS_AS(rbd::parse_survey(whole.substr(0, length), images, "T"), Error);
  }
}

TEST_CASE("CEPH_ARGS fills what the caller left empty") {
  const auto applied = [](CephAccess access, std::string_view words) {
    access.with_defaults = true;
    rbd::apply_early_arguments(access, words);
    return access.user + " " + access.cluster_name + " " + access.conf;
  };
  CephAccess empty;
  empty.user.clear();
  CHECK(applied(empty, "") == "  ");
  CHECK(applied(empty, "--id web --cluster west -c /c") == "web west /c");
  CHECK(applied(empty, "-m 10.0.0.1 --name=client.web  --conf=/c --debug_ms=1") == "web  /c");
  CHECK(applied(empty, "--id one -n client.two") == "two  ");
  CephAccess given = empty;
  given.user = "mine";
  given.conf = "/mine";
  CHECK(applied(given, "--id web --cluster west -c /c") == "mine west /mine");
}

TEST_CASE("what Ceph has to know first is taken off a line, and the rest stays as it is") {
  using Words = std::vector<std::string>;
  const auto found = rbd::take_early_arguments(
      {"export-diff", "-c", "/a", "--conf=/b", "--id", "one", "--name=client.two", "-m", "x", "--", "--id", "three"});
  CHECK(found.conf == "/b");
  CHECK(found.user == "two");
  CHECK_FALSE(found.cluster_name);
  CHECK(found.rest == Words{"export-diff", "-m", "x", "--", "--id", "three"});
  struct Row {
    Words words;
    int exit_status;
  };
  // 1: what is no name, or not there. EACCES: names that no client has, and none at all, which must not become admin's.
  for (const Row& row : {Row{{"--id"}, 1}, Row{{"-c"}, 1}, Row{{"-n", ""}, 1}, Row{{"-n", "admin"}, 1},
                         Row{{"-n", "nobody.a"}, 1}, Row{{"-n", "mon.a"}, EACCES}, Row{{"-n", "client."}, EACCES},
                         Row{{"--id", ""}, EACCES}, Row{{"--id="}, EACCES}}) {
    CAPTURE(row.words);
    try {
      static_cast<void>(rbd::take_early_arguments(row.words));
      FAIL("it was taken");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::usage);
      CHECK(error.error_number() == row.exit_status);
    }
  }
}

TEST_CASE("what was moved to the trash is found by its name") {
  const json list = json::parse(R"([{"id":"1","name":"a","source":"USER"},{"id":"2","name":"b","source":"MIGRATION"}])");
  REQUIRE(rbd::find_in_trash(list, "a"));
  CHECK(rbd::find_in_trash(list, "a")->id == "1");
  CHECK_FALSE(rbd::find_in_trash(list, "a")->is_migration);
  CHECK(rbd::find_in_trash(list, "b")->is_migration);
  CHECK_FALSE(rbd::find_in_trash(list, "c"));
  CHECK_FALSE(rbd::find_in_trash(json::object(), "a"));
}

TEST_CASE("commands are called with what is known of the cluster") {
  CephAccess access;
  access.user.clear();
  access.with_defaults = true;
  CHECK(rbd::access_options(access).empty());
  access.cluster_name = "west";
  access.settings = {{"rbd_cache", "false"}};
  CHECK(rbd::access_options(access) == std::vector<std::string>{"--cluster", "west", "--rbd_cache", "false"});
}

TEST_CASE("whoever asks for what is being made has what comes of that, and the next one tries again") {
  rbd::SharedAttempt<int> shared;
  std::atomic<int> made = 0;
  // The second one can come too late for the first one's attempt, and makes its own then.
  for (int round = 0; round < 1000 && made != 1; ++round) {
    made = 0;
    std::latch both(2);
    const auto ask = [&] {
      return std::async(std::launch::async, [&] {
        both.arrive_and_wait();
        return shared.get([&]() -> std::shared_ptr<int> {
          ++made;
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
          throw Error(ErrorCode::unreachable, "connect", "cluster", "no answer", true);
        });
      });
    };
    auto first = ask();
    auto second = ask();
    CHECK_THROWS_WITH_AS((void)first.get(), doctest::Contains("no answer"), Error);
    CHECK_THROWS_WITH_AS((void)second.get(), doctest::Contains("no answer"), Error);
  }
  CHECK(made == 1);
  made = 0;
  const auto seven = [&made] {
    ++made;
    return std::make_shared<int>(7);
  };
  const std::shared_ptr<int> first = shared.get(seven);
  CHECK(*first == 7);
  CHECK(shared.get(seven) == first);
  CHECK(made == 1);
}
