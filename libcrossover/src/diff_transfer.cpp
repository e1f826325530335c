// Diff streams over librbd.
#include "crossover/diff_transfer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "crossover/error.hpp"
#include "engine/diff_import.hpp"
#include "engine/diff_stream_sink.hpp"
#include "rbd/librbd_store.hpp"

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

DiffHeader export_diff(const CephAccess& access, const DiffRequest& request, const ByteSink& sink,
                       const DiffProgress& progress, const std::stop_token& stop) {
  LibrbdStore store(access);
  const ImageSpec image = with_pool(store, request.image);
  const std::optional<ImageState> state = store.find(image);
  if (!state) {
    throw Error(ErrorCode::not_found, operation, to_string(image), "there is no such image", false, ENOENT);
  }
  const std::optional<Snapshot> from = find_snapshot(*state, image, request.from_snapshot);
  const std::optional<Snapshot> end = find_snapshot(*state, image, request.end_snapshot);
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
                       const DiffProgress& progress, const std::stop_token& stop) {
  LibrbdStore store(access);
  const ImageSpec image = with_pool(store, spec);
  DiffHeader header = import_diff_stream(store, image, source, progress, stop);
  if (header.end_protected.value_or(false)) store.protect_snapshot(image, *header.end_snapshot);
  return header;
}

}  // namespace crossover
