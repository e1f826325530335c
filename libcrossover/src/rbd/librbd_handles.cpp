#include "rbd/librbd_handles.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "model/ceph_key.hpp"
#include "model/image_access.hpp"
#include "rbd/ceph_arguments.hpp"
#include "rbd/ceph_words.hpp"
#include "rbd/rbd_error.hpp"

namespace crossover::rbd {

namespace {

void check(int return_value, const char* operation, const std::string& subject) {
  if (return_value < 0) throw error_of_return(return_value, operation, subject);
}

std::string subject_of(const CephAccess& access) {
  if (access.with_defaults && access.conf.empty() && access.monitors.empty()) return "the default cluster";
  return access.conf.empty() ? fmt::format("{}", fmt::join(access.monitors, ",")) : access.conf;
}

/// What a connection that was given nothing starts from: CEPH_CONF or the default paths, then CEPH_ARGS. Without
/// any configuration the monitors may still be known from options or DNS.
void read_defaults(rados_t cluster, const CephAccess& access) {
  const char* conf = access.conf.empty() ? nullptr : access.conf.c_str();
  const int result = rados_conf_read_file(cluster, conf);
  // Ceph's commands exit with 1 where the file they are given is not there.
  if (conf != nullptr && result == -ENOENT) {
    throw Error(ErrorCode::not_found, "read configuration", subject_of(access), "there is no such file", false, 1);
  }
  if (result != -ENOENT) check(result, "read configuration", subject_of(access));
  check(rados_conf_parse_env(cluster, nullptr), "read CEPH_ARGS", subject_of(access));
}

/// Up to 20.2.3 "auth_supported" wins where a configuration has it; later releases do not know it.
void set_authentication(rados_t cluster, const char* method, const std::string& subject) {
  check(rados_conf_set(cluster, "auth_client_required", method), "configure connection", subject);
  const int result = rados_conf_set(cluster, "auth_supported", method);
  if (result != -ENOENT) check(result, "configure connection", subject);
}

void configure(rados_t cluster, const CephAccess& access, const std::vector<std::string>& options) {
  const std::string subject = subject_of(access);
  const auto set = [&](const char* option, const std::string& value) {
    check(rados_conf_set(cluster, option, value.c_str()), "configure connection", subject);
  };
  if (access.with_defaults) {
    read_defaults(cluster, access);
  } else if (!access.conf.empty()) {
    check(rados_conf_read_file(cluster, access.conf.c_str()), "read configuration", subject);
  }
  if (!access.monitors.empty()) set("mon_host", fmt::format("{}", fmt::join(access.monitors, ",")));
  if (!access.with_defaults) set_authentication(cluster, access.keyring.empty() ? "none" : "cephx", subject);
  if (!access.keyring.empty()) set("keyring", access.keyring);
  // A cache acknowledges writes before they are written and hides their errors; the windows here are our own.
  set("rbd_cache", "false");
  // What is written here does not change until it is written, so librbd needs no copy of it. One that does not know
  // the option makes one.
  static_cast<void>(rados_conf_set(cluster, "rbd_disable_zero_copy_writes", "false"));
  // Listing a byte-level diff costs an operation per object, this many at a time.
  set("rbd_concurrent_management_ops", "32");
  // A log file would be the administrator's, and a library has nothing to say on standard error.
  set("log_to_stderr", "false");
  set("err_to_stderr", "false");
  set("log_file", "");
  set("admin_socket", "");
  set("client_mount_timeout", "30");
  for (const auto& [option, value] : access.settings) {
    if (const int result = rados_conf_set(cluster, option.c_str(), value.c_str()); result < 0) {
      throw Error(ErrorCode::usage, "configure connection", option,
                  result == -ENOENT ? "there is no such option" : fmt::format("it cannot be '{}'", value), false,
                  EINVAL);
    }
  }
  const std::vector<std::string> unknown = configure_with(cluster, options).rest;
  if (!unknown.empty()) {
    throw Error(ErrorCode::usage, "configure connection", unknown.front(), "there is no such option", false,
                EINVAL);
  }
}

/// What is known of a user's key that may be why a connection failed; empty: nothing.
std::string why_key_is_unreadable(rados_t cluster, const std::string& name) {
  std::array<char, 4096> paths{};
  if (rados_conf_get(cluster, "keyring", paths.data(), paths.size()) < 0) return {};
  std::istringstream list{std::string(paths.data())};
  for (std::string path; std::getline(list, path, ',');) {
    std::ifstream file(path.substr(std::min(path.find_first_not_of(' '), path.size())));
    if (!file) continue;
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return unreadable_key(key_type_in(text, name));
  }
  return {};
}

std::string cause_of_refusal(int result) {
  if (code_of_errno(-result) == ErrorCode::permission) return "Ceph refuses this user or its key";
  return error_of_return(result, {}, {}).cause();
}

Error connection_error(rados_t cluster, int result, const CephAccess& access, const std::string& name) {
  const bool is_unread = result == -EIO || result == -EINVAL;
  const std::string key = is_unread ? why_key_is_unreadable(cluster, name) : std::string();
  const bool is_refused = !key.empty() || result == -ENOENT || code_of_errno(-result) == ErrorCode::permission;
  const ErrorCode code = is_refused ? ErrorCode::authentication : ErrorCode::unreachable;
  return {code,
          "connect to Ceph",
          subject_of(access),
          fmt::format("as {}: {}", name, !key.empty() ? key : cause_of_refusal(result)),
          code == ErrorCode::unreachable,
          -result};
}

}  // namespace

Cluster::Cluster(const CephAccess& given, const std::vector<std::string>& options) {
  CephAccess access = given;
  if (const char* arguments = std::getenv("CEPH_ARGS"); access.with_defaults && arguments != nullptr) {
    apply_early_arguments(access, arguments);
  }
  const std::string cluster_name = access.cluster_name.empty() ? "ceph" : access.cluster_name;
  const std::string name = "client." + (access.user.empty() ? std::string("admin") : access.user);
  check(rados_create2(&cluster_, cluster_name.c_str(), name.c_str(), 0), "create connection", name);
  try {
    configure(cluster_, access, options);
    if (const int result = rados_connect(cluster_); result < 0) {
      throw connection_error(cluster_, result, access, name);
    }
  } catch (...) {
    rados_shutdown(cluster_);
    throw;
  }
}

Cluster::~Cluster() {
  rados_shutdown(cluster_);
}

std::string Cluster::fsid() const {
  std::array<char, 64> buffer{};
  check(rados_cluster_fsid(cluster_, buffer.data(), buffer.size()), "read fsid", "cluster");
  return buffer.data();
}

std::string Cluster::setting(const char* option) const {
  std::array<char, 1024> buffer{};
  check(rados_conf_get(cluster_, option, buffer.data(), buffer.size()), "read option", option);
  return buffer.data();
}

std::string Cluster::pool_name(std::int64_t id) const {
  std::vector<char> name(256);
  for (;;) {
    const int length = rados_pool_reverse_lookup(cluster_, id, name.data(), name.size());
    if (length == -ERANGE) {
      name.resize(name.size() * 2);
      continue;
    }
    return length < 0 ? std::string() : std::string(name.data(), static_cast<std::size_t>(length));
  }
}

IoContext::IoContext(std::shared_ptr<Cluster> cluster, const std::string& pool, const std::string& rados_namespace)
    : cluster_(std::move(cluster)) {
  check(rados_ioctx_create(cluster_->get(), pool.c_str(), &context_), "open pool", pool);
  rados_ioctx_set_namespace(context_, rados_namespace.c_str());
  // A full cluster says so instead of letting writes wait for space for ever, and lets removals through.
  rados_set_pool_full_try(context_);
}

IoContext::~IoContext() {
  if (context_ != nullptr) rados_ioctx_destroy(context_);
}

IoContext::IoContext(IoContext&& other) noexcept
    : cluster_(std::move(other.cluster_)), context_(std::exchange(other.context_, nullptr)) {}

std::string why_missing(const IoContext& context, const ImageSpec& spec) {
  std::vector<rbd_trash_image_info_t> entries(64);
  std::size_t count = entries.size();
  for (;;) {
    const int result = rbd_trash_list(context.get(), entries.data(), &count);
    if (result >= 0) break;
    if (result != -ERANGE) return {};
    entries.resize(count);
  }
  std::string why;
  for (std::size_t index = 0; index < count; ++index) {
    if (spec.name != entries[index].name) continue;
    why = why_in_trash(spec, entries[index].id, entries[index].source == RBD_TRASH_IMAGE_SOURCE_MIGRATION);
  }
  rbd_trash_list_cleanup(entries.data(), count);
  return why;
}

Image::Image(IoContext context, std::string subject) : context_(std::move(context)), subject_(std::move(subject)) {}

Image::Image(IoContext context, const ImageSpec& spec, Mode mode) : Image(std::move(context), to_string(spec)) {
  const int result = open(spec.name, mode);
  if (const std::string why = result == -ENOENT ? why_missing(context_, spec) : std::string(); !why.empty()) {
    throw Error(ErrorCode::not_found, "open image", subject_, "there is no such image: " + why, false, ENOENT);
  }
  check(result, "open image");
  require_usable(spec, mode);
}

std::optional<Image> Image::open_if_exists(IoContext context, const ImageSpec& spec, Mode mode) {
  Image image(std::move(context), to_string(spec));
  const int result = image.open(spec.name, mode);
  if (result == -ENOENT) return std::nullopt;
  image.check(result, "open image");
  image.require_usable(spec, mode);
  return image;
}

void Image::require_usable(const ImageSpec& spec, Mode mode) const {
  std::uint8_t is_old = 0;
  check(rbd_get_old_format(image_, &is_old), "read format");
  if (is_old != 0) throw old_format("open image", spec);
  const std::uint64_t found = features();
  require_listed("open image", spec, found);
  if (mode == Mode::write) require_writable("open image", spec, found);
}

int Image::open(const std::string& name, Mode mode) {
  const int result = mode == Mode::read ? rbd_open_read_only(context_.get(), name.c_str(), &image_, nullptr)
                                        : rbd_open(context_.get(), name.c_str(), &image_, nullptr);
  if (result < 0) image_ = nullptr;
  opened_ = std::chrono::steady_clock::now();
  return result;
}

Image::~Image() {
  if (image_ == nullptr) return;
  // Up to 16.2.15 at least, librbd still touches the image's state shortly after an open has returned: closing it
  // within about a millisecond can crash the process.
  constexpr std::chrono::milliseconds settled{10};
  std::this_thread::sleep_until(opened_ + settled);
  rbd_close(image_);
}

Image::Image(Image&& other) noexcept
    : context_(std::move(other.context_)),
      subject_(std::move(other.subject_)),
      image_(std::exchange(other.image_, nullptr)),
      opened_(other.opened_) {}

void Image::check(int return_value, const char* operation) const {
  rbd::check(return_value, operation, subject_);
}

std::uint64_t Image::size_bytes() const {
  std::uint64_t size = 0;
  check(rbd_get_size(image_, &size), "read size");
  return size;
}

std::uint64_t Image::features() const {
  std::uint64_t features = 0;
  check(rbd_get_features(image_, &features), "read features");
  return features;
}

std::uint64_t Image::object_bytes() const {
  rbd_image_info_t info{};
  check(rbd_stat(image_, &info, sizeof info), "read layout");
  return info.obj_size;
}

std::uint64_t Image::stripe_count() const {
  std::uint64_t count = 1;
  check(rbd_get_stripe_count(image_, &count), "read layout");
  return count;
}

std::optional<std::string> Image::metadata(const char* key) const {
  std::string value(256, '\0');
  for (;;) {
    std::size_t length = value.size();
    const int result = rbd_metadata_get(image_, key, value.data(), &length);
    if (result == -ENOENT) return std::nullopt;
    if (result != -ERANGE) {
      check(result, "read metadata");
      value.resize(std::strlen(value.c_str()));
      return value;
    }
    value.resize(length);
  }
}

void Image::show(const Snapshot& snapshot) {
  check(rbd_snap_set_by_id(image_, snapshot.id), "open snapshot");
}

void Image::require_snapshot(const Snapshot& snapshot, const std::string& operation) const {
  const std::string subject = subject_ + "@" + snapshot.name;
  std::uint64_t id = 0;
  const int result = rbd_snap_get_id(image_, snapshot.name.c_str(), &id);
  if (result == -ENOENT) throw Error(ErrorCode::not_found, operation, subject, "there is no such snapshot");
  rbd::check(result, operation.c_str(), subject);
  if (id != snapshot.id) {
    throw Error(ErrorCode::conflict, operation, subject,
                fmt::format("the name now means snapshot {} instead of {}", id, snapshot.id));
  }
}

bool is_locked(const Image& image) {
  if ((image.features() & RBD_FEATURE_EXCLUSIVE_LOCK) == 0) return false;
  rbd_lock_mode_t mode{};
  std::array<char*, 8> owners{};
  std::size_t count = owners.size();
  const int result = rbd_lock_get_owners(image.get(), &mode, owners.data(), &count);
  if (result == -ENOENT) return false;
  image.check(result, "look for lock");
  rbd_lock_get_owners_cleanup(owners.data(), count);
  return count > 0;
}

std::vector<std::string> foreign_watchers(const Image& image) {
  std::vector<rbd_image_watcher_t> watchers(16);
  std::size_t count = watchers.size();
  for (;;) {
    const int result = rbd_watchers_list(image.get(), watchers.data(), &count);
    if (result != -ERANGE) {
      image.check(result, "list watchers");
      break;
    }
    watchers.resize(count);
  }
  std::vector<std::string> out;
  const std::uint64_t own = image.context().cluster().instance_id();
  for (std::size_t index = 0; index < count; ++index) {
    if (static_cast<std::uint64_t>(watchers[index].id) != own) out.emplace_back(watchers[index].addr);
  }
  rbd_watchers_list_cleanup(watchers.data(), count);
  return out;
}

void Image::require_unwatched(const std::string& operation) const {
  const std::vector<std::string> watchers = foreign_watchers(*this);
  if (watchers.empty()) return;
  throw Error(ErrorCode::in_use, operation, subject_,
              fmt::format("open for writing by {}", fmt::join(watchers, ", ")), true);
}

}  // namespace crossover::rbd
