// Diff streams over librbd.
#include "crossover/diff_transfer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <utility>

#include "crossover/error.hpp"
#include "engine/diff_import.hpp"
#include "engine/diff_stream_sink.hpp"
#include "model/image_access.hpp"
#include "rbd/ceph_arguments.hpp"
#include "rbd/ceph_words.hpp"
#include "rbd/librbd_store.hpp"
#include "rbd/rbd_error.hpp"

namespace crossover {

namespace {

constexpr const char* operation = "export diff";

ImageSpec with_pool(LibrbdStore& store, ImageSpec image) {
  if (image.pool.empty()) image.pool = store.default_pool();
  return image;
}

std::optional<Snapshot> find_snapshot(const ImageState& state, const ImageSpec& image, const std::string& name) {
  if (name.empty()) return std::nullopt;
  const auto found = std::find_if(state.snapshots.begin(), state.snapshots.end(),
                                  [&](const Snapshot& snapshot) { return snapshot.name == name; });
  if (found != state.snapshots.end()) return *found;
  throw Error(ErrorCode::not_found, operation, to_string(image), fmt::format("there is no snapshot '{}'", name),
              false, ENOENT);
}

ImageState look_at(LibrbdStore& store, const ImageSpec& image, const char* what_for) {
  std::optional<ImageState> state = store.find(image);
  if (state) return *std::move(state);
  const std::string why = store.why_missing(image);
  throw Error(ErrorCode::not_found, what_for, to_string(image),
              "there is no such image" + (why.empty() ? "" : ": " + why), false, ENOENT);
}

std::optional<std::string> name_of(const std::optional<Snapshot>& snapshot) {
  return snapshot ? std::optional(snapshot->name) : std::nullopt;
}

}  // namespace

CephAccess ceph_defaults() {
  CephAccess access;
  access.user.clear();
  access.with_defaults = true;
  return access;
}

CephWords take_ceph_words(const std::vector<std::string>& words) {
  rbd::EarlyArguments early = rbd::take_early_arguments(words);
  rados_t cluster = nullptr;
  if (const int result = rados_create2(&cluster, "ceph", "client.admin", 0); result < 0) {
    throw rbd::error_of_return(result, "read options of Ceph", {});
  }
  const std::unique_ptr<void, void (*)(rados_t)> owner(cluster, rados_shutdown);
  rbd::PartedWords parted = rbd::configure_with(cluster, early.rest);
  CephWords out;
  out.access.user = early.user.value_or("");
  out.access.cluster_name = early.cluster_name.value_or("");
  out.access.conf = early.conf.value_or("");
  out.options = std::move(parted.taken);
  out.rest = std::move(parted.rest);
  return out;
}

DiffHeader export_diff(const CephAccess& access, const DiffRequest& request, const ByteSink& sink,
                       const DiffProgress& progress, const std::stop_token& stop,
                       const std::vector<std::string>& ceph_options) {
  LibrbdStore store(access);
  store.set_ceph_options(ceph_options);
  const ImageSpec image = with_pool(store, request.image);
  const ImageState state = look_at(store, image, operation);
  const std::optional<Snapshot> from = find_snapshot(state, image, request.from_snapshot);
  const std::optional<Snapshot> end = find_snapshot(state, image, request.end_snapshot);
  DiffStreamSink stream(name_of(from), name_of(end), sink, progress);
  if (!end) {
    store.read_head_diff(image, from, stream, stop);
  } else if (from && from->id == end->id) {
    // A stream that says nothing but the size, as `rbd` makes it.
    stream.size(end->size_bytes);
    stream.finish();
  } else {
    store.read_diff(image, from, *end, 0, stream, stop);
  }
  return stream.header();
}

DiffHeader import_diff(const CephAccess& access, const ImageSpec& spec, const ByteSource& source,
                       const DiffProgress& progress, const std::stop_token& stop,
                       const std::vector<std::string>& ceph_options) {
  LibrbdStore store(access);
  store.set_ceph_options(ceph_options);
  const ImageSpec image = with_pool(store, spec);
  // A stream may be hours away from its first byte; an image that cannot take it is told of now.
  const ImageState state = look_at(store, image, "import diff");
  require_writable("import diff", image, state.layout.features);
  DiffHeader header = import_diff_stream(store, image, source, progress, stop);
  if (header.end_protected.value_or(false)) store.protect_snapshot(image, *header.end_snapshot);
  return header;
}

}  // namespace crossover
