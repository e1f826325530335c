#include "offers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>
#include <vector>

#include "client.hpp"
#include "crossover/error.hpp"
#include "engine/survey.hpp"
#include "plan/guest_disks.hpp"
#include "plan/record.hpp"
#include "support/records.hpp"

namespace crossover::test {

namespace {

using agent::Json;

template <typename T>
T one_of(Stage& stage, std::vector<T> values) {
  return std::move(values[stage.below(values.size())]);
}

std::string text_of_size(std::size_t bytes) { return std::string(bytes, 'x'); }

/// The state of the source's images as whoever made all of the replica's points would have it.
void bring_up_to_date(Stage& stage, PointOffer& offer) {
  const bool forgets = stage.chance(0.15);
  const bool resumes = stage.chance(0.6);
  const auto images = stage.seen_images();
  for (auto& [ref, state] : offer.source_images) {
    std::map<std::uint64_t, Snapshot> snapshots;
    for (const auto& [image, seen] : images) {
      const auto& [there, record] = seen;
      if (!record || record->source.image_id != state->id || record->target_vmid != offer.target_vmid()) continue;
      for (const PointIds& point : record->points) {
        const auto size = std::find_if(there.snapshots.begin(), there.snapshots.end(),
                                       [&](const Snapshot& one) { return one.id == point.replica_id; });
        const std::uint64_t bytes = size == there.snapshots.end() ? 4096 : size->size_bytes;
        snapshots[point.source_id] = {point.source_id, point.name, bytes};
      }
      if (forgets && snapshots.size() > 1) snapshots.erase(std::prev(snapshots.end()));
      if (record->transfer.empty() || !resumes) continue;
      snapshots[record->end_source_id] = {record->end_source_id, record->end_snapshot, there.layout.size_bytes};
    }
    state->snapshots.clear();
    for (const auto& [id, snapshot] : snapshots) state->snapshots.push_back(snapshot);
  }
  offer.now = stage.clusters.clock.now();
}

class Mutations {
 public:
  Mutations(Stage& stage, PointOffer& offer, std::string& told) : stage_(stage), offer_(offer), told_(told) {}

  void change() {
    static const std::vector<std::pair<const char*, void (Mutations::*)()>> all{
        {"options", &Mutations::options},       {"options", &Mutations::options},
        {"target", &Mutations::target},         {"target", &Mutations::target},
        {"source VMID", &Mutations::source},    {"lines", &Mutations::lines},
        {"lines", &Mutations::lines},           {"lines", &Mutations::lines},
        {"disks", &Mutations::disks},           {"disks", &Mutations::disks},
        {"an image", &Mutations::image},        {"an image", &Mutations::image},
        {"a snapshot", &Mutations::snapshots},  {"a record", &Mutations::records},
        {"a record", &Mutations::records},      {"a fsid", &Mutations::fsids},
        {"time", &Mutations::time},             {"time", &Mutations::time},
        {"onboot", &Mutations::onboot},         {"firewall", &Mutations::firewall},
        {"firewall", &Mutations::firewall},     {"repair", &Mutations::repair},
        {"rewrite", &Mutations::rewrite},       {"storages", &Mutations::storages},
        {"new disks", &Mutations::new_disks},
        {"new disks", &Mutations::new_disks}};
    const auto& [name, mutation] = all[stage_.below(all.size())];
    told_ += fmt::format("{}{}", told_.empty() ? "" : ", ", name);
    (this->*mutation)();
  }

 private:
  template <typename T>
  T one_of(std::vector<T> values) {
    return test::one_of(stage_, std::move(values));
  }

  GuestState& guest() { return offer_.source.guests.at(offer_.vmid()); }

  void options() {
    MirrorOptions options = offer_.request.options;
    const std::vector<std::function<void()>> changes{
        [&] { options.reseed = true; },
        [&] { options.adopt = true; },
        [&] { options.overwrite = true; },
        [&] { options.discard_changes = true; },
        [&] { options.discard_changes = true; },
        [&] { options.keep_destination_lock = true; },
        [&] { options.keep_host_devices = true; },
        [&] { options.all_disks = true; },
        [&] { options.allow_left_out = true; },
        [&] { options.no_lock = true; },
        [&] { options.keep_remote = one_of<std::string>({"0s", "1s", "last=1"}); },
        [&] { options.keep_local = "0s"; },
        [&] { options.parallel = one_of<std::string>({"2", "64", "1000000", "0"}); },
        [&] { options.job_name = one_of<std::string>({"other", "Default", "d e f a u l t", "x\x1b[2J", "-", "../x",
                                                      text_of_size(3000), "\xc3\xbc"}); },
        [&] { options.pool = one_of<std::string>({"vault", "", "copy\n", "ssd"}); },
        [&] { options.destination_user = "admin"; },
        [&] { options.prefix_id = "5"; },
        [&] { options.memory = "1"; },
    };
    changes[stage_.below(changes.size())]();
    set_options(options);
  }

  /// What cannot be asked for stays as it is here, and is asked for all the same.
  void set_options(const MirrorOptions& options) {
    const VmidSelection vmids = offer_.request.vmids;
    try {
      MirrorRequest request = parse_options(options);
      request.onboot = offer_.request.onboot;
      request.excluded.clear();
      offer_.request = request;
    } catch (const Error&) {
      offer_.request.options = options;
    }
    offer_.request.vmids = vmids;
  }

  void target() {
    offer_.request.vmids.guests.at(0).target =
        one_of<std::uint32_t>({99100, 99101, 99102, 99103, foreign, foreign_locked, diskless, 99400, outside,
                               mirrored, static_cast<std::uint32_t>(99100 + stage_.below(300)), 98100, 999999999});
  }

  void source() {
    const std::uint32_t other = one_of<std::uint32_t>({100, 101, 102, 103, 500, 99100});
    GuestState state = guest();
    state.vmid = other;
    offer_.source.guests.clear();
    offer_.source.guests.emplace(other, state);
    const std::uint32_t target = offer_.target_vmid();
    offer_.request.vmids.guests = {{other, target}};
  }

  void lines() {
    static const std::vector<std::string> more{
        "args: -device evil\n",
        "hookscript: local:snippets/x.pl\n",
        "hostpci0: 0000:01:00.0\n",
        "usb0: host=1234:5678\n",
        "serial0: /dev/ttyS0\n",
        "serial1: socket\n",
        "parallel0: /dev/parport0\n",
        "virtiofs0: dir\n",
        "ivshmem: size=32,name=x\n",
        "rng0: source=/dev/hwrng\n",
        "cicustom: user=local:snippets/x\n",
        "cipassword: secret-of-the-guest\n",
        "scsi5: copy:vm-99300-disk-0\n",
        "scsi5: copy:vm-500-disk-0\n",
        "scsi5: local:500/vm-500-disk-0.raw\n",
        "scsi5: /dev/sda\n",
        "ide2: /dev/cdrom,media=cdrom\n",
        "ide2: none,media=cdrom\n",
        "ide2: copy:vm-99300-cloudinit,media=cdrom\n",
        "ide3: ssd:vm-100-cloudinit,media=cdrom\n",
        "unused0: copy:vm-99300-disk-0\n",
        "efidisk0: copy:vm-99300-disk-0,efitype=4m\n",
        "vmstate: copy:vm-99300-state-x\n",
        "vmstatestorage: copy\n",
        "vmstatestorage: local\n",
        "lock: backup\n",
        "lock: destroyed\n",
        "onboot: 1\n",
        "template: 1\n",
        "protection: 1\n",
        "name: a\x01" "b\n",
        "name: x\n",
        "#\x1b]0;x\x07\n",
        "# plain\n",
        "description: x%0A\n",
        "net0: virtio,bridge=vmbr0,script=/tmp/x\n",
        "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n",
        "smbios1: base64=1,serial=eA==\n",
        "smbios1: uuid=1;id\n",
        "vga: std,clipboard=vnc\n",
        "cpu: host,flags=+x;reboot\n",
        "machine: pc,x=y\n",
        "boot: order=scsi0;scsi1\n",
        "startup: order=1\n",
        "tags: x;y\n",
        "watchdog: model=i6300esb,action=reset\n",
        "unknown7: 1\n",
        "memory: 512,x\n",
        "parent: monday\n",
        "[monday]\nmemory: 1\nargs: -x\n",
        "[PENDING]\nargs: -x\n",
        "[special:cloudinit]\nname: x\nargs: -y\n",
        "[special:x]\nargs: -y\n",
        "garbage\n",
        "\xff\xfe\n",
        "scsi0: copy:vm-99100-disk-0-ssd,file=/etc/shadow\n",
        "scsi0: ssd:vm-100-disk-0,format=qcow2\n",
        "scsi1: hdd:vm-100-disk-1,scsiblock=1\n",
        "scsi1: hdd:vm-100-disk-1,serial=a%2cb\n",
        "args: a\nargs: b\n",
        "\targs: -x\n",
        "args:-x\n",
        "ARGS: -x\n",
    };
    std::string& config = guest().config;
    for (auto count = 1 + stage_.below(3); count > 0; --count) {
      const std::string& line = more[stage_.below(more.size())];
      if (stage_.chance(0.4)) {
        config = line + config;
      } else {
        config += line;
      }
    }
    if (stage_.chance(0.1)) config += "#" + text_of_size(one_of<std::size_t>({2000, 4000, 70000})) + "\n";
    if (stage_.chance(0.05)) config.clear();
    if (stage_.chance(0.05)) config.erase(stage_.below(config.size() + 1));
  }

  void disks() {
    VmConfig config;
    try {
      config = parse_vm_config(guest().config);
    } catch (const Error&) {
      return;
    }
    switch (stage_.below(6)) {
      case 0:
        config.remove(one_of<std::string>({"scsi0", "scsi1"}));
        break;
      case 1:
        config.remove("scsi0");
        config.remove("scsi1");
        break;
      case 2:
        if (const auto line = config.get("scsi1")) {
          config.remove("scsi1");
          config.set("virtio3", *line);
        }
        break;
      case 3:
        config.set("scsi0", config.get("scsi1").value_or("none"));
        break;
      default:
        for (std::uint64_t number = stage_.below(6); number > 0; --number) add_disk(config, "", number);
        add_disk(config, one_of<std::string>({"", "", "vm-100-disk", "vm-100-x", "base-100-disk-0",
                                              "vm-99300-disk-0", "vm-100-disk-0:x", "a", "vm-100-disk-0@monday",
                                              "vm-100-" + text_of_size(300)}), 9);
    }
    guest().config = config.to_bytes();
  }

  void add_disk(VmConfig& config, const std::string& name, std::uint64_t number) {
    const std::string image =
        name.empty() ? fmt::format("vm-{}-disk-{}", offer_.vmid(), 7 + stage_.below(2) + number) : name;
    config.set(fmt::format("virtio{}", number), fmt::format("hdd:{}", image));
    if (offer_.source_images.empty()) return;
    ImageRef ref = offer_.source_images.begin()->first;
    ref.spec.pool = "slow";
    ref.spec.name = image;
    ImageState state = offer_.source_images.begin()->second.value();
    state.id = fmt::format("{:x}", stage_.random()());
    state.snapshots.clear();
    state.metadata.clear();
    offer_.source_images.insert_or_assign(ref, state);
  }

  ImageState* any_image() {
    if (offer_.source_images.empty()) return nullptr;
    auto found = offer_.source_images.begin();
    std::advance(found, static_cast<std::ptrdiff_t>(stage_.below(offer_.source_images.size())));
    return found->second ? &*found->second : nullptr;
  }

  void image() {
    ImageState* const state = any_image();
    if (state == nullptr) return;
    const std::uint64_t most = stage_.limits.image_bytes;
    switch (stage_.below(8)) {
      case 0:
      case 1:
        state->layout.size_bytes =
            one_of<std::uint64_t>({0, 1, 4096, most, most + 1, 4 * most, std::uint64_t{1} << 50});
        break;
      case 2:
        state->layout.order = one_of<std::uint8_t>({0, 9, 12, 25, 64, 255});
        break;
      case 3:
        state->layout.features = ~std::uint64_t{0};
        state->layout.stripe_unit = one_of<std::uint64_t>({0, 1, ~std::uint64_t{0}});
        break;
      case 4:
        state->id = one_of<std::string>({"", "x", "\xff", "1\n", text_of_size(400)});
        if (stage_.chance(0.05)) state->id = text_of_size(std::size_t{2} << 20);
        break;
      case 5:
        state->pool_id = one_of<std::int64_t>({-1, 0, 7});
        break;
      case 6:
        state->parent = "pool/base@x";
        state->watchers = {"10.0.0.1"};
        break;
      default:
        offer_.source_images.clear();
    }
  }

  void snapshots() {
    ImageState* const state = any_image();
    if (state == nullptr) return;
    switch (stage_.below(5)) {
      case 0:
        state->snapshots.clear();
        break;
      case 1:
        if (!state->snapshots.empty()) state->snapshots.pop_back();
        break;
      case 2:
        state->snapshots.push_back({900, "crossover-default-20991231T000000Z", 4096});
        break;
      case 3:
        state->snapshots.push_back({901, "crossover-default-20261122T000000Z", 4096});
        break;
      default:
        if (!state->snapshots.empty()) {
          Snapshot& one = state->snapshots[stage_.below(state->snapshots.size())];
          one.id = one_of<std::uint64_t>({0, 1, ~std::uint64_t{0}});
          one.size_bytes = one_of<std::uint64_t>({0, 4096, std::uint64_t{1} << 50});
        }
    }
  }

  /// Of what the disk was promoted from, or of what its job was creating.
  void records() {
    ImageState* const state = any_image();
    if (state == nullptr) return;
    const std::vector<ImageSpec> images = stage_.images().images();
    const ImageSpec& image = images[stage_.below(images.size())];
    const ImageState there = stage_.images().find(image).value();
    ImageRecord record;
    if (stage_.chance(0.5)) {
      const SourceIdentity identity{offer_.source_fsids.empty() ? "" : offer_.source_fsids.begin()->second,
                                    state->pool_id, state->id, offer_.vmid()};
      SourceJob job{offer_.request.job_name, stage_.images().fsid(), offer_.target_vmid(), to_string(image)};
      record.source = SourceRecord{identity, {{offer_.request.job_label, job}}};
    } else {
      ReplicaRecord replica;
      replica.source = {stage_.images().fsid(), there.pool_id, there.id, offer_.target_vmid()};
      replica.source_image = to_string(image);
      replica.job = one_of<std::string>({"", "back"});
      replica.target_vmid = offer_.vmid();
      replica.image_id = state->id;
      replica.pool_id = state->pool_id;
      replica.state = ReplicaState::complete;
      for (const Snapshot& one : there.snapshots) replica.points.push_back({one.name, one.id, one.id + 1000});
      for (const PointIds& one : replica.points) state->snapshots.push_back({one.replica_id, one.name, 4096});
      if (stage_.chance(0.8)) replica.promoted = Promotion{"crossover-default-20261123T120000Z", {}, true};
      record.replica = replica;
    }
    put_record(state->metadata, record);
    if (!stage_.chance(0.1)) return;
    state->metadata[std::string(replica_key)] = one_of<std::string>({"{", "{\"version\":9}", ""});
  }

  void fsids() {
    if (offer_.source_fsids.empty()) return;
    std::string& fsid = offer_.source_fsids.begin()->second;
    fsid = one_of<std::string>({"", stage_.images().fsid(), "\xff", "x\n", text_of_size(500)});
    if (stage_.chance(0.05)) fsid = text_of_size(std::size_t{2} << 20);
  }

  void time() {
    using namespace std::chrono;
    offer_.now += one_of<seconds>({hours(-24 * 365), hours(-1), hours(-3), hours(23), hours(48), hours(24 * 365)});
    if (stage_.chance(0.1)) offer_.now = sys_seconds(seconds(one_of<std::int64_t>({0, 253402300799, 1})));
  }

  void onboot() {
    offer_.request.onboot =
        one_of<std::optional<std::string>>({"1", "0", "", "x\n", std::nullopt, text_of_size(3000)});
  }

  void firewall() {
    guest().firewall = one_of<std::optional<std::string>>({"[RULES]\nIN ACCEPT\n", "[RULES]\n\x1b[2J\n", "",
                                                           std::nullopt, text_of_size(4097), text_of_size(4000),
                                                           std::string("a\0b", 3)});
  }

  void repair() {
    offer_.repair.point = one_of<std::string>({"crossover-default-20261123T120000Z", "x"});
    if (!offer_.source_images.empty()) {
      ImageRef ref = offer_.source_images.begin()->first;
      ref.spec = {"backup", "", "vm-99100-disk-0-ssd"};
      offer_.repair.ranges[ref] = {{0, 4096}};
    }
  }

  void rewrite() {
    MirrorOptions options = offer_.request.options;
    options.rewrite = {one_of<std::string>({"s/^name: .*/args: -x/", "s/onboot: 0/onboot: 1/",
                                            "s/^memory: .*/hookscript: local:snippets\\/x/", "s/512/1024/",
                                            "s/scsi0: .*/scsi0: copy:vm-99300-disk-0/", "s/(/x/", "s/./\x01/g",
                                            "s/name/lock/"})};
    set_options(options);
  }

  void storages() {
    for (Storage& storage : offer_.source.storages.storages) {
      switch (stage_.below(5)) {
        case 0:
          storage.id = one_of<std::string>({"0", "x", "s/x", text_of_size(120)});
          break;
        case 1:
          for (auto& [key, value] : storage.properties) value = one_of<std::string>({"backup", "", "a/b", "\xff"});
          break;
        case 2:
          storage.type = "dir";
          break;
        default:
          break;
      }
    }
  }

  /// A point that has none of the images that are there, or new ones beside them, and is dated before theirs, of
  /// another job, or of another Ceph.
  void new_disks() {
    const auto hdd = offer_.source.storages.rbd("hdd");
    if (!hdd || offer_.source_images.empty()) return;
    const ImageStates before = offer_.source_images;
    VmConfig config;
    try {
      config = parse_vm_config(guest().config);
    } catch (const Error&) {
      return;
    }
    add_disk(config, "", 3);
    if (stage_.chance(0.8)) {
      config.remove("scsi0");
      config.remove("scsi1");
      for (const auto& [ref, state] : before) offer_.source_images.erase(ref);
    }
    guest().config = config.to_bytes();
    const std::uint64_t what = stage_.below(5);
    if (what < 2) offer_.now -= std::chrono::hours(one_of<int>({1, 2, 30}));
    if (what == 2) {
      MirrorOptions options = offer_.request.options;
      options.job_name = "other";
      set_options(options);
    }
    if (what == 4 && stage_.chance(0.3)) {
      for (auto& [ref, state] : offer_.source_images) {
        if (state && !before.contains(ref)) state->id = text_of_size(std::size_t{2} << 20);
      }
    }
    if (what == 3) {
      for (Storage& storage : offer_.source.storages.storages) {
        if (storage.id == "hdd") storage.properties.emplace_back("monhost", "10.0.0.9");
      }
      const CephAccess access = storage_access(offer_.source, *offer_.source.storages.rbd("hdd"));
      const ImageStates images = std::exchange(offer_.source_images, {});
      for (const auto& [ref, state] : images) {
        const bool moves = ref.spec.pool == "slow";
        offer_.source_images.insert_or_assign(moves ? ImageRef{access, ref.spec} : ref, state);
      }
      offer_.source_fsids[access] = "cccccccc-2222-3333-4444-555555555555";
    }
  }

  Stage& stage_;
  PointOffer& offer_;
  std::string& told_;
};

}  // namespace

void spoil(Stage& stage, Json& value) {
  if (value.is_object() && !value.empty() && stage.below(6) != 0) {
    auto member = value.begin();
    std::advance(member, static_cast<std::ptrdiff_t>(stage.below(value.size())));
    if (stage.below(4) == 0) {
      value.erase(member);
    } else {
      spoil(stage, *member);
    }
    return;
  }
  if (value.is_array() && !value.empty() && stage.below(3) != 0) {
    spoil(stage, value[stage.below(value.size())]);
    return;
  }
  value = one_of<Json>(stage, {nullptr, true, -1, 1.5, 1e300, 4096, ~std::uint64_t{0}, "", "\xff", "99100",
                               Json::array(), Json::array({nullptr}), Json::object(), "copy", "../x", 99300, 0});
}

Offered make_offer(Stage& stage, std::uint32_t vmid, int changes) {
  Offered offered;
  PointOffer offer = stage.offer_of(vmid);
  bring_up_to_date(stage, offer);
  for (; changes > 0; --changes) Mutations(stage, offer, offered.changed).change();
  offered.json = agent::render_offer(offer);
  if (!offered.changed.empty() && stage.chance(0.1)) {
    spoil(stage, offered.json);
    offered.changed += ", spoiled";
  }
  try {
    // As it is read over there.
    const PointOffer read = agent::parse_offer(offered.json);
    const Survey found = survey_offered(read, stage.seen_side(), false, {});
    GuestPlan plan = plan_guest(read.request, found.inventory, found.guests.at(0), read.now, read.repair);
    offered.half = destination_half(plan);
    if (!plan.problem) offered.plan = std::move(plan);
  } catch (const std::exception&) {
    offered.half = "none";
  }
  return offered;
}

}  // namespace crossover::test
