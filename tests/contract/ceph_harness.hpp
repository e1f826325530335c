/// \file
/// The stores of Ceph under the contract, on a throw-away cluster.
#pragma once

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>

#include <doctest/doctest.h>

#include "contract/store_harness.hpp"
#include "rbd/librbd_handles.hpp"

namespace crossover::test {

/// What tests do to a throw-away cluster, through librbd and past the library's own reading and writing.
/// Thread-safe.
class LabCluster {
 public:
  /// `folder` is what tests/lab/ceph-cluster was given.
  explicit LabCluster(const std::string& folder);

  [[nodiscard]] const CephAccess& access() const noexcept { return access_; }
  ImageSpec new_image(const std::string& rados_namespace = {});
  void make_namespace(const std::string& name);
  void make_pool(const std::string& name);
  /// Makes `child` a clone of a new protected snapshot of `parent`.
  void clone(const ImageSpec& parent, const std::string& snapshot, const ImageSpec& child);

  void write(const ImageSpec& image, std::uint64_t offset, std::span<const std::byte> bytes);
  void zero(const ImageSpec& image, std::uint64_t offset, std::uint64_t length_bytes);
  void discard(const ImageSpec& image, std::uint64_t offset, std::uint64_t length_bytes);
  void resize(const ImageSpec& image, std::uint64_t size_bytes);
  void protect(const ImageSpec& image, const std::string& snapshot, bool is_protected);
  std::chrono::seconds kept_in_trash(const ImageSpec& image, const std::string& id);
  std::vector<std::byte> content(const ImageSpec& image, const std::string& snapshot);
  /// Removes an image with its snapshots, as far as that is possible.
  void remove(const ImageSpec& image) noexcept;
  /// An open image of this cluster's own connection.
  rbd::Image open(const ImageSpec& image, rbd::Image::Mode mode);

 private:
  CephAccess access_;
  std::shared_ptr<rbd::Cluster> cluster_;
  std::atomic<int> count_ = 0;
};

/// The cluster of CROSSOVER_TEST_CEPH; null without one.
LabCluster* lab_cluster();

/// Of a case that is nothing without a cluster: it is counted as skipped there, not as passed.
inline doctest::skip needs_ceph() {
  const char* folder = std::getenv("CROSSOVER_TEST_CEPH");
  return doctest::skip(folder == nullptr || *folder == '\0');
}

std::unique_ptr<StoreHarness> make_librbd_harness(LabCluster& cluster);
std::unique_ptr<StoreHarness> make_rbd_command_harness(LabCluster& cluster);

}  // namespace crossover::test
