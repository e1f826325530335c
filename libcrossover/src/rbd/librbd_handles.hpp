/// \file
/// Owners of librados' and librbd's handles. They call the C API only: the C++ classes pass types of
/// libceph-common, whose layout differs between releases.
#pragma once

#include <rados/librados.h>
#include <rbd/librbd.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "crossover/image.hpp"

namespace crossover::rbd {

/// A connection to a cluster. Thread-safe.
class Cluster {
 public:
  /// Connects; takes at most half a minute to find that no monitor answers.
  /// `options` are words of a command line, which win over what is in `given`.
  explicit Cluster(const CephAccess& given, const std::vector<std::string>& options = {});
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  [[nodiscard]] rados_t get() const noexcept { return cluster_; }
  [[nodiscard]] std::string fsid() const;
  /// The value of a configuration option.
  [[nodiscard]] std::string setting(const char* option) const;
  /// The name of a pool; empty if there is none of that id.
  [[nodiscard]] std::string pool_name(std::int64_t id) const;
  /// This connection's id, as it stands in watchers.
  [[nodiscard]] std::uint64_t instance_id() const { return rados_get_instance_id(cluster_); }

 private:
  rados_t cluster_ = nullptr;
};

/// A pool and namespace of a cluster; keeps the connection.
class IoContext {
 public:
  IoContext(std::shared_ptr<Cluster> cluster, const std::string& pool, const std::string& rados_namespace);
  ~IoContext();
  IoContext(IoContext&& other) noexcept;
  IoContext& operator=(IoContext&&) = delete;
  IoContext(const IoContext&) = delete;
  IoContext& operator=(const IoContext&) = delete;

  [[nodiscard]] rados_ioctx_t get() const noexcept { return context_; }
  [[nodiscard]] const Cluster& cluster() const noexcept { return *cluster_; }

 private:
  std::shared_ptr<Cluster> cluster_;
  rados_ioctx_t context_ = nullptr;
};

/// Where an image of that name that is not there may be, and how it comes back; empty if nothing is known.
std::string why_missing(const IoContext& context, const ImageSpec& spec);

/// An open image. Reading handles set no watch and see the image's snapshots as they were when it was opened.
class Image {
 public:
  enum class Mode { read, write };

  /// Throws Error{not_found} if the image is not there, Error{unsupported} if it is of format 1, and
  /// Error{conflict} if its changes are not told, or with Mode::write if only rbd-mirror may write to it.
  Image(IoContext context, const ImageSpec& spec, Mode mode);
  ~Image();
  Image(Image&& other) noexcept;
  Image& operator=(Image&&) = delete;
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  /// The same, or nothing if it is not there.
  static std::optional<Image> open_if_exists(IoContext context, const ImageSpec& spec, Mode mode);

  [[nodiscard]] rbd_image_t get() const noexcept { return image_; }
  [[nodiscard]] const IoContext& context() const noexcept { return context_; }
  [[nodiscard]] const std::string& subject() const noexcept { return subject_; }

  /// Bytes of what the handle shows, a snapshot or the head.
  [[nodiscard]] std::uint64_t size_bytes() const;
  [[nodiscard]] std::uint64_t features() const;
  [[nodiscard]] std::uint64_t object_bytes() const;
  [[nodiscard]] std::uint64_t stripe_count() const;
  /// A metadata value; nothing if it is not there.
  [[nodiscard]] std::optional<std::string> metadata(const char* key) const;
  /// Makes the handle show a snapshot.
  void show(const Snapshot& snapshot);
  /// Throws unless the snapshot's name still means its id: not_found if it is gone, conflict if it is another.
  void require_snapshot(const Snapshot& snapshot, const std::string& operation) const;
  /// Throws Error{in_use} if a client of another connection has the image open for writing.
  void require_unwatched(const std::string& operation) const;
  /// Throws the error of a negative return value.
  void check(int return_value, const char* operation) const;

 private:
  Image(IoContext context, std::string subject);
  [[nodiscard]] int open(const std::string& name, Mode mode);
  void require_usable(const ImageSpec& spec, Mode mode) const;

  IoContext context_;
  std::string subject_;
  rbd_image_t image_ = nullptr;
  std::chrono::steady_clock::time_point opened_;
};

/// Whether anybody has the exclusive lock of an image that is open for writing, alive or not.
bool is_locked(const Image& image);

/// Clients of other connections that have the image open for writing.
std::vector<std::string> foreign_watchers(const Image& image);

}  // namespace crossover::rbd
