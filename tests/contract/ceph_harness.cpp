#include "contract/ceph_harness.hpp"

#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <utility>

#include "crossover/error.hpp"
#include "rbd/librbd_state.hpp"
#include "rbd/librbd_store.hpp"
#include "rbd/rbd_command_store.hpp"
#include "rbd/rbd_error.hpp"
#include "ssh/local_shell.hpp"

namespace crossover::test {

using rbd::Image;

namespace {

void check(ssize_t result, const char* operation) {
  if (result < 0) throw rbd::error_of_return(static_cast<int>(result), operation, "test cluster");
}

class CephHarness : public StoreHarness {
 public:
  CephHarness(std::string name, LabCluster& cluster, std::unique_ptr<ImageStore> store)
      : name_(std::move(name)), cluster_(cluster), store_(std::move(store)) {}

  [[nodiscard]] std::string name() const override { return name_; }
  ImageStore& store() override { return *store_; }
  ImageSpec new_image() override { return cluster_.new_image(); }
  void write(const ImageSpec& image, std::uint64_t offset, std::span<const std::byte> bytes) override {
    cluster_.write(image, offset, bytes);
  }
  void zero(const ImageSpec& image, std::uint64_t offset, std::uint64_t length_bytes) override {
    cluster_.zero(image, offset, length_bytes);
  }
  void discard(const ImageSpec& image, std::uint64_t offset, std::uint64_t length_bytes) override {
    cluster_.discard(image, offset, length_bytes);
  }
  void resize(const ImageSpec& image, std::uint64_t size_bytes) override { cluster_.resize(image, size_bytes); }
  void protect(const ImageSpec& image, const std::string& snapshot, bool is_protected) override {
    cluster_.protect(image, snapshot, is_protected);
  }
  std::chrono::seconds kept_in_trash(const ImageSpec& image, const std::string& id) override {
    return cluster_.kept_in_trash(image, id);
  }
  std::vector<std::byte> content(const ImageSpec& image, const std::string& snapshot) override {
    return cluster_.content(image, snapshot);
  }

 private:
  std::string name_;
  LabCluster& cluster_;
  std::unique_ptr<ImageStore> store_;
};

/// A command store together with the shell it runs on.
class CommandHarness final : public CephHarness {
 public:
  CommandHarness(LabCluster& cluster, std::shared_ptr<Shell> shell)
      : CephHarness("rbd command", cluster, std::make_unique<RbdCommandStore>(shell, cluster.access())) {}
};

}  // namespace

LabCluster::LabCluster(const std::string& folder) {
  access_.conf = folder + "/ceph.conf";
  access_.keyring = folder + "/ceph.client.admin.keyring";
  cluster_ = std::make_shared<rbd::Cluster>(access_);
}

ImageSpec LabCluster::new_image(const std::string& rados_namespace) {
  return {"rbd", rados_namespace, "test-" + std::to_string(::getpid()) + "-" + std::to_string(++count_)};
}

void LabCluster::make_namespace(const std::string& name) {
  const rbd::IoContext pool(cluster_, "rbd", "");
  const int result = rbd_namespace_create(pool.get(), name.c_str());
  if (result != -EEXIST) check(result, "create namespace");
}

void LabCluster::make_pool(const std::string& name) {
  const int result = rados_pool_create(cluster_->get(), name.c_str());
  if (result != -EEXIST) check(result, "create pool");
}

void LabCluster::clone(const ImageSpec& parent, const std::string& snapshot, const ImageSpec& child) {
  {
    const Image image = open(parent, Image::Mode::write);
    check(rbd_snap_create(image.get(), snapshot.c_str()), "create snapshot");
    check(rbd_snap_protect(image.get(), snapshot.c_str()), "protect snapshot");
  }
  const rbd::IoContext from(cluster_, parent.pool, parent.rados_namespace);
  const rbd::IoContext to(cluster_, child.pool, child.rados_namespace);
  int order = 0;
  check(rbd_clone(from.get(), parent.name.c_str(), snapshot.c_str(), to.get(), child.name.c_str(),
                  RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK, &order),
        "clone");
}

rbd::Image LabCluster::open(const ImageSpec& image, Image::Mode mode) {
  return Image(rbd::IoContext(cluster_, image.pool, image.rados_namespace), image, mode);
}

void LabCluster::write(const ImageSpec& spec, std::uint64_t offset, std::span<const std::byte> bytes) {
  const Image image = open(spec, Image::Mode::write);
  check(rbd_write(image.get(), offset, bytes.size(), reinterpret_cast<const char*>(bytes.data())), "write");
}

void LabCluster::zero(const ImageSpec& spec, std::uint64_t offset, std::uint64_t length_bytes) {
  const Image image = open(spec, Image::Mode::write);
  check(rbd_write_zeroes(image.get(), offset, length_bytes, 0, 0), "write zeroes");
}

void LabCluster::discard(const ImageSpec& spec, std::uint64_t offset, std::uint64_t length_bytes) {
  const Image image = open(spec, Image::Mode::write);
  check(rbd_discard(image.get(), offset, length_bytes), "discard");
}

void LabCluster::resize(const ImageSpec& spec, std::uint64_t size_bytes) {
  const Image image = open(spec, Image::Mode::write);
  check(rbd_resize(image.get(), size_bytes), "resize");
}

void LabCluster::protect(const ImageSpec& spec, const std::string& snapshot, bool is_protected) {
  const Image image = open(spec, Image::Mode::write);
  check(is_protected ? rbd_snap_protect(image.get(), snapshot.c_str())
                     : rbd_snap_unprotect(image.get(), snapshot.c_str()),
        "protect");
}

std::chrono::seconds LabCluster::kept_in_trash(const ImageSpec& spec, const std::string& id) {
  const rbd::IoContext pool(cluster_, spec.pool, spec.rados_namespace);
  rbd_trash_image_info_t info{};
  const int result = rbd_trash_get(pool.get(), id.c_str(), &info);
  if (result == -ENOENT) return std::chrono::seconds(-1);
  check(result, "look into trash");
  const std::chrono::seconds kept(info.deferment_end_time - std::time(nullptr));
  rbd_trash_get_cleanup(&info);
  return kept;
}

std::vector<std::byte> LabCluster::content(const ImageSpec& spec, const std::string& snapshot) {
  const Image image = open(spec, Image::Mode::read);
  if (!snapshot.empty()) check(rbd_snap_set(image.get(), snapshot.c_str()), "open snapshot");
  std::vector<std::byte> out(image.size_bytes());
  if (out.empty()) return out;  // librbd aborts when it is to read nothing to nowhere
  const ssize_t count = rbd_read(image.get(), 0, out.size(), reinterpret_cast<char*>(out.data()));
  check(count, "read");
  out.resize(static_cast<std::size_t>(count));
  return out;
}

void LabCluster::remove(const ImageSpec& spec) noexcept {
  try {
    {
      const Image image = open(spec, Image::Mode::write);
      for (const Snapshot& snapshot : rbd::list_snapshots(image)) {
        rbd_snap_unprotect(image.get(), snapshot.name.c_str());
        rbd_snap_remove(image.get(), snapshot.name.c_str());
      }
    }
    rbd_remove(rbd::IoContext(cluster_, spec.pool, spec.rados_namespace).get(), spec.name.c_str());
  } catch (const Error&) {
    // It was never there, or stays until the cluster goes.
  }
}

LabCluster* lab_cluster() {
  static const std::unique_ptr<LabCluster> cluster = [] {
    const char* folder = std::getenv("CROSSOVER_TEST_CEPH");
    return folder == nullptr || *folder == '\0' ? nullptr : std::make_unique<LabCluster>(folder);
  }();
  return cluster.get();
}

std::unique_ptr<StoreHarness> make_librbd_harness(LabCluster& cluster) {
  return std::make_unique<CephHarness>("librbd", cluster, std::make_unique<LibrbdStore>(cluster.access()));
}

std::unique_ptr<StoreHarness> make_rbd_command_harness(LabCluster& cluster) {
  return std::make_unique<CommandHarness>(cluster, std::make_shared<LocalShell>());
}

}  // namespace crossover::test
