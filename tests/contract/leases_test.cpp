// Leases on real Ceph: who is kept out, who is told what, and when one is lost.
#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "contract/ceph_harness.hpp"
#include "crossover/error.hpp"
#include "rbd/librbd_leases.hpp"
#include "rbd/librbd_store.hpp"
#include "ssh/local_shell.hpp"

using namespace crossover;
using namespace crossover::test;
using namespace std::chrono_literals;

namespace {

constexpr LeaseTimes quick{.duration = std::chrono::seconds(3), .renewal = 300ms};

/// Two images, and the leases of two runs that know nothing of each other.
class Leased {
 public:
  Leased() {
    for (int i = 0; i < 2; ++i) {
      const ImageSpec spec = cluster_.new_image();
      ImageLayout layout;
      layout.size_bytes = 4096;
      store_.create(spec, layout);
      images.push_back({{cluster_.access(), spec}, store_.find(spec).value().id});
    }
  }
  ~Leased() {
    for (const LeasedImage& image : images) cluster_.remove(image.image.spec);
  }

  /// Takes them in their order; what is lost is told to `lost`.
  static std::unique_ptr<Lease> take(LibrbdLeases& leases, std::vector<LeasedImage> which,
                                     std::function<void()> lost = [] { FAIL("it was lost"); }) {
    return leases.take(which, std::move(lost));
  }

  /// Why it is refused; empty if it is not.
  static std::string refused(LibrbdLeases& leases, const std::vector<LeasedImage>& which) {
    try {
      take(leases, which);
      return {};
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::locked);
      CHECK(error.retryable());
      return error.cause();
    }
  }

  /// The stock command on an image's lease.
  std::string lock(const LeasedImage& image, const std::string& verb, const std::vector<std::string>& words) {
    const std::string& conf = cluster_.access().conf;
    std::vector<std::string> argv{"rados", "--conf", conf, "--pool", image.image.spec.pool, "lock", verb,
                                  "rbd_header." + image.id, "crossover.run"};
    argv.insert(argv.end(), words.begin(), words.end());
    const CommandResult done = shell_.run(argv, {}, 30s, {});
    CAPTURE(done.errors);
    REQUIRE(done.exit_status == 0);
    return done.output;
  }

  /// As if another process had it, for ten minutes unless it is said otherwise.
  void taken_by(const LeasedImage& image, const std::string& description, const std::string& seconds = "600") {
    lock(image, "get", {"--lock-cookie", "0123 " + description, "--lock-type", "exclusive", "--lock-duration", seconds});
  }

  /// Takes the lease away from whoever has it.
  void broken(const LeasedImage& image) {
    std::string info = lock(image, "info", {"--format", "json"});
    info.erase(0, info.find("\"lockers\""));
    const auto value = [&info](const std::string& key) {
      const std::size_t begin = info.find("\"" + key + "\":\"") + key.size() + 4;
      return info.substr(begin, info.find('"', begin) - begin);
    };
    lock(image, "break", {value("name"), "--lock-cookie", value("cookie")});
  }

 private:
  LabCluster& cluster_ = *lab_cluster();
  LibrbdStore store_{cluster_.access()};
  LibrbdStore other_store_{cluster_.access()};
  LocalShell shell_;

 public:
  std::vector<LeasedImage> images;
  LibrbdLeases first{[this](const CephAccess&) -> LibrbdStore& { return store_; }, quick};
  LibrbdLeases second{[this](const CephAccess&) -> LibrbdStore& { return other_store_; }, quick};
};

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

/// What tells this host's processes from another one's.
std::string processes_here() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::getline(file, boot);
  return boot + "/" + std::filesystem::read_symlink("/proc/self/ns/pid").string();
}

/// A process of another node: with a name of its own among processes of its own, of whom nobody here can know.
class OtherNode {
 public:
  /// Runs the test below, and then is made to stand still and to go on, for a word each.
  explicit OtherNode(const LeasedImage& image)
      : process_(shell_.start({"unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "env",
                               "CROSSOVER_TEST_IMAGE=" + image.image.spec.pool + "/" + image.image.spec.name,
                               "sh", "-c",
                               "hostname pve9; \"$@\" & read word; kill -STOP $!; read word; kill -CONT $!; wait $!",
                               "sh", std::filesystem::read_symlink("/proc/self/exe").string(), "--no-skip",
                               "--test-case=(a process of another node)"},
                              {})) {}

  void say_word() { process_->write(std::as_bytes(std::span("\n", 1))); }
  /// Reads on to where it says that.
  void wait_for(const std::string& word) {
    while (said_.find(word) == std::string::npos) {
      std::array<std::byte, 512> bytes{};
      const std::size_t count = process_->read(bytes);
      CAPTURE(said_);
      REQUIRE(count > 0);
      said_.append(reinterpret_cast<const char*>(bytes.data()), count);
    }
  }
  int ends_with() { return process_->wait().exit_status; }

 private:
  LocalShell shell_;
  std::unique_ptr<Process> process_;
  std::string said_;
};

}  // namespace

TEST_CASE("(a process of another node)" * doctest::skip()) {
  const char* name = std::getenv("CROSSOVER_TEST_IMAGE");
  if (name == nullptr) return;  // only the test below starts it
  const std::string text = name;
  const ImageSpec spec{text.substr(0, text.find('/')), "", text.substr(text.find('/') + 1)};
  const CephAccess access = lab_cluster()->access();
  LibrbdStore store(access);
  LibrbdLeases leases([&store](const CephAccess&) -> LibrbdStore& { return store; });
  std::promise<void> lost;
  const std::vector<LeasedImage> images{{{access, spec}, store.find(spec).value().id}};
  const auto held = leases.take(images, [&lost] { lost.set_value(); });
  std::puts("it has it");
  std::fflush(stdout);
  REQUIRE(lost.get_future().wait_for(90s) == std::future_status::ready);
  std::puts("it lost it");
}

TEST_CASE("a lease keeps another run out, which is told whose it is, for as long as it is held" * needs_ceph()) {
  Leased at;
  auto held = at.take(at.first, at.images);
  const std::string holder = "process " + std::to_string(::getpid()) + " on " + host_name();
  CHECK(at.refused(at.second, at.images) == holder);
  CHECK(at.refused(at.second, {at.images[1]}) == holder);
  // Longer than it lasts by itself: it is renewed.
  std::this_thread::sleep_for(quick.duration + 1s);
  CHECK(at.refused(at.second, at.images) == holder);
  held.reset();
  CHECK(at.refused(at.second, at.images).empty());
}

TEST_CASE("of several images a lease is taken on all or on none" * needs_ceph()) {
  Leased at;
  const auto held = at.take(at.first, {at.images[1]});
  CHECK_FALSE(at.refused(at.second, at.images).empty());
  CHECK_MESSAGE(at.refused(at.second, {at.images[0]}).empty(), "what was taken is given back at once");
}

TEST_CASE("a lease of another node's process is respected, and runs out" * needs_ceph()) {
  Leased at;
  at.taken_by(at.images[0], "pve9 4711 1 otherboot/pid:[1]", "2");
  CHECK(at.refused(at.second, at.images) == "process 4711 on pve9");
  std::string refused = "not asked";
  for (int i = 0; i < 100 && !refused.empty(); ++i) {
    std::this_thread::sleep_for(100ms);
    refused = at.refused(at.second, at.images);
  }
  CHECK(refused.empty());
}

TEST_CASE("a lease of a process of this host that is gone keeps nobody waiting" * needs_ceph()) {
  Leased at;
  at.taken_by(at.images[0], host_name() + " 1 12345 " + processes_here());
  CHECK_MESSAGE(at.refused(at.second, at.images).empty(), "process 1 is another one now, for it began at another time");
  at.taken_by(at.images[1], host_name() + " 1 12345 otherboot/pid:[1]");
  CHECK_MESSAGE(at.refused(at.second, at.images) == "process 1 on " + host_name(), "of whom nothing can be known here");
  at.broken(at.images[1]);
  at.taken_by(at.images[1], "");
  CHECK(at.refused(at.second, at.images) == "its holder has not said who it is");
}

TEST_CASE("a lease that somebody took away is lost at once, not when it would have run out" * needs_ceph()) {
  Leased at;
  for (const bool taken_again : {false, true}) {
    CAPTURE(taken_again);
    std::promise<void> lost;
    auto told = lost.get_future();
    const auto held = at.take(at.first, at.images, [&lost] { lost.set_value(); });
    CHECK(told.wait_for(2 * quick.renewal) == std::future_status::timeout);
    at.broken(at.images[1]);
    if (taken_again) at.taken_by(at.images[1], "pve9 4711 1 otherboot/pid:[1]");
    CHECK(told.wait_for(quick.duration - 1s) == std::future_status::ready);
    if (taken_again) at.broken(at.images[1]);
  }
}

TEST_CASE("processes of two nodes keep each other out, and one that stands still does so for half a minute" *
          needs_ceph()) {
  Leased at;
  OtherNode other(at.images[0]);
  other.wait_for("it has it");
  const std::string refused = at.refused(at.second, {at.images[0]});
  CHECK_MESSAGE(refused.ends_with(" on pve9"), refused);
  // Until it was renewed once; from there it lasts as long as from the beginning.
  std::this_thread::sleep_for(LeaseTimes{}.renewal + 1s);
  CHECK(at.refused(at.second, {at.images[0]}) == refused);
  other.say_word();
  const auto stopped = std::chrono::steady_clock::now();
  while (!at.refused(at.second, {at.images[0]}).empty()) std::this_thread::sleep_for(200ms);
  const auto after = std::chrono::steady_clock::now() - stopped;
  CHECK(after > LeaseTimes{}.duration - LeaseTimes{}.renewal / 2);
  CHECK(after < LeaseTimes{}.duration + 2s);
  // It goes on while another one has it, and is told.
  const auto held = at.take(at.second, {at.images[0]});
  other.say_word();
  other.wait_for("it lost it");
  CHECK(other.ends_with() == 0);
}
