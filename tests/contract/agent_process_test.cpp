// `crossover agent` as a process of its own, on a real cluster: what is left when it is killed.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "agent/agent_store.hpp"
#include "contract/ceph_harness.hpp"
#include "crossover/error.hpp"
#include "rbd/librbd_store.hpp"
#include "ssh/local_shell.hpp"
#include "support/held.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

constexpr std::uint64_t mib = 1U << 20;

std::vector<std::byte> noise(std::uint64_t bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> out(bytes);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random());
  return out;
}

/// Starts `crossover agent` and knows its process id: a shell that prints it and then becomes the agent.
class WatchedShell final : public Shell {
 public:
  explicit WatchedShell(std::string folder) : folder_(std::move(folder)) {}
  [[nodiscard]] const std::string& host() const override { return shell_.host(); }
  std::unique_ptr<Process> start(const std::vector<std::string>& argv, std::stop_token stop) override {
    auto process =
        shell_.start({"sh", "-c", R"(echo $$; exec "$0/crossover" "$@")", folder_, argv.at(1)}, std::move(stop));
    std::string line;
    for (std::byte byte{}; process->read({&byte, 1}) == 1 && byte != std::byte{'\n'};) {
      line += static_cast<char>(byte);
    }
    pid_ = std::stoi(line);
    return process;
  }
  CommandResult run(const std::vector<std::string>& argv, std::string_view input, std::chrono::milliseconds limit,
                    std::stop_token stop) override {
    return shell_.run(argv, input, limit, std::move(stop));
  }
  /// The process that was started last.
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  std::string folder_;
  LocalShell shell_{"far"};
  pid_t pid_ = -1;
};

}  // namespace

TEST_CASE("an agent that is killed leaves a torn head, no snapshot, and the base as it was" * needs_ceph()) {
  LabCluster* cluster = lab_cluster();
  const char* folder = std::getenv("CROSSOVER_TEST_COMMAND");
  REQUIRE(folder != nullptr);
  LibrbdStore direct(cluster->access());
  const ImageSpec image = cluster->new_image();
  ImageLayout layout;
  layout.size_bytes = 64 * mib;
  layout.features = image_feature::layering;
  direct.create(image, layout);
  cluster->write(image, 0, noise(4 * mib, 1));
  const Snapshot base = direct.create_snapshot(image, "base");
  const auto before = cluster->content(image, "base");

  const auto shell = std::make_shared<WatchedShell>(folder);
  AgentStore store(std::make_shared<agent::ConnectionPool>(shell), cluster->access());
  const auto sink = test::write_diff(store, image, {}, {});
  sink->size(64 * mib);
  sink->data(0, noise(8 * mib, 2));
  REQUIRE(::kill(shell->pid(), SIGKILL) == 0);
  try {
    for (std::uint64_t offset = 8 * mib; offset < 64 * mib; offset += mib) sink->data(offset, noise(mib, offset));
    sink->finish();
    FAIL("it went on");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::unreachable);
    CHECK(error.retryable());
  }
  CHECK(direct.find(image)->snapshots == std::vector{base});
  const bool is_same = cluster->content(image, "base") == before;
  CHECK(is_same);
}

TEST_CASE("a transfer whose agent was killed goes on from its last mark" * needs_ceph()) {
  LabCluster* cluster = lab_cluster();
  const char* folder = std::getenv("CROSSOVER_TEST_COMMAND");
  REQUIRE(folder != nullptr);
  LibrbdStore direct(cluster->access());
  const ImageSpec image = cluster->new_image();
  ImageLayout layout;
  layout.size_bytes = 64 * mib;
  direct.create(image, layout);
  const auto content = noise(64 * mib, 1);
  const auto progress = [&] {
    const auto state = direct.find(image);
    const auto found = state->metadata.find(std::string(progress_key));
    return found == state->metadata.end() ? 0 : parse_progress(found->second).value().offset;
  };

  const auto shell = std::make_shared<WatchedShell>(folder);
  AgentStore store(std::make_shared<agent::ConnectionPool>(shell), cluster->access());
  {
    const auto sink = test::write_diff(store, image, {"the first", 0}, {});
    sink->size(64 * mib);
    bool killed = false;
    const auto give = [&] {
      for (std::uint64_t offset = 0; offset < 64 * mib; offset += mib) {
        sink->data(offset, std::span(content).subspan(offset, mib));
        if (offset % (4 * mib) == 3 * mib) sink->mark();
        if (killed || progress() < 16 * mib) continue;
        REQUIRE(::kill(shell->pid(), SIGKILL) == 0);
        killed = true;
      }
      sink->finish();
    };
    CHECK_THROWS_AS(give(), Error);
  }
  const std::uint64_t reached = progress();
  CHECK(reached >= 16 * mib);
  CHECK(reached % (4 * mib) == 0);
  // Ceph notices after half a minute that the agent is gone.
  for (int count = 0; !direct.find(image)->watchers.empty(); ++count) {
    REQUIRE(count < 90);
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  // Its name still stands at the image's lock, and who only looks leaves word of that.
  (void)store.hold(image, {});
  const auto hold = store.hold(image, {});
  CHECK_FALSE(hold->head_unchanged_since_transfer("another", {}));
  CHECK(hold->head_unchanged_since_transfer("the first", {}));
  const auto sink = hold->write_diff({"the first", reached}, {});
  sink->size(64 * mib);
  for (std::uint64_t offset = reached; offset < 64 * mib; offset += mib) {
    sink->data(offset, std::span(content).subspan(offset, mib));
  }
  sink->finish();
  const bool is_same = cluster->content(image, "") == content;
  CHECK(is_same);
}

TEST_CASE("an agent that lost its client ends and lets the image go" * needs_ceph()) {
  LabCluster* cluster = lab_cluster();
  const char* folder = std::getenv("CROSSOVER_TEST_COMMAND");
  REQUIRE(folder != nullptr);
  LibrbdStore direct(cluster->access());
  const ImageSpec image = cluster->new_image();
  ImageLayout layout;
  layout.size_bytes = 64 * mib;
  direct.create(image, layout);
  AgentStore store(std::make_shared<agent::ConnectionPool>(std::make_shared<WatchedShell>(folder)),
                   cluster->access());
  {
    const auto sink = test::write_diff(store, image, {}, {});
    sink->size(64 * mib);
    sink->data(0, noise(8 * mib, 2));
    CHECK(direct.find(image)->watchers.size() == 1);
  }
  CHECK(direct.find(image)->watchers.empty());
  CHECK(direct.find(image)->snapshots.empty());
}
