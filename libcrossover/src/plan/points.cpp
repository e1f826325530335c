#include "plan/points.hpp"

#include <algorithm>

namespace crossover {

const Snapshot* find_snapshot(const ImageState& image, const std::string& name, std::uint64_t id) {
  const auto found = std::find_if(image.snapshots.begin(), image.snapshots.end(),
                                  [&](const Snapshot& s) { return s.name == name && s.id == id; });
  return found == image.snapshots.end() ? nullptr : &*found;
}

std::vector<PointIds> known_points(const ReplicaRecord& record, const ImageState& image) {
  std::vector<PointIds> points = record.points;
  if (record.state != ReplicaState::applied) return points;
  for (const Snapshot& snapshot : image.snapshots) {
    if (snapshot.name == record.end_snapshot) {
      points.push_back({record.end_snapshot, record.end_source_id, snapshot.id});
    }
  }
  return points;
}

PointNames point_names(const ImageStates& images, const std::vector<ImageRef>& replicas) {
  PointNames names;
  for (const ImageRef& ref : replicas) {
    const ImageState* image = find_image(images, ref);
    if (image == nullptr) continue;
    if (const auto record = image_record(*image).replica) {
      for (const PointIds& point : record->points) {
        if (point.adopted) continue;
        names.committed.insert(point.name);
        if (point.bad) names.bad.insert(point.name);
      }
    }
    for (const auto& [key, value] : image->metadata) {
      if (key.starts_with(point_key_prefix)) names.committed.insert(key.substr(point_key_prefix.size()));
    }
  }
  return names;
}

}  // namespace crossover
