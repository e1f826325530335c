// Both ends of the agent's connection against each other, with faults.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <latch>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "agent/agent_hypervisor.hpp"
#include "agent/agent_store.hpp"
#include "agent/server.hpp"
#include "crossover/error.hpp"
#include "crossover/migrator.hpp"
#include "ssh/local_shell.hpp"
#include "support/held.hpp"
#include "support/memory_image_store.hpp"
#include "support/no_hypervisor.hpp"
#include "support/one_store.hpp"
#include "support/socket_shell.hpp"
#include "unit/stream/recorded_transfer.hpp"

using namespace crossover;
using namespace crossover::test;
using namespace std::string_literals;

namespace {

constexpr std::uint64_t mib = 1U << 20;
const ImageSpec image{"rbd", "", "replica"};

std::vector<std::byte> noise(std::size_t bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> out(bytes);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random());
  return out;
}

std::optional<Error> error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

std::shared_ptr<agent::ConnectionPool> pool_of(std::shared_ptr<Shell> shell,
                                               std::chrono::milliseconds silence = std::chrono::seconds(45)) {
  return std::make_shared<agent::ConnectionPool>(std::move(shell), 4,
                                                 std::vector<std::string>{"crossover", "agent"},
                                                 agent::ConnectionPool::Prepare{}, silence);
}

/// A store in memory with one image of 64 MiB, behind an agent that `serve` runs.
struct Far {
  MemoryImageStore memory;
  NoHypervisor hypervisor;
  OneStore stores{memory};
  std::stop_source stop;
  std::shared_ptr<SocketShell> shell;
  AgentStore store;

  explicit Far(SocketShell::Serve serve = {}, agent::SendWindow window = {},
               std::chrono::milliseconds patience = std::chrono::seconds(45))
      : shell(std::make_shared<SocketShell>(serve ? serve : [this](int in, int out) { this->serve(in, out); })),
        store(pool_of(shell, patience), {}, window) {
    ImageLayout layout;
    layout.size_bytes = 64 * mib;
    memory.create(image, layout);
  }

  std::chrono::milliseconds silence{45000};
  std::chrono::milliseconds beat{5000};
  std::function<void()> on_served;  ///< when the server has ended

  void serve(int in, int out) {
    try {
      agent::Server(in, out, {hypervisor, hypervisor, stores}, 16 * mib, {}, silence, beat).serve(stop.get_token());
    } catch (...) {
      if (on_served) on_served();
      throw;
    }
    if (on_served) on_served();
  }

  void send_all(DiffSink& sink) {
    sink.size(64 * mib);
    for (std::uint64_t offset = 0; offset < 64 * mib; offset += mib) sink.data(offset, noise(mib, offset));
    sink.finish();
  }
};

/// Passes bytes on, until either side is done or `change` (which sees each piece on its way in) says no.
void relay(int from, int to, const std::function<bool(std::span<std::byte>)>& change) {
  std::vector<std::byte> buffer(65536);
  for (;;) {
    const ssize_t count = ::read(from, buffer.data(), buffer.size());
    if (count <= 0) break;
    const auto piece = std::span(buffer).first(static_cast<std::size_t>(count));
    if (!change(piece) || ::send(to, piece.data(), piece.size(), MSG_NOSIGNAL) != count) break;
  }
  ::shutdown(to, SHUT_WR);
}

/// Something on the way to the server that changes what passes.
SocketShell::Serve through(Far*& far, std::function<bool(std::span<std::byte>)> change) {
  return [&far, change = std::move(change)](int in, int out) {
    std::array<int, 2> fds{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds.data()) == 0);
    std::thread forth([&] { relay(in, fds[0], change); });
    std::thread back([&] { relay(fds[0], out, [](std::span<std::byte>) { return true; }); });
    try {
      far->serve(fds[1], fds[1]);
    } catch (const Error&) {
      // The client hears of it in the protocol.
    }
    ::shutdown(fds[1], SHUT_RDWR);
    back.join();
    ::shutdown(in, SHUT_RDWR);
    forth.join();
    ::close(fds[0]);
    ::close(fds[1]);
  };
}

bool was_finished(const Far& far) {
  return far.memory.calls("finish") > 0;
}

}  // namespace

TEST_CASE("an error comes out as it was thrown, and the connection goes on") {
  Far far;
  const Error thrown(ErrorCode::locked, "create image", "rbd/\xff", "somebody's \"lock\"\n", true);
  far.memory.fail_call("create", 1, thrown);
  const auto error = error_of([&] { far.store.create({"rbd", "", "other"}, {}); });
  REQUIRE(error);
  CHECK(error->code() == thrown.code());
  CHECK(error->operation() == thrown.operation());
  CHECK(error->subject() == thrown.subject());
  CHECK(error->cause() == thrown.cause());
  CHECK(error->retryable());
  CHECK(far.store.find(image).has_value());
  CHECK(far.shell->started() == 1);
}

TEST_CASE("an agent that fails in the middle of a transfer says why") {
  Far far;
  far.memory.fail_call("data", 3, Error(ErrorCode::io, "write", "rbd/replica", "the disk is full"));
  const auto sink = test::write_diff(far.store, image, {}, {});
  const auto error = error_of([&] { far.send_all(*sink); });
  REQUIRE(error);
  CHECK(error->code() == ErrorCode::io);
  CHECK(error->cause() == "the disk is full");
  CHECK_FALSE(was_finished(far));
  // What comes next gets a connection of its own.
  CHECK(far.store.find(image)->snapshots.empty());
  CHECK(far.shell->started() == 2);
}

TEST_CASE("an agent that is gone in the middle of a transfer is unreachable") {
  Far far;
  const auto sink = test::write_diff(far.store, image, {}, {});
  sink->size(64 * mib);
  sink->data(0, noise(mib, 1));
  far.stop.request_stop();
  const auto error = error_of([&] {
    for (std::uint64_t offset = mib; offset < 64 * mib; offset += mib) sink->data(offset, noise(mib, offset));
    sink->finish();
  });
  REQUIRE(error);
  CHECK(error->code() == ErrorCode::unreachable);
  CHECK(error->retryable());
  CHECK_FALSE(was_finished(far));
}

TEST_CASE("a client that is gone in the middle of a transfer leaves it unfinished") {
  Far far;
  {
    const auto sink = test::write_diff(far.store, image, {}, {});
    sink->size(64 * mib);
    sink->data(0, noise(8 * mib, 1));
  }
  CHECK_FALSE(was_finished(far));
  CHECK(far.store.find(image)->snapshots.empty());
}

TEST_CASE("what changes on the way is noticed over there and heard of here") {
  for (const std::uint64_t at : {std::uint64_t{2 * mib}, std::uint64_t{40 * mib}}) {
    Far* target = nullptr;
    std::uint64_t passed = 0;
    Far far(through(target, [&](std::span<std::byte> piece) {
      if (passed <= at && at < passed + piece.size()) piece[at - passed] ^= std::byte{1};
      passed += piece.size();
      return true;
    }));
    target = &far;
    const auto sink = test::write_diff(far.store, image, {}, {});
    const auto error = error_of([&] { far.send_all(*sink); });
    REQUIRE(error);
    CHECK(error->code() == ErrorCode::format);
    CHECK_FALSE(was_finished(far));
  }
}

namespace {

/// Flips one bit of one frame that passes.
class FrameMeddler {
 public:
  /// Of the `nth` frame of a type (1: the first) the bit `bit`, counted from the frame's first byte.
  FrameMeddler(stream::FrameType type, int nth, std::size_t bit) : type_(type), nth_(nth), bit_(bit) {}

  bool operator()(std::span<std::byte> piece) {
    for (std::byte& byte : piece) pass(byte);
    return true;
  }
  [[nodiscard]] bool flipped() const { return flipped_; }

 private:
  void pass(std::byte& byte) {
    if (greeting_left_ > 0) {
      --greeting_left_;
      return;
    }
    const std::byte as_sent = byte;
    if (position_ == 0) is_target_ = as_sent == static_cast<std::byte>(type_) && ++seen_ == nth_;
    if (is_target_ && position_ == bit_ / 8) {
      byte ^= static_cast<std::byte>(1U << bit_ % 8);
      flipped_ = true;
    }
    if (position_ >= 4 && position_ < 8) length_ |= std::to_integer<std::size_t>(as_sent) << 8 * (position_ - 4);
    if (++position_ < stream::frame_header_bytes || position_ < stream::frame_header_bytes + length_) return;
    position_ = 0;
    length_ = 0;
  }

  stream::FrameType type_;
  int nth_;
  std::size_t bit_;
  std::size_t greeting_left_ = stream::render_hello({stream::agent_protocol_version, crossover::version()}).size();
  std::size_t position_ = 0;  // in the frame
  std::size_t length_ = 0;    // of its payload, as far as it is known
  int seen_ = 0;
  bool is_target_ = false;
  bool flipped_ = false;
};

/// Where the image's progress stands; 0 if there is none.
std::uint64_t progress_of(Far& far) {
  const auto metadata = far.memory.find(image)->metadata;
  const auto found = metadata.find(std::string(progress_key));
  return found == metadata.end() ? 0 : parse_progress(found->second).value().offset;
}

/// Each byte is zero, or what one of the pieces has there.
bool holds_nothing_but(std::vector<std::byte> content,
                       const std::map<std::size_t, std::vector<std::byte>>& pieces) {
  for (const auto& [offset, piece] : pieces) {
    for (std::size_t at = 0; at < piece.size() && offset + at < content.size(); ++at) {
      if (content[offset + at] == piece[at]) content[offset + at] = std::byte{0};
    }
  }
  return std::ranges::all_of(content, [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

TEST_CASE(
    "a bit that flips in a frame of any kind ends the transfer, and its progress stays at the last good mark") {
  struct Flip {
    stream::FrameType type;
    int nth;
    std::size_t payload_bytes;
    std::uint64_t good;  // the last mark before it
  };
  // Size, data, mark, zero, data, mark, data, end.
  constexpr std::size_t data_bytes = stream::block_header_bytes + 3000;
  for (const Flip& flip :
       {Flip{stream::FrameType::size, 1, 16, 0}, Flip{stream::FrameType::data, 1, data_bytes, 0},
        Flip{stream::FrameType::mark, 1, 24, 0}, Flip{stream::FrameType::zero, 1, 24, 3000},
        Flip{stream::FrameType::data, 2, data_bytes, 3000}, Flip{stream::FrameType::mark, 2, 24, 3000},
        Flip{stream::FrameType::data, 3, data_bytes, 15288}, Flip{stream::FrameType::end, 1, 24, 15288}}) {
    std::vector<std::size_t> bits;
    for (std::size_t bit = 0; bit < 8 * stream::frame_header_bytes; ++bit) bits.push_back(bit);
    for (std::size_t byte = 0; byte < std::min<std::size_t>(flip.payload_bytes, 32); ++byte) {
      bits.push_back(8 * (stream::frame_header_bytes + byte) + byte % 8);
    }
    bits.push_back(8 * (stream::frame_header_bytes + flip.payload_bytes) - 1);
    for (const std::size_t bit : bits) {
      CAPTURE(static_cast<int>(flip.type));
      CAPTURE(flip.nth);
      CAPTURE(bit);
      Far* target = nullptr;
      const auto meddler = std::make_shared<FrameMeddler>(flip.type, flip.nth, bit);
      Far far(through(target, [meddler](std::span<std::byte> piece) { return (*meddler)(piece); }));
      target = &far;
      const auto error = error_of([&] {
        const auto sink = test::write_diff(far.store, image, {"this one", 0}, {});
        sink->size(mib);
        sink->data(0, noise(3000, 1));
        sink->mark();
        sink->zero(8192, 4096);
        sink->data(12288, noise(3000, 2));
        sink->mark();
        sink->data(20000, noise(3000, 3));
        sink->finish();
      });
      CHECK(meddler->flipped());
      REQUIRE(error);
      CHECK(error->code() == ErrorCode::format);
      CHECK_FALSE(was_finished(far));
      CHECK(progress_of(far) == flip.good);
      // Nor was anything written where it does not belong: no later part of the diff would mend that.
      CHECK(holds_nothing_but(far.memory.content(image),
                              {{0, noise(3000, 1)}, {12288, noise(3000, 2)}, {20000, noise(3000, 3)}}));
    }
  }
}

TEST_CASE("a client says how much may be under way, and gets no more than the agent was started with") {
  Far far;
  (void)far.store.hold(image, {});
  CHECK(far.stores.transfer_memory == 0);
  far.store.set_far_memory(8 * mib);
  (void)far.store.hold(image, {});
  CHECK(far.stores.transfer_memory == 8 * mib);
  far.store.set_far_memory(1024 * mib);
  (void)far.store.hold(image, {});
  CHECK(far.stores.transfer_memory == 16 * mib);
}

TEST_CASE("a client that says nothing in the middle of a transfer is taken for gone, one that waits is not") {
  Far* target = nullptr;
  std::latch open(1);
  std::latch served(1);
  std::uint64_t passed = 0;
  const auto relayed = through(target, [&](std::span<std::byte> piece) {
    passed += piece.size();
    if (passed > 2 * mib) open.wait();  // nothing gets through any more, and nobody says so
    return true;
  });
  Far far([&](int in, int out) { relayed(in, out); });
  target = &far;
  far.silence = std::chrono::milliseconds(300);
  std::thread waiting([&] {
    served.wait();
    open.count_down();
  });
  far.on_served = [&] { served.count_down(); };
  {
    const auto sink = test::write_diff(far.store, image, {"this one", 0}, {});
    const auto error = error_of([&] {
      sink->size(64 * mib);
      sink->data(0, noise(mib, 1));
      sink->mark();
      for (std::uint64_t offset = mib; offset < 64 * mib; offset += mib) sink->data(offset, noise(mib, offset));
      sink->finish();
    });
    REQUIRE(error);
    CHECK_FALSE(was_finished(far));
    CHECK(progress_of(far) == mib);
  }
  waiting.join();

  Far patient({}, {.idle_mark = std::chrono::milliseconds(50)});
  patient.silence = std::chrono::milliseconds(500);
  const auto sink = test::write_diff(patient.store, image, {"this one", 0}, {});
  sink->size(mib);
  sink->data(0, noise(3000, 1));
  sink->zero(8192, 4096);
  std::this_thread::sleep_for(std::chrono::seconds(2));
  CHECK(progress_of(patient) == 8192 + 4096);
  sink->finish();
  CHECK(was_finished(patient));
}

TEST_CASE("a client that holds an image and says nothing is taken for gone, one that pings is not") {
  Far silent;
  silent.silence = std::chrono::milliseconds(300);
  {
    const auto hold = silent.store.hold(image, {});
    CHECK(hold->state().metadata.empty());
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const auto error = error_of([&] { hold->state(); });
    REQUIRE(error);
    CHECK(error->code() == ErrorCode::unreachable);
  }
  Far patient({}, {.idle_mark = std::chrono::milliseconds(50)});
  patient.silence = std::chrono::milliseconds(500);
  const auto hold = patient.store.hold(image, {});
  std::this_thread::sleep_for(std::chrono::seconds(2));
  hold->set_metadata("crossover.test", "held");
  CHECK(hold->state().metadata.at("crossover.test") == "held");
}

TEST_CASE("a hold that is cancelled ends at once, and its connection with it") {
  Far far;
  std::stop_source stop;
  const auto hold = far.store.hold(image, stop.get_token());
  stop.request_stop();
  CHECK_THROWS_AS(hold->state(), Cancelled);
}

TEST_CASE("a connection whose agent said nothing to a ping has broken: nobody asked for an end") {
  std::latch open(1);
  Far* target = nullptr;
  std::atomic<bool> still = false;
  const auto relayed = through(target, [&](std::span<std::byte>) {
    if (still) open.wait();
    return true;
  });
  Far far([&](int in, int out) { relayed(in, out); }, {.idle_mark = std::chrono::milliseconds(50)},
          std::chrono::milliseconds(500));
  target = &far;
  const auto hold = far.store.hold(image, {});
  const struct Opens {
    std::latch& latch;
    ~Opens() { latch.count_down(); }
  } opens{open};
  still = true;
  std::this_thread::sleep_for(std::chrono::seconds(2));
  for (const auto& use : {std::function<void()>([&] { (void)hold->state(); }),
                          std::function<void()>([&] { (void)hold->write_diff({"this one", 0}, {}); })}) {
    const auto error = error_of(use);
    CHECK(error);
    if (!error) continue;
    CHECK(error->code() == ErrorCode::unreachable);
    CHECK(error->retryable());
  }
}

TEST_CASE("an agent that stands still is not waited for, one that is busy is") {
  std::latch open(1);
  Far* target = nullptr;
  bool still = false;
  const auto relayed = through(target, [&](std::span<std::byte>) {
    if (still) open.wait();
    return true;
  });
  Far far([&](int in, int out) { relayed(in, out); }, {}, std::chrono::milliseconds(400));
  target = &far;
  CHECK(far.store.fsid() == far.memory.fsid());
  still = true;
  // The other end is joined when the connection is given up.
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    open.count_down();
  });
  const auto error = error_of([&] { far.store.find(image); });
  later.join();
  REQUIRE(error);
  CHECK(error->code() == ErrorCode::timeout);
  CHECK(error->retryable());

  Far busy({}, {}, std::chrono::milliseconds(400));
  busy.beat = std::chrono::milliseconds(50);
  busy.stores.delay = std::chrono::milliseconds(1500);
  CHECK(busy.store.find(image));
}

TEST_CASE("a connection that breaks anywhere never finishes a transfer") {
  const std::vector<std::byte> block = noise(3000, 5);
  for (std::uint64_t limit = 0;; limit += 97) {
    Far* target = nullptr;
    std::uint64_t passed = 0;
    Far far(through(target, [&](std::span<std::byte> piece) {
      passed += piece.size();
      return passed <= limit;
    }));
    target = &far;
    const auto error = error_of([&] {
      const auto sink = test::write_diff(far.store, image, {}, {});
      sink->size(mib);
      sink->data(0, block);
      sink->zero(8192, 4096);
      sink->finish();
    });
    if (!error) {
      CHECK(was_finished(far));
      break;
    }
    CHECK(error->code() == ErrorCode::unreachable);
    CHECK(error->retryable());
    REQUIRE(limit < 100000);
  }
}

TEST_CASE("who speaks another version, or something else, is no agent") {
  const auto answering = [](const std::string& text) {
    return std::make_shared<SocketShell>([text](int /*in*/, int out) {
      REQUIRE(::write(out, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    });
  };
  const auto error_with = [](std::shared_ptr<Shell> shell) {
    AgentStore store(pool_of(std::move(shell)), {});
    const auto error = error_of([&] { store.fsid(); });
    REQUIRE(error);
    return *error;
  };
  const Error newer = error_with(answering(stream::render_hello({stream::agent_protocol_version + 1, "9.9.9"})));
  CHECK(newer.code() == ErrorCode::unsupported);
  CHECK(newer.cause().find(fmt::format("version {} of the protocol (crossover 9.9.9)",
                                       stream::agent_protocol_version + 1)) != std::string::npos);
  const Error garbage = error_with(answering("Welcome to far!\n"));
  CHECK(garbage.code() == ErrorCode::format);
  CHECK(garbage.cause().find("Welcome to far!") != std::string::npos);
  CHECK(error_with(answering("crossover-a")).code() == ErrorCode::unreachable);
  CHECK(error_with(answering("")).code() == ErrorCode::unreachable);

  class NoCommand final : public Shell {
   public:
    [[nodiscard]] const std::string& host() const override { return shell_.host(); }
    std::unique_ptr<Process> start(const std::vector<std::string>&, std::stop_token stop) override {
      return shell_.start({"crossover-that-is-not-there", "agent"}, std::move(stop));
    }
    CommandResult run(const std::vector<std::string>&, std::string_view, std::chrono::milliseconds,
                      std::stop_token) override {
      return {};
    }

   private:
    LocalShell shell_{"far"};
  };
  const Error missing = error_with(std::make_shared<NoCommand>());
  CHECK(missing.code() == ErrorCode::unsupported);
  CHECK(missing.cause().starts_with("there is no crossover command"));
}

TEST_CASE("whoever is cancelled while the agent's host is being reached does not wait for it") {
  // Until it is told to stop; not for ever, so that who is not heard fails.
  class Slow final : public Shell {
   public:
    [[nodiscard]] const std::string& host() const override { return name_; }
    std::unique_ptr<Process> start(const std::vector<std::string>&, std::stop_token stop) override {
      reaching.count_down();
      std::mutex mutex;
      std::condition_variable_any never;
      std::unique_lock lock(mutex);
      never.wait_for(lock, stop, std::chrono::seconds(10), [] { return false; });
      if (stop.stop_requested()) throw Cancelled{};
      throw Error(ErrorCode::unreachable, "connect to", name_, "it does not answer", true);
    }
    CommandResult run(const std::vector<std::string>&, std::string_view, std::chrono::milliseconds,
                      std::stop_token) override {
      return {};
    }
    std::latch reaching{1};

   private:
    std::string name_ = "far";
  };
  {
    const auto shell = std::make_shared<Slow>();
    std::stop_source stop;
    std::jthread cancelling([&] {
      shell->reaching.wait();
      stop.request_stop();
    });
    CHECK_THROWS_AS(pool_of(shell)->acquire(stop.get_token()), Cancelled);
  }
  {
    Slow shell;
    std::stop_source stop;
    stop.request_stop();
    CHECK_THROWS_AS(agent::Connection(shell, {"crossover", "agent"}, std::chrono::seconds(45), stop.get_token()),
                    Cancelled);
  }
}

TEST_CASE("a connection that was opened ahead is the next one's, with what went wrong") {
  Far far;
  const auto pool = pool_of(far.shell);
  SUBCASE("it is used once, after those that are free") {
    (void)pool->acquire({});
    pool->open_ahead();
    const auto first = pool->acquire({});
    const auto second = pool->acquire({});
    CHECK(far.shell->started() == 2);
    const auto third = pool->acquire({});
    CHECK(far.shell->started() == 3);
  }
  SUBCASE("nobody needs it") {
    pool->open_ahead();
  }
}

TEST_CASE("whoever needs a connection that cannot be opened ahead hears why, and the next one tries again") {
  std::atomic<int> started = 0;
  Far far([&](int in, int out) {
    if (++started > 1) far.serve(in, out);
  });
  const auto pool = pool_of(far.shell);
  pool->open_ahead();
  CHECK(error_of([&] { (void)pool->acquire({}); }));
  CHECK(pool->acquire({})->usable());
}

TEST_CASE("every connection is made ready before anybody has it, also one that is opened ahead") {
  MemoryImageStore memory;
  NoHypervisor hypervisor;
  OneStore stores(memory);
  std::mutex mutex;
  std::vector<std::string> prepared;
  const auto shell = std::make_shared<SocketShell>([&](int in, int out) {
    const auto prepare = [&](const std::string& storage, const std::optional<CephUser>& user) {
      const std::scoped_lock lock(mutex);
      prepared.push_back(storage + (user ? " as " + user->name + " of " + user->keyring : ""));
    };
    agent::Server(in, out, {hypervisor, hypervisor, stores}, 16 * mib, prepare).serve({});
  });
  std::atomic<int> asked = 0;
  const auto pool = std::make_shared<agent::ConnectionPool>(
      shell, 4, std::vector<std::string>{"crossover", "agent"},
      [&](agent::Connection& connection, const std::stop_token& stop) {
        if (++asked == 3) throw Error(ErrorCode::unreachable, "prepare", "agent", "it is gone", true);
        agent::Json storage{{"storage", "data"}};
        storage["user"] = asked == 1 ? std::optional(CephUser{"backup", "/k"}) : std::nullopt;
        connection.call("prepare", std::move(storage), stop);
      });
  const auto first = pool->acquire({});
  pool->open_ahead();
  const auto second = pool->acquire({});
  {
    const std::scoped_lock lock(mutex);
    CHECK(prepared == std::vector<std::string>{"data as backup of /k", "data"});
  }
  CHECK(error_of([&] { (void)pool->acquire({}); }));
  CHECK(pool->acquire({})->usable());
}

TEST_CASE("a connection that is opened ahead is not trusted once another one broke") {
  Far* target = nullptr;
  std::atomic<int> started = 0;
  std::latch reached(1);
  Far far([&](int in, int out) {
    if (++started != 2) return target->serve(in, out);
    // Says nothing until the client is gone.
    reached.count_down();
    std::array<std::byte, 64> buffer{};
    while (::read(in, buffer.data(), buffer.size()) > 0) {
    }
  });
  target = &far;
  const auto pool = pool_of(far.shell);
  {
    const auto broken = pool->acquire({});
    pool->open_ahead();
    reached.wait();
    broken->give_up();
  }
  CHECK(pool->acquire({})->usable());
  CHECK(started == 3);
}

TEST_CASE("whoever is cancelled does not wait for a connection that is opened ahead") {
  // Says nothing until the client is gone.
  Far far([](int in, int) {
    std::array<std::byte, 64> buffer{};
    while (::read(in, buffer.data(), buffer.size()) > 0) {
    }
  });
  const auto pool = pool_of(far.shell);
  pool->open_ahead();
  std::stop_source stop;
  std::thread cancelling([&stop] { stop.request_stop(); });
  CHECK_THROWS_AS((void)pool->acquire(stop.get_token()), Cancelled);
  cancelling.join();
  // Nor does whoever lets go of the pool with one still under way.
  pool->open_ahead();
}

TEST_CASE("a server refuses what is no protocol") {
  Far far;
  const auto said_to = [&](const std::string& text) {
    std::array<int, 2> fds{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds.data()) == 0);
    REQUIRE(::write(fds[0], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    ::shutdown(fds[0], SHUT_WR);
    const auto error = error_of([&] { far.serve(fds[1], fds[1]); });
    ::close(fds[0]);
    ::close(fds[1]);
    return error ? std::string(to_string(error->code())) : "none";
  };
  CHECK(said_to("") == "none");
  CHECK(said_to(greeting()) == "none");
  CHECK(said_to(stream::render_hello({1, "9"})) == "none");
  CHECK(said_to("GET / HTTP/1.0\r\n\r\n") == "format");
}

TEST_CASE("requests that make no sense are answered") {
  Far far;
  const auto cause_of = [&](const std::string& operation, agent::Json request) {
    const auto lease = pool_of(far.shell)->acquire({});
    const auto error = error_of([&] { lease->call(operation, std::move(request), {}); });
    return error ? std::string(to_string(error->code())) : "none";
  };
  CHECK(cause_of("dance", agent::Json::object()) == "unsupported");
  CHECK(cause_of("fsid", {{"access", 7}}) == "format");
  CHECK(cause_of("find_all", {{"access", CephAccess{}}}) == "format");
  CHECK(cause_of("release_guest", agent::Json::object()) == "usage");
  CHECK(cause_of("survey", {{"versions", false}}) == "unsupported");
}

TEST_CASE("an agent gives the hashes of so many blocks and no more in one answer") {
  Far far;
  const std::uint64_t block_bytes = 4096;
  const std::uint64_t most = 2 * agent::hashes_per_request;
  far.memory.resize(image, (most + 1) * block_bytes);
  far.memory.write(image, 0, noise((most + 1) * block_bytes, 1));
  const Snapshot snapshot = far.memory.create_snapshot(image, "one");
  const auto lease = pool_of(far.shell)->acquire({});
  const auto asked_for = [&](std::uint64_t blocks) {
    const BlockSelection selection{.block_bytes = block_bytes, .ranges = {{0, blocks * block_bytes}}, .sample = {}};
    return lease->call("hash_blocks",
                       {{"access", CephAccess{}}, {"image", image}, {"snapshot", snapshot}, {"blocks", selection}},
                       {});
  };
  CHECK(asked_for(most).size() == most);
  const auto error = error_of([&] { asked_for(most + 1); });
  REQUIRE(error);
  CHECK(error->code() == ErrorCode::usage);
  // A client of ours asks piece by piece.
  std::uint64_t hashes = 0;
  far.store.hash_blocks(image, snapshot, {block_bytes, {{0, (most + 1) * block_bytes}}, {}},
                        [&hashes](const BlockHash&) { ++hashes; }, {});
  CHECK(hashes == most + 1);
}

TEST_CASE("a slow writer over there holds the sender here, within bounds") {
  // The relay stops passing anything on, so nothing but what sits in buffers can be accepted.
  Far* target = nullptr;
  std::latch open(1);
  std::uint64_t passed = 0;
  Far far(through(target,
                  [&](std::span<std::byte> piece) {
                    passed += piece.size();
                    if (passed > 4 * mib) open.wait();
                    return true;
                  }),
          {.max_bytes = 8 * mib});
  target = &far;
  const auto sink = test::write_diff(far.store, image, {}, {});
  std::atomic<std::uint64_t> given = 0;
  std::thread giving([&] {
    sink->size(64 * mib);
    for (; given < 64 * mib; given += mib) sink->data(given, noise(mib, given));
    sink->finish();
  });
  std::uint64_t before = 0;
  do {
    before = given;
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  } while (given != before || before == 0);
  CHECK(given <= (4 + 8 + 3) * mib);
  open.count_down();
  giving.join();
  CHECK(was_finished(far));
}

namespace {

/// A cluster with one of everything, a guest to freeze and a configuration to hold.
class OneGuest final : public Hypervisor, public GuestPower {
 public:
  SurveyScope surveyed;  ///< what the last survey was for
  std::atomic<int> frozen = 0;
  std::atomic<int> paused = 0;
  std::atomic<int> held = 0;

  static ClusterInventory inventory() {
    ClusterInventory found;
    found.entry_node = "pve04";
    found.name = "west";
    found.writable = true;
    found.nodes["pve04"] = {"pve04",   "10.0.0.4", true,   "",        "pve-manager/8",
                            "ceph 18", "10.1.2",   "EPYC", {"vmbr0"}, "pve04 ssh-rsa AAAA\n"};
    found.nodes["pve05"] = {.name = "pve05", .unreachable = "no route"};
    found.storages = parse_storage_config("rbd: a\n\tpool p\n\tnodes pve04\n\tcontent images\n\nbroken line\n");
    found.ceph_files = {"a.keyring"};
    found.snippets = {"local:snippets/x.pl"};
    found.containers[200] = "pve05";
    found.guests[100] = {100,
                         "pve04",
                         "#Gr\xf6\xdf"
                         "e \xff\x00 end\nname: web\n"s,
                         "[OPTIONS]\n",
                         Power::running,
                         "started"};
    found.guests[101] = {101, "pve05", "", std::nullopt, Power::unknown, ""};
    return found;
  }

  ClusterInventory survey(const SurveyScope& scope, std::stop_token) override {
    surveyed = scope;
    return inventory();
  }
  std::optional<ConfigVersion> read_config(const std::string&, std::uint32_t vmid, std::stop_token) override {
    if (vmid == 999) return std::nullopt;
    return ConfigVersion{"a\xffz", 12};
  }
  ConfigVersion write_config(const std::string& node, std::uint32_t vmid,
                             const std::optional<ConfigVersion>& expected, const std::string& bytes,
                             std::stop_token) override {
    return {node + std::to_string(vmid) + (expected ? expected->bytes : "nothing") + bytes, 13};
  }
  std::unique_ptr<ConfigHold> hold_config(const std::string&, std::uint32_t, const ConfigVersion& expected,
                                          const std::string& bytes) override {
    if (expected.bytes != "old") throw Error(ErrorCode::conflict, "write configuration", "VM", "it changed");
    class Held final : public ConfigHold {
     public:
      Held(std::atomic<int>& count, std::string bytes) : count_(count), bytes_(std::move(bytes)) { ++count_; }
      ~Held() override { --count_; }
      void release() override {
        if (bytes_ == "changed") throw Error(ErrorCode::conflict, "release", "VM", "somebody changed it");
      }

     private:
      std::atomic<int>& count_;
      std::string bytes_;
    };
    return std::make_unique<Held>(held, bytes);
  }
  void write_firewall(std::uint32_t, const std::optional<std::string>& bytes, std::stop_token) override {
    firewall = bytes.value_or("removed");
  }
  std::unique_ptr<GuestHold> hold_guest(HoldWay way, const std::string&, std::uint32_t vmid,
                                        std::chrono::milliseconds, std::stop_token) override {
    class Held final : public GuestHold {
     public:
      Held(std::atomic<int>& count, std::string already) : count_(count), already_(std::move(already)) { ++count_; }
      ~Held() override { --count_; }
      [[nodiscard]] const std::string& already() const override { return already_; }
      std::chrono::milliseconds release() override { return std::chrono::milliseconds(123); }

     private:
      std::atomic<int>& count_;
      std::string already_;
    };
    if (vmid == 999) throw Error(ErrorCode::unsupported, "freeze", "VM 999", "no agent");
    return std::make_unique<Held>(way == HoldWay::freeze ? frozen : paused, vmid == 101 ? "prelaunch" : "");
  }

  Power power(const std::string&, std::uint32_t vmid, std::stop_token) override {
    return vmid == 100 ? Power::running : Power::unknown;
  }
  void start(const std::string& node, std::uint32_t vmid, std::stop_token) override {
    asked.push_back(fmt::format("start {} {}", node, vmid));
  }
  void shut_down(const std::string& node, std::uint32_t vmid, std::chrono::seconds timeout, bool force,
                 std::stop_token stop) override {
    asked.push_back(fmt::format("shut_down {} {} {} {}", node, vmid, timeout.count(), force));
    if (shutting_down) shutting_down(stop);
  }
  void suspend(const std::string& node, std::uint32_t vmid, const std::string& storage,
               std::stop_token stop) override {
    asked.push_back(fmt::format("suspend {} {} {}", node, vmid, storage));
    CHECK(stop.stop_possible());
  }
  void free_volume(const std::string& node, const std::string& volume, std::stop_token) override {
    asked.push_back(fmt::format("free_volume {} {}", node, volume));
  }
  bool agent_answers(const std::string& node, std::uint32_t vmid, std::stop_token) override {
    return node == "pve04" && vmid == 100;
  }
  void set_ha_state(std::uint32_t vmid, const std::string& state, std::stop_token) override {
    asked.push_back(fmt::format("set_ha_state {} {}", vmid, state));
  }
  void destroy(const std::string& node, std::uint32_t vmid, std::stop_token) override {
    if (vmid == 999) throw Error(ErrorCode::command, "destroy", "VM 999", "Could not remove disk");
    asked.push_back(fmt::format("destroy {} {}", node, vmid));
  }

  std::string firewall;
  std::vector<std::string> asked;
  std::function<void(const std::stop_token&)> shutting_down;
};

}  // namespace

TEST_CASE("a hypervisor behind an agent is the same, byte for byte") {
  OneGuest guest;
  MemoryImageStore memory;
  OneStore stores(memory);
  const auto shell = std::make_shared<SocketShell>([&](int in, int out) {
    agent::Server(in, out, {guest, guest, stores}).serve({});
  });
  AgentHypervisor hypervisor(pool_of(shell));
  (void)hypervisor.survey({.versions = true, .guests = {{100, 999}}}, {});
  CHECK(guest.surveyed.versions);
  CHECK(guest.surveyed.guests == std::set<std::uint32_t>{100, 999});
  const ClusterInventory found = hypervisor.survey({}, {});
  CHECK_FALSE(guest.surveyed.versions);
  CHECK_FALSE(guest.surveyed.guests);
  const ClusterInventory expected = OneGuest::inventory();
  CHECK(agent::Json(found) == agent::Json(expected));
  CHECK(found.guests.at(100).config == expected.guests.at(100).config);
  CHECK(found.guests.at(101).power == Power::unknown);
  CHECK(found.storages == expected.storages);
  CHECK(found.nodes.at("pve04").known_hosts == "pve04 ssh-rsa AAAA\n");
  CHECK(hypervisor.read_config("pve04", 100, {}) == ConfigVersion{"a\xffz", 12});
  CHECK_FALSE(hypervisor.read_config("pve04", 999, {}));
  CHECK(hypervisor.write_config("n", 100, std::nullopt, "\xfe", {}).bytes == "n100nothing\xfe");
  CHECK(hypervisor.write_config("n", 100, ConfigVersion{"old"}, "new", {}).bytes == "n100oldnew");
  hypervisor.write_firewall(100, "rules", {});
  CHECK(guest.firewall == "rules");
  hypervisor.write_firewall(100, std::nullopt, {});
  CHECK(guest.firewall == "removed");

  const auto hold_guest = [&hypervisor](HoldWay way, std::uint32_t vmid) {
    return hypervisor.hold_guest(way, "pve04", vmid, std::chrono::seconds(10), {});
  };
  for (const HoldWay way : {HoldWay::freeze, HoldWay::pause}) {
    const std::atomic<int>& held = way == HoldWay::freeze ? guest.frozen : guest.paused;
    auto one = hold_guest(way, 100);
    CHECK(one->already().empty());
    CHECK(held == 1);
    (void)hypervisor.survey({}, {});
    CHECK(one->release() == std::chrono::milliseconds(123));
    CHECK(held == 0);
    one.reset();
    // Whoever forgets to let it go has done so.
    hold_guest(way, 100).reset();
    CHECK(held == 0);
  }
  CHECK(hold_guest(HoldWay::pause, 101)->already() == "prelaunch");
  CHECK_THROWS_WITH_AS((void)hold_guest(HoldWay::freeze, 999), doctest::Contains("no agent"), Error);

  auto hold = hypervisor.hold_config("pve04", 100, {"old"}, "lock: backup\n");
  CHECK(guest.held == 1);
  (void)hypervisor.survey({}, {});
  hold->release();
  CHECK(guest.held == 0);
  hold.reset();
  hypervisor.hold_config("pve04", 100, {"old"}, "forgotten").reset();
  CHECK(guest.held == 0);
  CHECK_THROWS_WITH_AS(hypervisor.hold_config("pve04", 100, {"new"}, "x"), doctest::Contains("it changed"),
                       Error);
  hold = hypervisor.hold_config("pve04", 100, {"old"}, "changed");
  CHECK_THROWS_WITH_AS(hold->release(), doctest::Contains("somebody changed it"), Error);
}

TEST_CASE("a guest goes on and its configuration is put back when the connection that held them ends") {
  OneGuest guest;
  MemoryImageStore memory;
  OneStore stores(memory);
  const auto shell = std::make_shared<SocketShell>([&](int in, int out) {
    agent::Server(in, out, {guest, guest, stores}).serve({});
  });
  {
    agent::Connection connection(*shell, {"crossover", "agent"}, std::chrono::seconds(45), {});
    connection.call("hold_guest", {{"pause", false}, {"node", "pve04"}, {"vmid", 100}, {"deadline_ms", 1000}}, {});
    CHECK(guest.frozen == 1);
    connection.call("hold_config",
                    {{"node", "pve04"}, {"vmid", 100}, {"expected", ConfigVersion{"old"}}, {"bytes", "new"}},
                    {});
    CHECK(guest.held == 1);
  }
  CHECK(guest.frozen == 0);
  CHECK(guest.held == 0);
}

TEST_CASE("a guest and a configuration that a silent client holds are let go of, those of one that pings are not") {
  constexpr std::chrono::milliseconds silence{1000};
  OneGuest guest;
  MemoryImageStore memory;
  OneStore stores(memory);
  const auto shell = std::make_shared<SocketShell>([&](int in, int out) {
    try {
      agent::Server(in, out, {guest, guest, stores}, 16 * mib, {}, silence).serve({});
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::timeout);
    }
  });
  const auto hold = [&shell](std::chrono::milliseconds ping_interval) {
    AgentHypervisor hypervisor(pool_of(shell), ping_interval);
    return std::pair{hypervisor.hold_guest(HoldWay::freeze, "pve04", 100, std::chrono::seconds(60), {}),
                     hypervisor.hold_config("pve04", 100, {"old"}, "lock: backup\n")};
  };
  {
    const auto [frozen, locked] = hold(silence / 20);
    // What is silent from the beginning is given up after twice as long at the latest.
    std::this_thread::sleep_for(3 * silence);
    CHECK(guest.frozen == 1);
    CHECK(guest.held == 1);
    CHECK(frozen->release() == std::chrono::milliseconds(123));
    CHECK_NOTHROW(locked->release());
  }
  const auto [frozen, locked] = hold(std::chrono::hours(1));
  for (int tries = 0; guest.frozen + guest.held > 0; ++tries) {
    REQUIRE(tries < 2000);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const auto of_guest = error_of([&] { (void)frozen->release(); });
  const auto of_config = error_of([&] { locked->release(); });
  REQUIRE((of_guest && of_config));
  CHECK(of_guest->code() == ErrorCode::unreachable);
  CHECK(of_config->code() == ErrorCode::unreachable);
}

TEST_CASE("guests' power behind an agent is the same") {
  OneGuest guest;
  MemoryImageStore memory;
  OneStore stores(memory);
  const auto shell = std::make_shared<SocketShell>([&](int in, int out) {
    agent::Server(in, out, {guest, guest, stores}).serve({});
  });
  AgentHypervisor power(pool_of(shell));
  CHECK(power.power("pve04", 100, {}) == Power::running);
  CHECK(power.power("pve04", 101, {}) == Power::unknown);
  CHECK(power.agent_answers("pve04", 100, {}));
  CHECK_FALSE(power.agent_answers("pve04", 101, {}));
  power.start("pve05", 101, {});
  power.shut_down("pve04", 100, std::chrono::seconds(180), false, {});
  power.shut_down("pve04", 100, std::chrono::seconds(0), true, {});
  power.suspend("pve04", 100, "fast", {});
  power.free_volume("pve04", "fast:vm-100-state-suspend-2026-11-23", {});
  power.set_ha_state(100, "ignored", {});
  power.destroy("pve04", 100, {});
  CHECK(guest.asked == std::vector<std::string>{"start pve05 101", "shut_down pve04 100 180 false",
                                                "shut_down pve04 100 0 true", "suspend pve04 100 fast",
                                                "free_volume pve04 fast:vm-100-state-suspend-2026-11-23",
                                                "set_ha_state 100 ignored", "destroy pve04 100"});
  const auto error = error_of([&] { power.destroy("pve04", 999, {}); });
  REQUIRE(error);
  CHECK(error->code() == ErrorCode::command);
  CHECK(error->cause() == "Could not remove disk");
  CHECK_MESSAGE(shell->started() == 1, "the connection goes on after an error");
}

TEST_CASE("a guest may take longer to shut down than an agent may be silent") {
  constexpr std::chrono::milliseconds silence{1000};
  OneGuest guest;
  MemoryImageStore memory;
  OneStore stores(memory);
  std::chrono::milliseconds beat{100};
  const auto shell = std::make_shared<SocketShell>([&](int in, int out) {
    agent::Server(in, out, {guest, guest, stores}, 16 * mib, {}, std::chrono::seconds(45), beat).serve({});
  });
  guest.shutting_down = [&](const std::stop_token&) { std::this_thread::sleep_for(3 * silence); };
  const auto shut_down = [&] {
    AgentHypervisor(pool_of(shell, silence)).shut_down("pve04", 100, std::chrono::seconds(180), false, {});
  };
  CHECK_NOTHROW(shut_down());
  beat = std::chrono::seconds(45);
  const auto error = error_of(shut_down);
  REQUIRE(error);
  CHECK(error->code() == ErrorCode::timeout);
}

TEST_CASE("whoever is cancelled while a guest shuts down does not wait for it, and over there nobody does") {
  OneGuest guest;
  MemoryImageStore memory;
  OneStore stores(memory);
  std::latch begun(1);
  std::latch ended(1);
  const auto shell = std::make_shared<SocketShell>([&](int in, int out) {
    agent::Server(in, out, {guest, guest, stores}).serve({});
  });
  guest.shutting_down = [&](const std::stop_token& stop) {
    begun.count_down();
    const std::stop_callback tell(stop, [&] { ended.count_down(); });
    ended.wait();
    throw Cancelled{};
  };
  std::stop_source stop;
  std::jthread cancelling([&] {
    begun.wait();
    stop.request_stop();
  });
  AgentHypervisor power(pool_of(shell));
  CHECK_THROWS_AS(power.shut_down("pve04", 100, std::chrono::seconds(180), false, stop.get_token()), Cancelled);
  ended.wait();
}
