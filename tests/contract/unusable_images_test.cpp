// Images that are there and of no use, users that may not, keys that cannot be read: each is named as what it is,
// before anything is written, by librbd and by the stock command alike.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/ceph_harness.hpp"
#include "contract/stock_rbd.hpp"
#include "crossover/error.hpp"
#include "model/image_access.hpp"
#include "rbd/librbd_store.hpp"
#include "rbd/rbd_command_store.hpp"
#include "ssh/local_shell.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

class NullDiff final : public DiffSink {
 public:
  void size(std::uint64_t) override {}
  void data(std::uint64_t, std::span<const std::byte>) override {}
  void zero(std::uint64_t, std::uint64_t) override {}
  void finish() override { finished = true; }
  bool finished = false;
};

struct NamedStore {
  std::string name;
  std::unique_ptr<ImageStore> store;
};

std::vector<NamedStore> stores_with(const CephAccess& access) {
  std::vector<NamedStore> out;
  out.push_back({"librbd", std::make_unique<LibrbdStore>(access)});
  out.push_back({"rbd command", std::make_unique<RbdCommandStore>(std::make_shared<LocalShell>(), access)});
  return out;
}

/// The error an action ends with.
Error failure(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  FAIL("it was done");
  return {ErrorCode::io, "", "", ""};
}

void check_refused(const std::function<void()>& action, ErrorCode code, std::string_view words) {
  const Error error = failure(action);
  CAPTURE(error.what());
  CHECK(error.code() == code);
  CHECK_FALSE(error.retryable());
  CHECK(error.cause().find(words) != std::string::npos);
}

/// A new image with a snapshot "one", which goes with the test.
class SomeImage {
 public:
  explicit SomeImage(LabCluster& cluster) : spec(cluster.new_image()), cluster_(cluster) {
    ImageLayout layout;
    layout.size_bytes = 8U << 20;
    layout.features = image_feature::layering | image_feature::exclusive_lock;
    LibrbdStore store(cluster.access());
    store.create(spec, layout);
    one = store.create_snapshot(spec, "one");
  }
  ~SomeImage() { cluster_.remove(spec); }
  SomeImage(const SomeImage&) = delete;
  SomeImage& operator=(const SomeImage&) = delete;

  ImageSpec spec;
  Snapshot one;

 private:
  LabCluster& cluster_;
};

/// What each store says of an image that it is to change.
void check_no_change(ImageStore& store, const SomeImage& image, ErrorCode code, std::string_view words) {
  check_refused([&] { (void)store.hold(image.spec, {}); }, code, words);
  check_refused([&] { (void)store.create_snapshot(image.spec, "two"); }, code, words);
  check_refused([&] { store.remove_snapshot(image.spec, image.one); }, code, words);
  check_refused([&] { store.set_metadata(image.spec, "crossover.test", "x"); }, code, words);
  const auto replace = [&] { (void)store.replace_metadata(image.spec, "crossover.test", std::nullopt, "x"); };
  check_refused(replace, code, words);
}

/// A file with that text, which goes with the test.
class TextFile {
 public:
  explicit TextFile(const std::string& text) {
    static int count = 0;
    const std::string name = "unusable-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
    path = std::filesystem::temp_directory_path() / name;
    std::ofstream(path) << text;
  }
  ~TextFile() { std::filesystem::remove(path); }
  TextFile(const TextFile&) = delete;
  TextFile& operator=(const TextFile&) = delete;
  std::filesystem::path path;
};

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("an image that only rbd-mirror may write to can be read, and nothing else" * needs_ceph()) {
  LabCluster& cluster = *lab_cluster();
  StockRbd rbd(cluster);
  const SomeImage image(cluster);
  const std::string name = to_string(image.spec);
  rbd.run(image.spec, {"mirror", "pool", "enable", "image"});
  rbd.must(image.spec, {"mirror", "image", "enable", name, "snapshot"});
  rbd.must(image.spec, {"mirror", "image", "demote", name});
  for (const auto& [store_name, store] : stores_with(cluster.access())) {
    CAPTURE(store_name);
    const std::optional<ImageState> state = store->find(image.spec);
    REQUIRE(state);
    CHECK_FALSE(why_unwritable(image.spec, state->layout.features).empty());
    check_no_change(*store, image, ErrorCode::conflict, "rbd mirror image promote " + name);
    NullDiff sink;
    store->read_diff(image.spec, std::nullopt, image.one, 0, sink, {});
    CHECK(sink.finished);
    CHECK(store->find(image.spec) == state);
  }
  // As advised.
  rbd.must(image.spec, {"mirror", "image", "disable", "--force", name});
  for (const auto& [store_name, store] : stores_with(cluster.access())) {
    CAPTURE(store_name);
    CHECK_NOTHROW((void)store->hold(image.spec, {}));
  }
}

TEST_CASE("an image with a prepared live migration is none whose changes are told" * needs_ceph()) {
  LabCluster& cluster = *lab_cluster();
  StockRbd rbd(cluster);
  SomeImage image(cluster);
  const std::string name = to_string(image.spec);
  const std::vector<std::byte> bytes(65536, std::byte{1});
  cluster.write(image.spec, 0, bytes);
  rbd.must(image.spec, {"snap", "create", "--no-progress", name + "@two"});
  rbd.must(image.spec, {"migration", "prepare", name});
  // Why: a diff of what was just written has nothing in it.
  const std::vector<std::string> diff{"export-diff", "--no-progress", "--from-snap", "one", name + "@two", "-"};
  CHECK(std::stoul(rbd.count(image.spec, diff)) < 100);
  for (const auto& [store_name, store] : stores_with(cluster.access())) {
    CAPTURE(store_name);
    check_refused([&] { (void)store->find(image.spec); }, ErrorCode::conflict, "rbd migration execute " + name);
    check_refused([&] { (void)store->hold(image.spec, {}); }, ErrorCode::conflict, "rbd migration commit " + name);
  }
  rbd.must(image.spec, {"migration", "execute", "--no-progress", name});
  rbd.must(image.spec, {"migration", "commit", "--no-progress", name});
  for (const auto& [store_name, store] : stores_with(cluster.access())) {
    CAPTURE(store_name);
    CHECK(store->find(image.spec));
  }
}

TEST_CASE("an image that is in the trash is said to be there" * needs_ceph()) {
  LabCluster& cluster = *lab_cluster();
  StockRbd rbd(cluster);
  const SomeImage image(cluster);
  const std::string id = LibrbdStore(cluster.access()).find(image.spec).value().id;
  rbd.must(image.spec, {"trash", "mv", to_string(image.spec)});
  for (const auto& [store_name, store] : stores_with(cluster.access())) {
    CAPTURE(store_name);
    CHECK_FALSE(store->find(image.spec));
    check_refused([&] { (void)store->hold(image.spec, {}); }, ErrorCode::not_found, "rbd trash restore rbd/" + id);
    check_refused([&] { (void)store->hold({"rbd", "", "never-was"}, {}); }, ErrorCode::not_found, "");
  }
  rbd.must(image.spec, {"trash", "restore", "rbd/" + id});
  for (const auto& [store_name, store] : stores_with(cluster.access())) CHECK(store->find(image.spec));
}

TEST_CASE("an image of format 1 is refused by that name" * needs_ceph()) {
  LabCluster& cluster = *lab_cluster();
  StockRbd rbd(cluster);
  const ImageSpec image = cluster.new_image();
  ::setenv("RBD_FORCE_ALLOW_V1", "1", 1);
  rbd.must(image, {"create", "--image-format", "1", "--size", "4M", image.name});
  ::unsetenv("RBD_FORCE_ALLOW_V1");
  for (const auto& [store_name, store] : stores_with(cluster.access())) {
    CAPTURE(store_name);
    check_refused([&] { (void)store->find(image); }, ErrorCode::unsupported, "format 1");
    check_refused([&] { (void)store->hold(image, {}); }, ErrorCode::unsupported, "format 1");
  }
  rbd.must(image, {"rm", "--no-progress", image.name});
}

TEST_CASE("a user who may only read is told what is missing" * needs_ceph()) {
  LabCluster& cluster = *lab_cluster();
  const SomeImage image(cluster);
  LocalShell shell;
  const CommandResult made =
      shell.run({"ceph", "-c", cluster.access().conf, "auth", "get-or-create", "client.reader", "mon",
                 "profile rbd-read-only", "osd", "profile rbd-read-only"},
                {}, std::chrono::minutes(1), {});
  REQUIRE(made.exit_status == 0);
  const TextFile keyring(made.output);
  CephAccess access = cluster.access();
  access.user = "reader";
  access.keyring = keyring.path;
  for (const auto& [store_name, store] : stores_with(access)) {
    CAPTURE(store_name);
    // The stock command opens an image for writing to list its metadata.
    if (store_name == "librbd") CHECK(store->find(image.spec));
    check_refused([&] { (void)store->create_snapshot(image.spec, "two"); }, ErrorCode::permission, "profile rbd");
  }
}

TEST_CASE("a key of a type that this Ceph cannot read is named, and not shown" * needs_ceph()) {
  LabCluster& cluster = *lab_cluster();
  // 2 is the number of aes256k, which clients have known since 19.2.6 and 20.2.4.
  const TextFile keyring("[client.admin]\n\tkey = AgAAAAAAAAAAACAAfB9xgxRnwAc+6RO8QawOrxMzcXwvzi8C3Ntu0D1q0i8=\n");
  CephAccess access = cluster.access();
  access.keyring = keyring.path;
  for (const auto& [store_name, store] : stores_with(access)) {
    CAPTURE(store_name);
    const Error error = failure([&] { (void)store->find({"rbd", "", "any"}); });
    CAPTURE(error.what());
    CHECK(error.code() == ErrorCode::authentication);
    CHECK_FALSE(error.retryable());
    CHECK(std::string(error.what()).find("aes256k") != std::string::npos);
    CHECK(std::string(error.what()).find("fB9xgxRn") == std::string::npos);
  }
}

TEST_CASE("a configuration that still says auth_supported does not decide how a user is known" * needs_ceph()) {
  LabCluster& cluster = *lab_cluster();
  const TextFile conf(text_of(cluster.access().conf) + "\n[global]\nauth_supported = none\n");
  CephAccess access = cluster.access();
  access.conf = conf.path;
  for (const auto& [store_name, store] : stores_with(access)) {
    CAPTURE(store_name);
    CHECK(store->fsid().size() == 36);
  }
}

TEST_CASE("a Ceph that does not know auth_supported any more is not asked for it" * needs_ceph()) {
  LabCluster& cluster = *lab_cluster();
  // 20.2.4 and later: the option is not in the configuration, and no word of the command line.
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("unusable-bin-" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  for (const char* command : {"rbd", "ceph"}) {
    std::ofstream(folder / command) << "#!/bin/sh\ncase \" $* \" in *auth_supported*)\n"
                                       "echo \"rbd: unrecognised option '--auth_supported'\" >&2; exit 1 ;; esac\n"
                                       "exec /usr/bin/" << command << " \"$@\"\n";
    ::chmod((folder / command).c_str(), 0755);
  }
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", (folder.string() + ":" + path).c_str(), 1);
  RbdCommandStore store(std::make_shared<LocalShell>(), cluster.access());
  CHECK(store.fsid().size() == 36);
  CHECK_FALSE(store.find({"rbd", "", "never-was"}));
  ::setenv("PATH", path.c_str(), 1);
  std::filesystem::remove_all(folder);
}

TEST_CASE("a newer librados, which does not know auth_supported, is connected all the same" *
          doctest::skip(std::getenv("CROSSOVER_NEWER_LIBRADOS") == nullptr)) {
  rados_t handle = nullptr;
  REQUIRE(rados_create2(&handle, "ceph", "client.admin", 0) == 0);
  CHECK(rados_conf_set(handle, "auth_supported", "cephx") == -ENOENT);  // or this tests nothing
  rados_shutdown(handle);
  CHECK(LibrbdStore(lab_cluster()->access()).fsid().size() == 36);
}
