#include "stage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "agent/agent_receivers.hpp"
#include "client.hpp"
#include "crossover/error.hpp"
#include "crossover/snapshot_name.hpp"
#include "plan/guest_disks.hpp"
#include "plan/record.hpp"
#include "plan/restricted_config.hpp"
#include "support/socket_shell.hpp"
#include "unit/stream/recorded_transfer.hpp"

namespace crossover::test {

namespace {

const ImageSpec foreign_disk{"backup", "", "vm-99300-disk-0"};
const ImageSpec foreign_locked_disk{"backup", "", "vm-99301-disk-0"};
const ImageSpec unclaimed{"backup", "", "vm-99400-disk-0-ssd"};
const ImageSpec unclaimed_of_replica{"backup", "", "vm-99103-disk-0-ssd"};
const ImageSpec outside_disk{"backup", "", "vm-500-disk-0"};
const ImageSpec elsewhere{"vault", "", "vm-99100-disk-0-ssd"};

/// Small enough that clients get to them.
ReceiveLimits small_limits() {
  ReceiveLimits limits;
  limits.image_bytes = std::uint64_t{256} << 10;
  limits.images = 5;
  limits.points = 9;
  limits.config_bytes = std::size_t{3} << 10;
  limits.firewall_bytes = std::size_t{4} << 10;
  return limits;
}

/// A source's run through an agent of its own for each connection.
class HonestReceivers final : public Receivers {
 public:
  explicit HonestReceivers(const agent::Service& service)
      : shell_(std::make_shared<SocketShell>(
            [service](int in, int out) { agent::Server(in, out, service).serve({}); })),
        pool_(std::make_shared<agent::ConnectionPool>(shell_)),
        receivers_(pool_, {}) {}

  std::unique_ptr<PointReceiver> begin(const PointOffer& offer, const GuestPlan& plan, TakeNote note,
                                       std::stop_token stop) override {
    return receivers_.begin(offer, plan, std::move(note), std::move(stop));
  }

 private:
  std::shared_ptr<SocketShell> shell_;
  std::shared_ptr<agent::ConnectionPool> pool_;
  AgentReceivers receivers_;
};

std::string digest(const std::vector<std::byte>& bytes) {
  return fmt::format("{:x} of {}", std::hash<std::string_view>{}(text_of(bytes)), bytes.size());
}

bool has_control_bytes(const std::string& file) {
  return std::any_of(file.begin(), file.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == 0x7f || (byte < 0x20 && c != '\n' && c != '\r' && c != '\t');
  });
}

void add(std::string& wrong, const std::string& what) {
  wrong += (wrong.empty() ? "" : "; ") + what;
}

}  // namespace

Stage::Stage(std::uint64_t seed)
    : limits(small_limits()),
      is_full(seed % 4 == 3),
      restriction(parse_restriction("copy", is_full ? "99100-99102,99300-99302" : "99100-99499")),
      random_(seed),
      context_{restriction, all_, [this] { return clusters.destination.inventory; }},
      reception_({hypervisor_, power_, stores_}, {clusters.destination, clusters.destination, all_}, limits,
                 [this] { return clusters.clock.now(); }) {
  clusters.random.seed(static_cast<std::mt19937::result_type>(seed));
  clusters.options.keep_local = "100w";
  clusters.options.keep_remote = "100w";
  clusters.restriction = restriction;
  for (const std::uint32_t vmid : {mirrored, torn, recovered, unknown}) clusters.add_guest(vmid);
  const auto wait = [this] {
    clusters.clock.time += std::chrono::minutes(10 + below(90));
    clusters.write_at_random();
  };
  for (std::size_t round = 0; round < 3; ++round) {
    for (const std::uint32_t vmid : {mirrored, torn, recovered}) {
      if (round < 2 || vmid == mirrored) run_honestly(vmid, round == 0);
    }
    wait();
  }
  constexpr const char* cuts[]{"destination write_diff backup/vm-99101-disk-0-ssd finish #1",
                               "destination write_diff backup/vm-99101-disk-1-hdd finish #1",
                               "destination set_metadata backup/vm-99101-disk-1-hdd #2"};
  clusters.faults.arm(cuts[below(std::size(cuts))], Fault::fails);
  run_honestly(torn);
  clusters.faults.arm();
  RecoverOptions how;
  how.start = false;
  (void)clusters.recover(recovered + 99000, how);
  // A first copy is offered, and nothing comes of it.
  clusters.tamper = [this](PointOffer& offer) {
    capture(unknown, offer);
    throw Error(ErrorCode::usage, "offer", "", "it was only to be seen");
  };
  clusters.restriction = parse_restriction("copy", "99000-99999");
  clusters.options.vmid = std::to_string(unknown);
  (void)clusters.run();
  clusters.restriction = restriction;
  clusters.tamper = nullptr;
  if (offers_.size() != 4) throw std::runtime_error("the stage could not be set");
  add_others();
  clusters.through = [this](Reception&) { return std::make_unique<HonestReceivers>(service()); };
  remember();
}

void Stage::add_others() {
  MemoryHypervisor& west = clusters.destination;
  const std::string name = fmt::format("name: {}\n", secret);
  west.put_guest(outside, "w2", name + "memory: 512\nscsi0: copy:vm-500-disk-0\n", Power::running);
  west.put_guest(foreign, "w1",
                 "memory: 512\nvmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3100\nscsi0: copy:vm-99300-disk-0\n",
                 Power::stopped);
  west.put_guest(foreign_locked, "w2",
                 "lock: migrate\nmemory: 512\nvmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3100\nscsi0: "
                 "copy:vm-99301-disk-0\n",
                 Power::stopped);
  west.put_guest(diskless, "w1", "memory: 512\nvmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3100\n", Power::stopped);
  ImageLayout layout;
  layout.size_bytes = std::uint64_t{64} << 10;
  std::vector<ImageSpec> others{foreign_disk, foreign_locked_disk, unclaimed, outside_disk, elsewhere};
  if (chance(0.2)) others.push_back(unclaimed_of_replica);
  for (const ImageSpec& image : others) {
    images().create(image, layout);
    images().write(image, 4096, std::vector<std::byte>(8192, std::byte{7}));
    if (image != unclaimed || chance(0.5)) images().create_snapshot(image, "monday");
    const bool is_secret = image == outside_disk || image == elsewhere;
    if (is_secret) images().set_metadata(image, "crossover.note", std::string(secret));
  }
}

void Stage::capture(std::uint32_t vmid, PointOffer& offer) {
  offers_.insert_or_assign(vmid, offer);
}

void Stage::run_honestly(std::uint32_t vmid, bool captured) {
  clusters.options.vmid = std::to_string(vmid);
  if (captured) clusters.tamper = [this, vmid](PointOffer& offer) { capture(vmid, offer); };
  const MirrorReport report = clusters.run();
  clusters.tamper = nullptr;
  if (report.guests.front().outcome == Outcome::ok) ++honest_points;
  if (captured && report.guests.front().outcome != Outcome::ok) {
    throw std::runtime_error("the stage could not be set: " + report.guests.front().error);
  }
}

std::string Stage::happen() {
  const std::uint64_t what = below(10);
  clusters.clock.time += std::chrono::minutes(1 + below(20));
  try {
    if (what < 6) {
      const std::uint32_t vmid = what < 4 ? mirrored : what < 5 ? torn : unknown;
      clusters.write_at_random();
      run_honestly(vmid);
      return fmt::format("a run of VM {}", vmid);
    }
    if (what < 8) {
      (void)clusters.prune("all", {.keep_remote = what == 6 ? "2h" : "last=3"});
      return "prune";
    }
    const std::uint32_t vmid = (chance(0.5) ? mirrored : torn) + 99000;
    const RecoverReport report = clusters.recover(vmid, {});
    return fmt::format("recover {}: {}", vmid, report.error.empty() ? "ok" : report.error);
  } catch (const Error& error) {
    return fmt::format("nothing, for {}", error.what());
  }
}

std::map<ImageSpec, SeenImage> Stage::seen_images() {
  std::map<ImageSpec, SeenImage> found;
  const std::vector<ImageSpec> names = images().images();
  const auto states = images().find_all(names);
  for (std::size_t i = 0; i < names.size(); ++i) {
    found.emplace(names[i], SeenImage{states[i].value(), readable_record(states[i].value()).replica});
  }
  return found;
}

std::vector<std::pair<ImageSpec, const SeenImage*>> Stage::disks_of(const GuestState& guest) const {
  std::vector<std::pair<ImageSpec, const SeenImage*>> disks;
  const VmConfig config = parse_vm_config(guest.config);
  for (const GuestDisk& disk : guest_disks(config, clusters.destination.inventory, true).replicated) {
    const auto seen = images_.find(disk.image.spec);
    disks.emplace_back(disk.image.spec, seen == images_.end() ? nullptr : &seen->second);
  }
  return disks;
}

bool Stage::is_clients(const ImageSpec& image, const SeenImage* seen) const {
  const auto owner = owner_of_image(image.name);
  return image.pool == "backup" && owner && restriction.allows(*owner) && seen != nullptr && seen->record &&
         !seen->record->promoted;
}

bool Stage::is_clients(std::uint32_t vmid, const GuestState& guest) const {
  if (!restriction.allows(vmid) || guest.power != Power::stopped) return false;
  const auto disks = disks_of(guest);
  return !disks.empty() && std::all_of(disks.begin(), disks.end(), [&](const auto& disk) {
    return is_clients(disk.first, disk.second) && disk.second->record->target_vmid == vmid;
  });
}

const std::string& Stage::digest_of(const ImageSpec& image, const ImageState& state, const Snapshot& snapshot) {
  std::string& text = digests_[{image, state.id, snapshot.id}];
  if (text.empty()) text = digest(images().content(image, snapshot.name));
  return text;
}

std::string Stage::dump(const ImageSpec& image, const ImageState& state) {
  std::string text = fmt::format("{} {} {}", state.id, state.layout.size_bytes, digest(images().content(image)));
  for (const Snapshot& one : state.snapshots) {
    text += fmt::format(" @{} {} {}", one.name, one.id, digest_of(image, state, one));
  }
  for (const auto& [key, value] : state.metadata) text += fmt::format(" {}={}", key, value);
  return text;
}

std::string Stage::dump(const GuestState& guest) {
  return fmt::format("{} {} {} {} {}", guest.node, guest.config, guest.firewall.value_or("-"),
                     static_cast<int>(guest.power), clusters.destination.memory(guest.vmid));
}

SeenPoint Stage::look_at(std::uint32_t vmid, const std::string& name, const std::string& config, bool& complete) {
  SeenPoint seen{config, {}};
  const PointConfig point = parse_point(config);
  complete = point.target_vmid == vmid;
  for (const std::string& image : point.images) {
    const ImageSpec spec{image.substr(0, image.find('/')), "", image.substr(image.rfind('/') + 1)};
    const auto found = images_.find(spec);
    if (found == images_.end() || !found->second.record) {
      complete = false;
      continue;
    }
    const auto& [state, record] = found->second;
    std::string text;
    for (const Snapshot& one : state.snapshots) {
      if (one.name != name) continue;
      text = fmt::format("id {} {}", one.id, digest_of(spec, state, one));
      for (const PointIds& known : record->points) {
        if (known.name == name && known.replica_id == one.id) {
          text += fmt::format(", from {}{}", known.source_id, known.bad ? ", bad" : "");
        }
      }
    }
    if (text.find(", from ") == std::string::npos) complete = false;
    seen.images[image] = text;
  }
  return seen;
}

const std::set<std::string>& Stage::listed_points(std::uint32_t vmid, const std::string& config) {
  std::map<ImageSpec, ImageState> now;
  for (const auto& [image, seen] : images_) {
    if (seen.record && seen.record->target_vmid == vmid) now.emplace(image, seen.state);
  }
  Listing& listing = listings_[vmid];
  if (listing.config == config && listing.images == now) return listing.names;
  listing = {config, std::move(now), {}};
  std::set<std::string>& names = listing.names;
  for (const RecoveryPoint& point : clusters.points(vmid).points) {
    if (point.complete) names.insert(point.name);
  }
  return names;
}

Seen Stage::look() {
  Seen seen;
  images_ = seen_images();
  for (const auto& [image, one] : images_) {
    const auto& [state, record] = one;
    if (!is_clients(image, &one)) seen.fixed.emplace(to_string(image), dump(image, state));
    if (!record) continue;
    for (const auto& [key, value] : state.metadata) {
      if (!key.starts_with(point_key_prefix)) continue;
      const std::string name = key.substr(point_key_prefix.size());
      if (seen.points.contains({record->target_vmid, name})) continue;
      bool complete = false;
      SeenPoint point = look_at(record->target_vmid, name, value, complete);
      if (complete) seen.points.emplace(std::pair(record->target_vmid, name), std::move(point));
    }
  }
  for (const auto& [point, found] : seen.points) seen.whole.insert(point);
  // Of these, what whoever recovers is told of.
  std::map<std::uint32_t, std::set<std::string>> listed;
  for (const auto& [vmid, guest] : clusters.destination.inventory.guests) {
    if (is_clients(vmid, guest)) listed[vmid] = listed_points(vmid, guest.config);
  }
  std::erase_if(seen.points, [&](const auto& point) {
    const auto& [vmid, name] = point.first;
    return listed.contains(vmid) && listed[vmid].erase(name) == 0;
  });
  for (const auto& [vmid, names] : listed) {
    for (const std::string& name : names) seen.half.insert(fmt::format("point {} of VM {}", name, vmid));
  }
  for (const auto& [image, delay] : images().trashed()) seen.fixed.emplace("trash " + to_string(image), "");
  for (const auto& [vmid, guest] : clusters.destination.inventory.guests) {
    if (!is_clients(vmid, guest)) seen.fixed.emplace(fmt::format("VM {}", vmid), dump(guest));
  }
  return seen;
}

void Stage::check_guests(std::string& wrong) {
  for (const auto& [vmid, guest] : clusters.destination.inventory.guests) {
    if (seen_.fixed.contains(fmt::format("VM {}", vmid))) continue;
    const std::string vm = fmt::format("VM {}", vmid);
    if (!restriction.allows(vmid)) add(wrong, vm + " is none of the range");
    VmConfig config;
    try {
      config = parse_vm_config(guest.config);
    } catch (const Error& error) {
      add(wrong, vm + " cannot be read: " + error.what());
      continue;
    }
    for (const RefusedSetting& one : refused_settings(config, vmid, restriction)) {
      add(wrong, fmt::format("{} has {}: {}", vm, one.key, one.value));
    }
    // Its lock, and the line that says that it does not start, are the destination's.
    if (guest.config.size() > limits.config_bytes + 100) add(wrong, vm + " has too large a configuration");
    if (guest.firewall.value_or("").size() > limits.firewall_bytes) add(wrong, vm + " has too many rules");
    if (has_control_bytes(guest.config) || has_control_bytes(guest.firewall.value_or(""))) {
      add(wrong, vm + " has control characters");
    }
    for (const auto& [image, seen] : disks_of(guest)) {
      if (!is_clients(image, seen) || seen->record->target_vmid != vmid) {
        add(wrong, fmt::format("{} has {}, which is no replica of its own", vm, to_string(image)));
      } else if (seen->record->state != ReplicaState::complete && config.get("lock") != "migrate") {
        add(wrong, fmt::format("{} can be started, and {} is torn", vm, to_string(image)));
      }
    }
  }
}

void Stage::check_images(std::string& wrong) {
  std::map<std::uint32_t, std::size_t> counts;
  for (const auto& [image, seen] : images_) {
    const std::string name = to_string(image);
    if (seen_.fixed.contains(name)) continue;
    if (!is_clients(image, &seen)) {
      add(wrong, name + " is no replica of the client's");
      continue;
    }
    const ImageState& state = seen.state;
    const ReplicaRecord& record = *seen.record;
    ++counts[record.target_vmid];
    if (owner_of_image(image.name) != record.target_vmid) add(wrong, name + " is of another VMID");
    if (state.layout.size_bytes > limits.image_bytes) add(wrong, name + " is too large");
    if (state.snapshots.size() > limits.points) add(wrong, name + " has too many snapshots");
    for (const auto& [key, value] : state.metadata) {
      if (value.size() <= std::size_t{1} << 20) continue;
      add(wrong, fmt::format("{} of {} has {} bytes", key, name, value.size()));
    }
    std::map<std::string, std::chrono::sys_seconds> last;
    for (const Snapshot& one : state.snapshots) {
      const auto parsed = parse_snapshot_name(one.name);
      if (!parsed) {
        add(wrong, fmt::format("{} has the snapshot {}", name, one.name));
        continue;
      }
      if (last.contains(parsed->job) && last[parsed->job] >= parsed->time) add(wrong, one.name + " is not newer");
      last[parsed->job] = parsed->time;
      if (parsed->time > clusters.clock.now() + limits.clock_skew) add(wrong, one.name + " lies ahead");
    }
    // What somebody wrote into it otherwise would be a conflict with every later run.
    if (record.state == ReplicaState::complete && !record.points.empty()) {
      const PointIds& newest = record.points.back();
      const bool is_there = std::any_of(state.snapshots.begin(), state.snapshots.end(),
                                        [&](const Snapshot& one) { return one.id == newest.replica_id; });
      if (is_there && images().content(image) != images().content(image, newest.name)) {
        add(wrong, name + " was written to, and its record does not say so");
      }
    }
  }
  for (const auto& [vmid, count] : counts) {
    if (count > limits.images) add(wrong, fmt::format("VM {} has {} images", vmid, count));
  }
}

std::string Stage::wrong(bool may_hold) {
  std::string wrong;
  Seen now = look();
  std::map<std::pair<std::uint32_t, std::string>, std::chrono::sys_seconds> newest;
  for (const auto& [point, before] : seen_.points) {
    const auto after = now.points.find(point);
    const std::string name = fmt::format("point {} of VM {}", point.second, point.first);
    if (after == now.points.end()) {
      add(wrong, name + " is gone");
    } else if (after->second != before) {
      add(wrong, name + " is another one");
    }
    if (const auto parsed = parse_snapshot_name(point.second)) {
      auto& time = newest[{point.first, parsed->job}];
      time = std::max(time, parsed->time);
    }
  }
  for (const auto& point : now.whole) {
    if (seen_.whole.contains(point)) continue;
    const auto parsed = parse_snapshot_name(point.second);
    const auto before = parsed ? newest.find({point.first, parsed->job}) : newest.end();
    if (!parsed || (before != newest.end() && parsed->time <= before->second)) {
      add(wrong, fmt::format("point {} of VM {} came behind others", point.second, point.first));
    }
  }
  for (const auto& [point, after] : now.points) {
    if (seen_.points.contains(point)) continue;
    const PointConfig config = parse_point(after.config);
    if (!refused_settings(parse_vm_config(config.config), point.first, restriction).empty()) {
      add(wrong, fmt::format("point {} of VM {} has what is refused", point.second, point.first));
    }
  }
  for (const std::string& point : now.half) add(wrong, point + " is taken for whole");
  for (const auto& [what, before] : seen_.fixed) {
    const auto after = now.fixed.find(what);
    if (after == now.fixed.end() || after->second != before) add(wrong, what + " is not what it was");
  }
  check_guests(wrong);
  check_images(wrong);
  if (!may_hold && images().is_held()) add(wrong, "an image is still held");
  if (wrong.empty()) seen_ = std::move(now);
  return wrong;
}

std::string Stage::recover_all() {
  digests_.clear();
  std::string wrong = this->wrong();
  const Seen now = seen_;
  std::map<std::uint32_t, std::vector<std::string>> points;
  for (const auto& [point, seen] : now.points) points[point.first].push_back(point.second);
  for (const auto& [vmid, names] : points) {
    const auto& guests = clusters.destination.inventory.guests;
    const auto guest = guests.find(vmid);
    if (guest == guests.end() || !is_clients(vmid, guest->second)) continue;
    const std::string& name = names[below(names.size())];
    const SeenPoint& seen = now.points.at({vmid, name});
    const bool is_bad = std::any_of(seen.images.begin(), seen.images.end(),
                                    [](const auto& one) { return one.second.ends_with("bad"); });
    if (is_bad) continue;
    RecoverOptions how;
    how.point = name;
    const RecoverReport report = clusters.recover(vmid, how);
    if (report.outcome != Outcome::ok) {
      add(wrong, fmt::format("VM {} cannot be recovered at {}: {}", vmid, name, report.error));
      continue;
    }
    ++recoveries;
    for (const auto& [image, text] : seen.images) {
      const ImageSpec spec{"backup", "", image.substr(image.rfind('/') + 1)};
      const std::string held = digest(images().content(spec));
      if (text.find(held) != std::string::npos) continue;
      add(wrong, fmt::format("{} came up as another than {}", image, name));
    }
    const VmConfig is = parse_vm_config(clusters.destination.config(vmid).value());
    const VmConfig was = parse_vm_config(parse_point(seen.config).config);
    for (const std::string& key : was.keys()) {
      if (key != "onboot" && key != "lock" && is.get(key) != was.get(key)) {
        add(wrong, fmt::format("VM {} came up with '{}' as its {}, and {} has '{}'", vmid,
                                is.get(key).value_or(""), key, name, was.get(key).value_or("")));
      }
    }
  }
  return wrong;
}

}  // namespace crossover::test
