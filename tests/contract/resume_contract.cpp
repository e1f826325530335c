// Transfers that are cut, and go on where they were.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "agent/agent_store.hpp"
#include "agent/server.hpp"
#include "contract/agent_harness.hpp"
#include "contract/ceph_harness.hpp"
#include "contract/memory_harness.hpp"
#include "crossover/error.hpp"
#include "engine/marking_sink.hpp"
#include "support/held.hpp"
#include "support/no_hypervisor.hpp"
#include "support/one_store.hpp"
#include "support/socket_shell.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

constexpr std::uint64_t mib = 1U << 20;
constexpr std::uint64_t image_bytes = 56 * mib;
// The second diff shrinks the image.
constexpr std::uint64_t later_bytes = 53 * mib + 4096;

std::vector<std::byte> noise(std::uint64_t bytes, std::mt19937_64& random) {
  std::vector<std::byte> out(bytes);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random());
  return out;
}

/// Lets so many bytes through to the commands it starts, and then ends their input.
class CuttingShell final : public Shell {
 public:
  explicit CuttingShell(std::shared_ptr<Shell> inner) : inner_(std::move(inner)) {}

  [[nodiscard]] const std::string& host() const override { return inner_->host(); }
  std::unique_ptr<Process> start(const std::vector<std::string>& argv, std::stop_token stop) override {
    return std::make_unique<CutProcess>(inner_->start(argv, std::move(stop)), *this);
  }
  CommandResult run(const std::vector<std::string>& argv, std::string_view input, std::chrono::milliseconds limit,
                    std::stop_token stop) override {
    return inner_->run(argv, input, limit, std::move(stop));
  }

  void cut_after(std::uint64_t bytes) {
    passed_ = 0;
    limit_ = bytes;
  }
  /// Bytes since then.
  [[nodiscard]] std::uint64_t passed() const { return passed_; }

 private:
  class CutProcess final : public Process {
   public:
    CutProcess(std::unique_ptr<Process> inner, CuttingShell& shell) : inner_(std::move(inner)), shell_(shell) {}
    void write(std::span<const std::byte> bytes) override {
      const std::uint64_t count = std::min<std::uint64_t>(bytes.size(), shell_.limit_ - shell_.passed_);
      if (count > 0) inner_->write(bytes.first(count));
      shell_.passed_ += count;
      if (count == bytes.size()) return;
      inner_->close_input();
      throw Error(ErrorCode::io, "write to", "command", "the connection was cut");
    }
    void close_input() override { inner_->close_input(); }
    std::size_t read(std::span<std::byte> buffer) override { return inner_->read(buffer); }
    CommandResult wait() override { return inner_->wait(); }

   private:
    std::unique_ptr<Process> inner_;
    CuttingShell& shell_;
  };

  std::shared_ptr<Shell> inner_;
  std::atomic<std::uint64_t> passed_ = 0;
  std::atomic<std::uint64_t> limit_ = ~std::uint64_t{0};
};

/// A source with a full diff and one that follows it, and a target behind an agent that can be cut off.
class Stage {
 public:
  Stage(StoreHarness& source, StoreHarness& target, std::shared_ptr<Shell> agent, const CephAccess& access)
      : source_(source),
        target_(target),
        shell_(std::make_shared<CuttingShell>(std::move(agent))),
        far_(std::make_shared<agent::ConnectionPool>(shell_), access) {
    std::mt19937_64 random(1);
    ImageLayout layout;
    layout.size_bytes = image_bytes;
    image_ = source.new_image();
    source.store().create(image_, layout);
    for (std::uint64_t offset = 0; offset < image_bytes; offset += mib) {
      if (offset % (7 * mib) != 0) source.write(image_, offset + 8192, noise(mib - 8192, random));
    }
    ends_.push_back(source.store().create_snapshot(image_, "one"));
    for (std::uint64_t offset = 0; offset + mib < image_bytes; offset += mib) {
      if (offset % (5 * mib) == 0) source.zero(image_, offset, mib / 2);
      source.write(image_, offset + mib / 2, noise(mib / 2 - random() % 4096, random));
    }
    source.resize(image_, later_bytes);
    ends_.push_back(source.store().create_snapshot(image_, "two"));
  }

  /// Cuts a transfer at random bytes and lets it go on, until it is whole. How often it went on in its middle.
  int check(std::uint64_t seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const ImageSpec replica = target_.new_image();
    ImageLayout layout;
    layout.size_bytes = image_bytes;
    target_.store().create(replica, layout);
    std::optional<Snapshot> base;
    Snapshot end = ends_[0];
    shell_->cut_after(~std::uint64_t{0});
    if (seed % 2 == 0) {
      send(replica, {}, end, {});
      target_.store().create_snapshot(replica, end.name);
      base = ends_[0];
      end = ends_[1];
    }
    const std::string id = base ? "one to two" : "nothing to one";
    const auto expected = source_.content(image_, end.name);
    const std::size_t snapshots = base ? 1 : 0;
    TransferProgress reached{id, 0};
    int resumed = 0;
    for (int cuts = 1 + static_cast<int>(random() % 2); cuts > 0; --cuts) {
      const std::uint64_t left = (expected.size() - reached.offset) * (base ? 1 : 2) / 2;
      shell_->cut_after(random() % std::max<std::uint64_t>(left, 1));
      try {
        send(replica, base, end, reached);
        break;  // what was left was shorter than it seemed
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::unreachable);
      }
      const auto state = wait_for_agent(replica);
      CHECK(state.snapshots.size() == snapshots);
      const TransferProgress now = progress_of(state, id);
      CHECK(now.offset >= reached.offset);
      reached = now;
      // What is said to be there is there.
      const auto head = target_.content(replica, "");
      if (reached.offset > 0) {
        REQUIRE(head.size() == expected.size());
        const auto length = static_cast<std::ptrdiff_t>(reached.offset);
        const bool is_same = std::equal(head.begin(), head.begin() + length, expected.begin());
        CHECK(is_same);
        ++resumed;
      }
    }
    shell_->cut_after(~std::uint64_t{0});
    send(replica, base, end, reached);
    const bool is_same = target_.content(replica, "") == expected;
    CHECK(is_same);
    return resumed;
  }

 private:
  void send(const ImageSpec& replica, const std::optional<Snapshot>& base, const Snapshot& end,
            const TransferProgress& from) {
    MarkingSink sink(test::write_diff(far_, replica, from, {}), {.bytes = mib / 2});
    source_.store().read_diff(image_, base, end, from.offset, sink, {});
  }

  static TransferProgress progress_of(const ImageState& state, const std::string& id) {
    const auto found = state.metadata.find(std::string(progress_key));
    if (found == state.metadata.end()) return {id, 0};
    const auto progress = parse_progress(found->second);
    REQUIRE(progress);
    CHECK(progress->id == id);
    return *progress;
  }

  /// The image, once the agent whose input was ended has let it go.
  ImageState wait_for_agent(const ImageSpec& replica) {
    for (int count = 0;; ++count) {
      auto state = target_.store().find(replica);
      REQUIRE(state);
      if (state->watchers.empty()) return *std::move(state);
      REQUIRE(count < 600);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }

  StoreHarness& source_;
  StoreHarness& target_;
  std::shared_ptr<CuttingShell> shell_;
  AgentStore far_;
  ImageSpec image_;
  std::vector<Snapshot> ends_;
};

void cut_at_random(Stage& stage) {
  int resumed = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) resumed += stage.check(seed);
  CHECK(resumed >= 5);
}

}  // namespace

TEST_CASE("a transfer cut at 20 random points resumes and ends equal") {
  const auto source = make_memory_harness();
  const auto target = make_memory_harness();
  const auto serve = [&store = target->store()](int in, int out) {
    NoHypervisor hypervisor;
    OneStore stores(store);
    agent::Server(in, out, {hypervisor, hypervisor, stores}).serve({});
  };
  Stage stage(*source, *target, std::make_shared<SocketShell>(serve), {});
  cut_at_random(stage);
}

TEST_CASE("the same on Ceph, through `crossover agent`" * needs_ceph()) {
  LabCluster* cluster = lab_cluster();
  const char* folder = std::getenv("CROSSOVER_TEST_COMMAND");
  REQUIRE(folder != nullptr);
  const auto source = make_librbd_harness(*cluster);
  const auto target = make_librbd_harness(*cluster);
  Stage stage(*source, *target, make_built_shell(folder), cluster->access());
  cut_at_random(stage);
}
