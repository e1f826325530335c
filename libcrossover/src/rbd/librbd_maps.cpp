#include "rbd/librbd_maps.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

#include "crossover/error.hpp"
#include "rbd/librbd_state.hpp"

namespace crossover::rbd {

namespace {

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
  if ((image.features() & needed) != needed || !read_parent(image).empty()) return std::nullopt;
  std::array<char, 256> id{};
  image.check(rbd_get_id(image.get(), id.data(), id.size()), "read image id");
  std::vector<MappedSnapshot> out;
  // Those of groups and of the trash have maps that count as the others' do.
  for (const Snapshot& snapshot : list_all_snapshots(image)) {
    image.show(snapshot);
    if (!read_parent(image).empty()) return std::nullopt;
    std::uint64_t flags = 0;
    image.check(rbd_get_flags(image.get(), &flags), "read flags");
    out.push_back({snapshot, flags == 0 ? read_map(image, id.data(), snapshot.id) : std::nullopt});
  }
  return out;
}

}  // namespace crossover::rbd
