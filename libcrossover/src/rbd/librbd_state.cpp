#include "rbd/librbd_state.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "rbd/image_layout.hpp"

namespace crossover::rbd {

namespace {

ImageLayout read_layout(const Image& image) {
  ImageLayout layout;
  rbd_image_info_t info{};
  image.check(rbd_stat(image.get(), &info, sizeof info), "read layout");
  layout.size_bytes = info.size;
  layout.order = static_cast<std::uint8_t>(info.order);
  layout.features = image.features();
  image.check(rbd_get_stripe_unit(image.get(), &layout.stripe_unit), "read layout");
  layout.stripe_count = image.stripe_count();
  normalise(layout);
  const std::int64_t data_pool = rbd_get_data_pool_id(image.get());
  image.check(static_cast<int>(std::min<std::int64_t>(data_pool, 0)), "read data pool");
  if (data_pool != rados_ioctx_get_id(image.context().get())) {
    layout.data_pool = image.context().cluster().pool_name(data_pool);
  }
  return layout;
}

/// Cuts `buffer` at its zero bytes.
std::vector<std::string_view> split(std::string_view buffer) {
  std::vector<std::string_view> out;
  while (!buffer.empty()) {
    const std::size_t end = std::min(buffer.find('\0'), buffer.size());
    out.push_back(buffer.substr(0, end));
    buffer.remove_prefix(std::min(end + 1, buffer.size()));
  }
  return out;
}

std::map<std::string, std::string> read_metadata(const Image& image) {
  std::vector<char> keys(4096);
  std::vector<char> values(65536);
  std::size_t keys_length = 0;
  std::size_t values_length = 0;
  for (;;) {
    keys_length = keys.size();
    values_length = values.size();
    const int result =
        rbd_metadata_list(image.get(), "", 0, keys.data(), &keys_length, values.data(), &values_length);
    if (result != -ERANGE) {
      image.check(result, "list metadata");
      break;
    }
    keys.resize(std::max(keys.size(), keys_length));
    values.resize(std::max(values.size(), values_length));
  }
  std::map<std::string, std::string> out;
  const auto names = split({keys.data(), keys_length});
  const auto texts = split({values.data(), values_length});
  for (std::size_t index = 0; index < std::min(names.size(), texts.size()); ++index) {
    if (names[index].starts_with(metadata_prefix)) out.emplace(names[index], texts[index]);
  }
  return out;
}

}  // namespace

std::string read_parent(const Image& image) {
  rbd_linked_image_spec_t parent{};
  rbd_snap_spec_t snapshot{};
  const int result = rbd_get_parent(image.get(), &parent, &snapshot);
  if (result == -ENOENT) return {};
  image.check(result, "read parent");
  const ImageSpec spec{parent.pool_name, parent.pool_namespace, parent.image_name};
  std::string out = to_string(spec) + "@" + snapshot.name;
  rbd_linked_image_spec_cleanup(&parent);
  rbd_snap_spec_cleanup(&snapshot);
  return out;
}

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

std::vector<Snapshot> list_snapshots(const Image& image) {
  std::vector<Snapshot> out = list_all_snapshots(image);
  std::erase_if(out, [&](const Snapshot& snapshot) {
    rbd_snap_namespace_type_t type = RBD_SNAP_NAMESPACE_TYPE_USER;
    const int result = rbd_snap_get_namespace_type(image.get(), snapshot.id, &type);
    return result != 0 || type != RBD_SNAP_NAMESPACE_TYPE_USER;
  });
  return out;
}

ImageState read_state(const Image& image) {
  ImageState state;
  std::array<char, 256> id{};
  image.check(rbd_get_id(image.get(), id.data(), id.size()), "read image id");
  state.id = id.data();
  state.pool_id = rados_ioctx_get_id(image.context().get());
  state.layout = read_layout(image);
  state.parent = read_parent(image);
  state.snapshots = list_snapshots(image);
  state.metadata = read_metadata(image);
  state.watchers = foreign_watchers(image);
  return state;
}

}  // namespace crossover::rbd
