#include "world.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "crossover/error.hpp"
#include "plan/guest_disks.hpp"
#include "plan/migration_record.hpp"
#include "plan/record.hpp"

namespace crossover::test {

namespace {

const std::vector<ImageSpec> replica{{"backup", "", "vm-99100-disk-0-ssd"}, {"backup", "", "vm-99100-disk-1-hdd"}};
const std::vector<ImageSpec> sources{{"fast", "", "vm-100-disk-0"}, {"slow", "", "vm-100-disk-1"}};
const std::vector<std::uint32_t> west_vmids{99100, 99200, 99300};
constexpr const char* shell_tool_snapshot = "mirror-20261122030000";

/// Of the guest's disk, whichever of its copies this is.
std::size_t number_of(const std::string& image) {
  return image.find("disk-0") != std::string::npos ? 0 : 1;
}

}  // namespace

std::string_view to_string(Done::How how) {
  switch (how) {
    case Done::How::ok:
      return "ok";
    case Done::How::conflict:
      return "conflict";
    case Done::How::locked:
      return "locked";
    case Done::How::failed:
      return "failed";
    case Done::How::threw:
      return "threw";
  }
  return "";
}

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
  if (begin == Begin::foreign) take_from_shell_tool();
  for (int i = 0; i < 3 && begin != Begin::foreign; ++i) {
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
  foreign_ = foreign();
  if (begin == Begin::foreign) note_moment(clusters.replica_images, replica, shell_tool_snapshot);
  for (const auto& [name, content] : before_) note_moment(clusters.replica_images, replica, name);
  note_moment(clusters.source_images, sources);
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

void World::take_from_shell_tool() {
  VmConfig config = parse_vm_config(clusters.source.config(100).value());
  config.set("onboot", "0");
  for (const char* key : {"scsi0", "scsi1"}) {
    const ImageSpec source = clusters.image_of(100, key);
    const ImageSpec image = clusters.replica_of(source, 99100);
    clusters.replica_images.create(image, clusters.source_images.find(source)->layout);
    clusters.replica_images.write(image, 0, clusters.source_images.content(source));
    clusters.source_images.create_snapshot(source, shell_tool_snapshot);
    clusters.replica_images.create_snapshot(image, shell_tool_snapshot);
    config.set(key, "copy:" + image.name);
  }
  clusters.destination.put_guest(99100, "w1", config.to_bytes(), Power::stopped);
  clusters.clock.time += std::chrono::hours(1);
  clusters.write_at_random();
}

World::Content World::foreign() {
  Content found;
  for (MemoryImageStore* store : {&clusters.source_images, &clusters.replica_images}) {
    for (const ImageSpec& image : store->images()) {
      const ImageState state = store->find(image).value();
      for (const Snapshot& snapshot : state.snapshots) {
        if (snapshot.name == shell_tool_snapshot) found[to_string(image)] = store->content(image, snapshot.name);
      }
    }
  }
  return found;
}

void World::note_moment(const MemoryImageStore& store, const std::vector<ImageSpec>& disks,
                        const std::string& snapshot) {
  Moment moment;
  for (const ImageSpec& disk : disks) moment[number_of(disk.name)] = store.content(disk, snapshot);
  moments_.push_back(moment);
}

void World::write() {
  const bool west = is_running(true, 99100);
  if ((!west && !is_running(false, 100)) || clusters.source.held(100) || clusters.destination.held(99100)) return;
  ++written_;
  MemoryImageStore& store = west ? clusters.replica_images : clusters.source_images;
  for (const ImageSpec& image : images(west)) {
    for (const std::uint64_t offset : {0, 12288}) {
      store.write(image, offset, std::vector<std::byte>(100, std::byte{written_}));
    }
  }
  note_moment(store, images(west));
}

void World::set(const Scene& scene) {
  clusters.options = scene.options;
  clusters.back = scene.back;
  clusters.calls = scene.calls;
  clusters.restriction = scene.restriction;
}

Done World::command(const std::function<void(MirrorOptions&)>& options, bool back,
                    const std::function<Done()>& action) {
  const Scene before = scene();
  clusters.options = options_;
  clusters.back = back;
  clusters.restriction.reset();
  if (back) {
    clusters.options.prefix_id.clear();
    clusters.options.vmid = "99100:100";
    clusters.options.destination = "e1";
    clusters.options.pool = "ssd";
  }
  options(clusters.options);
  clusters.clock.time += std::chrono::minutes(10);
  write();
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
  } catch (int) {  // what a test throws that is no std::exception
    done = {Done::How::threw, "something foreign"};
  }
  set(before);
  return done;
}

bool World::is_running(bool west, std::uint32_t vmid) const {
  const auto& guests = (west ? clusters.destination : clusters.source).inventory.guests;
  const auto guest = guests.find(vmid);
  return guest != guests.end() && guest->second.power == Power::running;
}

std::vector<ImageSpec> World::images(bool west) const {
  const MemoryHypervisor& cluster = west ? clusters.destination : clusters.source;
  std::vector<ImageSpec> images;
  const auto config = cluster.config(west ? 99100 : 100);
  if (!config) return images;
  for (const GuestDisk& disk : guest_disks(parse_vm_config(*config), cluster.inventory, true).replicated) {
    images.push_back(disk.image.spec);
  }
  return images;
}

bool World::is_guest(bool west) {
  const auto config = west ? clusters.destination.config(99100) : clusters.source.config(100);
  if (!config || parse_vm_config(*config).get("lock")) return false;
  const std::vector<ImageSpec> disks = images(west);
  return !disks.empty() && std::all_of(disks.begin(), disks.end(), [&](const ImageSpec& image) {
    const auto state = (west ? clusters.replica_images : clusters.source_images).find(image);
    if (!state) return false;
    const auto record = image_record(*state).replica;
    return record ? record->promoted && record->promoted->done : !west;
  });
}

bool World::can_be_had() {
  return running() != 0 || is_guest(false) || is_guest(true);
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
      const ImageSpec source = sources[number_of(text)];
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
  std::map<std::string, Moment> points;
  for (const ImageSpec& image : clusters.source_images.images()) {
    if (!image.name.starts_with("vm-555-")) continue;
    const ImageState state = clusters.source_images.find(image).value();
    for (const Snapshot& point : state.snapshots) {
      points[point.name][number_of(image.name)] = clusters.source_images.content(image, point.name);
    }
  }
  for (const auto& [name, disks] : points) {
    const bool is_known = std::any_of(moments_.begin(), moments_.end(), [&disks = disks](const Moment& moment) {
      return std::all_of(disks.begin(), disks.end(),
                         [&](const auto& disk) { return moment.at(disk.first) == disk.second; });
    });
    if (!is_known) wrong.push_back(fmt::format("the point {} of the next link is no moment of the guest's", name));
  }
}

/// A replica that was made a guest of its own has the point that says so, and nobody wrote into it.
void World::check_promotions(std::vector<std::string>& wrong) {
  const auto config = clusters.destination.config(99100);
  if (!config || is_running(true, 99100) || begin_ == Begin::damaged || begin_ == Begin::migrated) return;
  for (const ImageSpec& image : images(true)) {
    const auto state = clusters.replica_images.find(image);
    const auto record = state ? image_record(*state).replica : std::nullopt;
    if (!record || !record->promoted || !record->promoted->done) continue;
    // Its snapshot, not its key: a removal that was killed may have taken that (docs/concurrency.md).
    const std::string& point = record->promoted->point;
    const bool has_point = std::any_of(state->snapshots.begin(), state->snapshots.end(),
                                       [&point](const Snapshot& one) { return one.name == point; });
    if (!has_point) {
      wrong.push_back(fmt::format("the point {} that it was recovered at is gone", point));
    } else if (clusters.replica_images.content(image) != clusters.replica_images.content(image, point)) {
      wrong.push_back(fmt::format("{} was recovered, and does not hold its point", to_string(image)));
    }
  }
}

bool World::is_under_way() {
  for (MemoryImageStore* store : {&clusters.source_images, &clusters.replica_images}) {
    for (const ImageSpec& image : store->images()) {
      const auto record = migration_record(*store->find(image));
      if (record && record->step != MigrationStep::done) return true;
    }
  }
  return false;
}

std::vector<std::string> World::wrong(bool removes, bool reseeds, bool recovers) {
  std::vector<std::string> wrong = started_beside_;
  if (running() > 1) wrong.emplace_back("the guest runs twice");
  // A recovery makes a second one, of a source that is taken for lost; a migration never does.
  if (begin_ == Begin::migrated && !recovers && is_guest(false) && is_guest(true)) {
    wrong.emplace_back("it can be started on both sides");
  }
  if (clusters.leases.held() != 0) wrong.emplace_back("a lease is left");
  for (MemoryImageStore* store : {&clusters.source_images, &clusters.replica_images}) {
    for (const ImageSpec& image : store->images()) {
      if (!store->find(image)->watchers.empty()) wrong.push_back("it is still open: " + to_string(image));
    }
  }
  if (clusters.source.held(100)) wrong.emplace_back("VM 100 is still frozen or paused");
  if (foreign() != foreign_) wrong.emplace_back("the shell tool's snapshots are not what they were");
  check_points(removes, reseeds, wrong);
  check_next_link(wrong);
  check_promotions(wrong);
  return wrong;
}

}  // namespace crossover::test
