#include "rbd/librbd_maps.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "crossover/error.hpp"

namespace crossover::rbd {

namespace {

bool has_parent(const Image& image) {
  rbd_linked_image_spec_t parent{};
  rbd_snap_spec_t snapshot{};
  const int result = rbd_get_parent(image.get(), &parent, &snapshot);
  if (result == -ENOENT) return false;
  image.check(result, "read parent");
  rbd_linked_image_spec_cleanup(&parent);
  rbd_snap_spec_cleanup(&snapshot);
  return true;
}

/// Those of groups and of the trash, too: their maps count as the others do.
std::vector<Snapshot> list_all_snapshots(const Image& image) {
  std::vector<rbd_snap_info_t> infos(64);
  int count = 0;
  for (;;) {
    int capacity = static_cast<int>(infos.size());
    count = rbd_snap_list(image.get(), infos.data(), &capacity);
    if (count != -ERANGE) break;
    infos.resize(static_cast<std::size_t>(capacity) + 1);
  }
  image.check(count, "list snapshots");
  std::vector<Snapshot> out;
  for (int index = 0; index < count; ++index) {
    const rbd_snap_info_t& info = infos[static_cast<std::size_t>(index)];
    out.push_back({info.id, info.name, info.size});
  }
  if (count > 0) rbd_snap_list_end(infos.data());
  std::sort(out.begin(), out.end(), [](const Snapshot& a, const Snapshot& b) { return a.id < b.id; });
  return out;
}

/// Nothing if there is none (the snapshot is just being removed), or none that is understood.
std::optional<ObjectMap> read_map(const Image& image, const std::string& image_id, std::uint64_t snapshot_id) {
  const std::string object = fmt::format("rbd_object_map.{}.{:016x}", image_id, snapshot_id);
  const rados_ioctx_t pool = image.context().get();
  std::uint64_t size = 0;
  time_t changed = 0;
  int result = rados_stat(pool, object.c_str(), &size, &changed);
  // It cannot have grown meanwhile: a snapshot's map is as long as the snapshot.
  std::vector<char> bytes(size + 256);
  if (result >= 0) {
    result = rados_exec(pool, object.c_str(), "rbd", "object_map_load", nullptr, 0, bytes.data(), bytes.size());
  }
  if (result == -ENOENT) return std::nullopt;
  image.check(result, "read object map");
  try {
    return ObjectMap::parse({bytes.data(), static_cast<std::size_t>(result)});
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

std::optional<std::vector<MappedSnapshot>> read_maps(Image& image) {
  constexpr std::uint64_t needed = image_feature::object_map | image_feature::fast_diff;
  if ((image.features() & needed) != needed || has_parent(image)) return std::nullopt;
  std::array<char, 256> id{};
  image.check(rbd_get_id(image.get(), id.data(), id.size()), "read image id");
  std::vector<MappedSnapshot> out;
  for (const Snapshot& snapshot : list_all_snapshots(image)) {
    image.show(snapshot);
    if (has_parent(image)) return std::nullopt;
    std::uint64_t flags = 0;
    image.check(rbd_get_flags(image.get(), &flags), "read flags");
    out.push_back({snapshot, flags == 0 ? read_map(image, id.data(), snapshot.id) : std::nullopt});
  }
  return out;
}

}  // namespace crossover::rbd
