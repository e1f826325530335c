// What is held on a node: for as long as somebody says that it is wanted, and not much longer.
#include <doctest/doctest.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "crossover/error.hpp"
#include "pve/pve_cluster.hpp"
#include "support/stand_in_node.hpp"

using namespace crossover;
using namespace crossover::test;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

/// What a script says when it has begun, what it says when its input has ended, and what it was told.
struct Script {
  std::string begins;
  std::string ends;
  std::optional<std::size_t> beats_taken = {};  ///< then it has ended

  std::mutex mutex = {};
  std::condition_variable told_more = {};
  std::string told = {};
  int beats = 0;
  bool input_open = true;

  void wait_for_beats(int count) {
    std::unique_lock lock(mutex);
    REQUIRE(told_more.wait_for(lock, seconds(20), [&] { return beats >= count; }));
  }
};

class ScriptProcess final : public Process {
 public:
  explicit ScriptProcess(Script& script) : script_(script), says_(script.begins) {}

  void write(std::span<const std::byte> bytes) override {
    const std::lock_guard lock(script_.mutex);
    CHECK(script_.input_open);
    const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    script_.told += text;
    if (text == "beat\n") ++script_.beats;
    script_.told_more.notify_all();
    if (script_.beats_taken && script_.beats > static_cast<int>(*script_.beats_taken)) {
      throw Error(ErrorCode::io, "write to", "perl", "it ended");
    }
  }
  void close_input() override {
    const std::lock_guard lock(script_.mutex);
    script_.input_open = false;
    says_ += script_.ends;
  }
  std::size_t read(std::span<std::byte> buffer) override {
    const std::size_t count = std::min(buffer.size(), says_.size());
    std::memcpy(buffer.data(), says_.data(), count);
    says_.erase(0, count);
    return count;
  }
  CommandResult wait() override { return {}; }

 private:
  Script& script_;
  std::string says_;
};

/// A node on which what is started is a script of the test.
class ScriptedNode final : public Shell {
 public:
  explicit ScriptedNode(Script& script) : script_(script) {}

  [[nodiscard]] const std::string& host() const override { return node_.host(); }
  std::unique_ptr<Process> start(const std::vector<std::string>& argv, std::stop_token) override {
    silence = argv.back();
    return std::make_unique<ScriptProcess>(script_);
  }
  CommandResult run(const std::vector<std::string>& argv, std::string_view input, milliseconds limit,
                    std::stop_token stop) override {
    return node_.run(argv, input, limit, std::move(stop));
  }

  std::string silence;  ///< the last argument of what was started

 private:
  StandInNode node_;
  Script& script_;
};

PveCluster cluster_of(Shell& node, HoldBeat beat) {
  return {node,
          [](const NodeState&) -> std::unique_ptr<Shell> {
            FAIL("there is no other node");
            return nullptr;
          },
          beat};
}

/// Fails unless `action` throws an error of this kind with these words in it.
template <typename Action>
void fails(const Action& action, ErrorCode code, const std::string& words) {
  std::optional<Error> error;
  try {
    action();
  } catch (const Error& thrown) {
    error = thrown;
  }
  REQUIRE(error);
  const std::string said = error->what();
  CHECK_MESSAGE(error->code() == code, said);
  CHECK_MESSAGE(said.find(words) != std::string::npos, said);
}

const ConfigVersion before{"memory: 512\n"};
const std::string locked = "lock: backup\nmemory: 512\n";

}  // namespace

TEST_CASE("whoever has something held says so again and again, until it lets go") {
  Script script{.begins = "written 1\n", .ends = "written 2\n"};
  Script freeze{.begins = "held\n", .ends = "released 1.5\n"};
  {
    ScriptedNode node(script);
    PveCluster cluster = cluster_of(node, {.interval = milliseconds(1), .silence = milliseconds(30500)});
    const auto hold = cluster.hold_config("pve1", 100, before, locked);
    CHECK(node.silence == "30.500");
    script.wait_for_beats(3);
    hold->release();
    CHECK(script.told.starts_with(before.bytes + locked + "beat\nbeat\nbeat\n"));
    CHECK_FALSE(script.input_open);
  }
  {
    ScriptedNode node(freeze);
    PveCluster cluster = cluster_of(node, {.interval = milliseconds(1), .silence = milliseconds(30500)});
    const auto hold = cluster.hold_guest(HoldWay::freeze, "pve1", 100, seconds(10), {});
    CHECK(node.silence == "30.500");
    freeze.wait_for_beats(3);
    CHECK(hold->release() == milliseconds(1500));
    CHECK_FALSE(freeze.input_open);
  }
}

TEST_CASE("a node that heard nothing for too long says that it let go") {
  const auto release_config = [](const std::string& answer, const std::optional<std::size_t>& beats_taken) {
    Script script{.begins = "written 1\n", .ends = answer, .beats_taken = beats_taken};
    ScriptedNode node(script);
    PveCluster cluster = cluster_of(node, {.interval = milliseconds(1)});
    const auto hold = cluster.hold_config("pve1", 100, before, locked);
    if (beats_taken) script.wait_for_beats(static_cast<int>(*beats_taken) + 1);
    hold->release();
  };
  const std::string heard = "VM 100 on pve1: nothing was heard of this run for 30 s";
  fails([&] { release_config("silent written 2\n", {}); }, ErrorCode::timeout, heard);
  // It has ended by the time the next beat comes.
  fails([&] { release_config("silent written 2\n", 2); }, ErrorCode::timeout, heard);
  fails([&] { release_config("silent changed\n", {}); }, ErrorCode::conflict, "somebody else changed it");
  fails([&] { release_config("silent\n", {}); }, ErrorCode::format, "unexpected answer");

  Script script{.begins = "held\n", .ends = "silent 41.2\n"};
  ScriptedNode node(script);
  PveCluster cluster = cluster_of(node, {});
  const auto hold = cluster.hold_guest(HoldWay::freeze, "pve1", 100, seconds(60), {});
  fails([&] { (void)hold->release(); }, ErrorCode::timeout,
        "the guest was thawed after 41.2 s because nothing was heard of this run for 30 s");
}

TEST_CASE("a lock and a paused guest are let go of without a beat") {
  StandInNode node;
  PveCluster cluster = cluster_of(node, {.interval = hours(1), .silence = milliseconds(200)});
  const auto wait_until = [](const auto& holds) {
    for (int tries = 0; !holds(); ++tries) {
      REQUIRE(tries < 2000);
      std::this_thread::sleep_for(milliseconds(10));
    }
  };
  node.put_guest(100, before.bytes);
  const auto config = cluster.hold_config("pve1", 100, before, locked);
  wait_until([&] { return node.config(100) == before.bytes; });
  // Somebody else's, that has the same words.
  node.put_guest(100, locked);
  fails([&] { config->release(); }, ErrorCode::timeout, "nothing was heard");
  CHECK(node.config(100) == locked);

  node.run_guest(100);
  const auto pause = cluster.hold_guest(HoldWay::pause, "pve1", 100, seconds(60), {});
  wait_until([&] {
    return node.run({"qm", "status", "100"}, "", seconds(20), {}).output == "status: running\n";
  });
  fails([&] { (void)pause->release(); }, ErrorCode::timeout, "the guest was resumed after");
}
