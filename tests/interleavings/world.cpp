#include "world.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "crossover/error.hpp"
#include "plan/record.hpp"

namespace crossover::test {

namespace {

const std::vector<ImageSpec> replica{{"backup", "", "vm-99100-disk-0-ssd"}, {"backup", "", "vm-99100-disk-1-hdd"}};
const std::vector<std::uint32_t> west_vmids{99100, 99200, 99300};

}  // namespace

World::World(Begin begin) : begin_(begin) {
  clusters.options.keep_local = "100w";
  clusters.options.keep_remote = "100w";
  clusters.options.lock_wait = "1s";
  clusters.migration.precopy_rounds = "1";
  clusters.add_guest(100);
  for (auto* cluster : {&clusters.source, &clusters.destination}) {
    for (auto& [name, node] : cluster->inventory.nodes) node.bridges = {"vmbr0"};
  }
  options_ = clusters.options;
  for (int i = 0; i < 3; ++i) {
    if (clusters.run().guests.at(0).outcome != Outcome::ok) throw Error(ErrorCode::io, "begin", "", "no replica");
    clusters.clock.time += std::chrono::hours(1);
    clusters.write_at_random();
  }
  if (begin == Begin::migrated) {
    const GuestReport moved = clusters.migrate().guests.at(0);
    if (moved.outcome != Outcome::ok) throw Error(ErrorCode::io, "begin", "", moved.error);
    clusters.clock.time += std::chrono::hours(1);
  }
  if (begin == Begin::damaged) {
    clusters.replica_images.damage(replica[0], 5000, std::vector<std::byte>(10, std::byte{9}));
  }
  before_ = points();
  const auto watch = [this](bool west) {
    return [this, west](std::uint32_t vmid) {
      for (const std::uint32_t other : west_vmids) {
        if ((west && other == vmid) || !is_running(true, other)) continue;
        started_beside_.push_back(fmt::format("VM {} was started while VM {} ran in the west", vmid, other));
      }
      if (west && is_running(false, 100)) {
        started_beside_.push_back(fmt::format("VM {} was started in the west while VM 100 ran in the east", vmid));
      }
    };
  };
  clusters.source.on_start = watch(false);
  clusters.destination.on_start = watch(true);
}

Done World::command(const std::function<void(MirrorOptions&)>& options, bool back,
                    const std::function<Done()>& action) {
  const MirrorOptions saved = clusters.options;
  const bool was_back = clusters.back;
  clusters.options = options_;
  clusters.back = back;
  if (back) {
    clusters.options.prefix_id.clear();
    clusters.options.vmid = "99100:100";
    clusters.options.destination = "e1";
    clusters.options.pool = "ssd";
  }
  options(clusters.options);
  clusters.clock.time += std::chrono::minutes(10);
  Done done;
  try {
    done = action();
  } catch (const Cancelled&) {
    done = {Done::How::threw, "cancelled"};
  } catch (const Error& error) {
    done = {error.code() == ErrorCode::locked      ? Done::How::locked
            : error.code() == ErrorCode::not_found ? Done::How::conflict
                                                   : Done::How::threw,
            error.what()};
  }
  clusters.options = saved;
  clusters.back = was_back;
  return done;
}

bool World::is_running(bool west, std::uint32_t vmid) const {
  const auto& guests = (west ? clusters.destination : clusters.source).inventory.guests;
  const auto guest = guests.find(vmid);
  return guest != guests.end() && guest->second.power == Power::running;
}

bool World::is_recovered() {
  const auto config = clusters.destination.config(99100);
  if (!config || parse_vm_config(*config).get("lock")) return false;
  return std::all_of(replica.begin(), replica.end(), [this](const ImageSpec& image) {
    const auto state = clusters.replica_images.find(image);
    const auto record = state ? image_record(*state).replica : std::nullopt;
    return record && record->promoted && record->promoted->done;
  });
}

std::size_t World::running() const {
  const auto west = std::count_if(west_vmids.begin(), west_vmids.end(),
                                  [this](std::uint32_t vmid) { return is_running(true, vmid); });
  return static_cast<std::size_t>(west) + (is_running(false, 100) ? 1 : 0);
}

std::map<std::string, World::Content> World::points() {
  std::map<std::string, Content> points;
  std::map<std::string, PointConfig> configs;
  for (const ImageSpec& image : clusters.replica_images.images()) {
    const ImageState state = clusters.replica_images.find(image).value();
    for (const auto& [key, value] : state.metadata) {
      if (!key.starts_with(point_key_prefix)) continue;
      const PointConfig config = parse_point(value);
      if (config.target_vmid == 99100) configs[key.substr(point_key_prefix.size())] = config;
    }
  }
  for (const auto& [name, config] : configs) {
    Content content;
    for (const std::string& text : config.images) {
      const ImageSpec image{"backup", "", text.substr(text.find('/') + 1)};
      const auto state = clusters.replica_images.find(image);
      if (!state) continue;
      const bool has = std::any_of(state->snapshots.begin(), state->snapshots.end(),
                                   [&, &wanted = name](const Snapshot& one) { return one.name == wanted; });
      if (has) content[text] = clusters.replica_images.content(image, name);
    }
    if (content.size() == config.images.size()) points[name] = content;
  }
  return points;
}

void World::check_points(bool removes, bool reseeds, std::vector<std::string>& wrong) {
  const std::map<std::string, Content> now = points();
  for (const auto& [name, content] : before_) {
    // Retention leaves the newest there is, and a new copy takes the old one's place once it has a point.
    const bool may_go = (removes || reseeds) && !now.empty() && now.rbegin()->first >= before_.rbegin()->first;
    const auto point = now.find(name);
    if (point == now.end()) {
      if (!may_go) wrong.push_back(fmt::format("the point {} is gone", name));
    } else if (point->second != content) {
      wrong.push_back(fmt::format("the point {} holds something else", name));
    }
  }
  // What was made since is what the source has under that name, where nothing had gone bad before.
  if (begin_ == Begin::damaged) return;
  for (const auto& [name, content] : now) {
    if (before_.contains(name)) continue;
    for (const auto& [text, bytes] : content) {
      const ImageSpec source = text.find("disk-0") != std::string::npos ? ImageSpec{"fast", "", "vm-100-disk-0"}
                                                                         : ImageSpec{"slow", "", "vm-100-disk-1"};
      const auto state = clusters.source_images.find(source);
      const bool has = state && std::any_of(state->snapshots.begin(), state->snapshots.end(),
                                            [&, &wanted = name](const Snapshot& one) { return one.name == wanted; });
      if (has && clusters.source_images.content(source, name) != bytes) {
        wrong.push_back(fmt::format("the point {} is not what {} had", name, to_string(source)));
      }
    }
  }
}

/// What was sent on from the west was a moment of the guest's there, and never a replica that was being written.
void World::check_next_link(std::vector<std::string>& wrong) {
  if (begin_ == Begin::damaged) return;
  std::map<std::string, std::vector<std::vector<std::byte>>> moments;
  for (const auto& points : {before_, this->points()}) {
    for (const auto& [name, content] : points) {
      for (const auto& [text, bytes] : content) moments[text].push_back(bytes);
    }
  }
  for (const ImageSpec& image : clusters.source_images.images()) {
    if (!image.name.starts_with("vm-555-")) continue;
    const ImageSpec& from = replica[image.name.starts_with("vm-555-disk-0") ? 0 : 1];
    std::vector<std::vector<std::byte>>& known = moments[to_string(from)];
    if (clusters.replica_images.find(from)) known.push_back(clusters.replica_images.content(from));
    const ImageState state = clusters.source_images.find(image).value();
    for (const Snapshot& point : state.snapshots) {
      if (std::find(known.begin(), known.end(), clusters.source_images.content(image, point.name)) != known.end()) {
        continue;
      }
      wrong.push_back(fmt::format("the point {} of the next link is no moment of {}", point.name, to_string(from)));
    }
  }
}

/// A replica that was made a guest of its own has the point that says so, and nobody wrote into it.
void World::check_promotions(std::vector<std::string>& wrong) {
  const auto config = clusters.destination.config(99100);
  if (!config || is_running(true, 99100) || begin_ != Begin::mirrored) return;
  const std::map<std::string, Content> now = points();
  for (const ImageSpec& image : replica) {
    const auto state = clusters.replica_images.find(image);
    const auto record = state ? image_record(*state).replica : std::nullopt;
    if (!record || !record->promoted || !record->promoted->done) continue;
    const auto point = now.find(record->promoted->point);
    if (point == now.end()) {
      wrong.push_back(fmt::format("the point {} that it was recovered at is gone", record->promoted->point));
    } else if (clusters.replica_images.content(image) != point->second.at(to_string(image))) {
      wrong.push_back(fmt::format("{} was recovered, and does not hold its point", to_string(image)));
    }
  }
}

std::vector<std::string> World::wrong(bool removes, bool reseeds) {
  std::vector<std::string> wrong = started_beside_;
  if (running() > 1) wrong.emplace_back("the guest runs twice");
  if (clusters.leases.held() != 0) wrong.emplace_back("a lease is left");
  for (MemoryImageStore* store : {&clusters.source_images, &clusters.replica_images}) {
    for (const ImageSpec& image : store->images()) {
      if (!store->find(image)->watchers.empty()) wrong.push_back("it is still open: " + to_string(image));
    }
  }
  if (clusters.source.held(100)) wrong.emplace_back("VM 100 is still frozen or paused");
  check_points(removes, reseeds, wrong);
  check_next_link(wrong);
  check_promotions(wrong);
  return wrong;
}

}  // namespace crossover::test
