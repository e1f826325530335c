// What is not known here is kept, and takes no disk with it.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>
#include <set>

#include "crossover/error.hpp"
#include "plan/guest_agent.hpp"
#include "plan/replica_config.hpp"
#include "unit/model/test_data.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

ClusterInventory cluster() {
  ClusterInventory cluster;
  cluster.storages = parse_storage_config(
      "rbd: data\n\tpool fast\n\nrbd: more\n\tpool slow\n\ndir: files\n\tpath /srv\n");
  return cluster;
}

struct Replica {
  GuestDisks disks;
  ReplicaConfig config;

  [[nodiscard]] std::string bytes() const { return config.config.to_bytes(); }
};

/// The replica of VM 100 as VM 99100 on the storage copy.
Replica replica_of(const std::string& bytes, const std::optional<Restriction>& restriction = std::nullopt) {
  const VmConfig source = parse_vm_config(bytes);
  GuestDisks disks = guest_disks(source, cluster(), false);
  ReplicaSetting setting;
  setting.target_vmid = 99100;
  setting.target_storage = "copy";
  setting.restriction = restriction;
  for (const GuestDisk& disk : disks.replicated) {
    setting.volumes[disk.key] = "copy:" + replica_image_name(disk.image.spec.name, disk.storage, 99100);
  }
  ReplicaConfig config = replica_config(source, disks, setting, {});
  return {std::move(disks), std::move(config)};
}

std::string with(std::string text, const std::string& what, const std::string& by) {
  const std::size_t at = text.find(what);
  REQUIRE(at != std::string::npos);
  return text.replace(at, what.size(), by);
}

/// Configurations of a Proxmox VE that has keys, options and values of its own.
class Configurations {
 public:
  struct Line {
    std::string key;
    std::string text;    ///< what stands behind the key
    std::string volume;  ///< in it
    bool replicated = false;
    bool unknown_key = false;
  };

  explicit Configurations(std::uint32_t seed) : random_(seed) {}

  std::vector<Line> next() {
    std::set<std::string> keys;
    std::vector<Line> lines;
    for (std::size_t count = below(7); lines.size() < count;) {
      const Line line = drive(static_cast<unsigned>(lines.size()));
      if (keys.insert(line.key).second) lines.push_back(line);
    }
    for (std::size_t count = below(5); count > 0; --count) {
      const std::string key =
          pick({"memory", "cores", "agent", "boot", "newkey", "some-switch", "bios", "name", "net0", "args"});
      const std::string value = pick({"1", "a,b=c", "order=scsi0", "ovmf", "x y", "="});
      if (keys.insert(key).second) lines.push_back({key, value, "", false, false});
    }
    std::shuffle(lines.begin(), lines.end(), random_);
    return lines;
  }

 private:
  std::size_t below(std::size_t bound) { return random_() % bound; }
  bool one_in(std::size_t count) { return below(count) == 0; }
  std::string pick(std::initializer_list<const char*> of) { return *(of.begin() + below(of.size())); }

  std::string key(unsigned number) {
    if (one_in(5)) {
      return fmt::format("{}{}", pick({"nvme", "ufs", "scsi4", "virtio9", "new-disk", "sata_x"}), number);
    }
    if (one_in(8)) return pick({"efidisk0", "tpmstate0"});
    if (one_in(12)) return fmt::format("unused{}", number);
    return pick({"ide", "sata", "scsi", "virtio"}) + std::to_string(below(4));
  }

  Line drive(unsigned number) {
    Line line{.key = key(number), .text = "", .volume = "", .replicated = true, .unknown_key = false};
    line.unknown_key = !parse_drive_key(line.key);
    const bool elsewhere = one_in(10);
    const std::string storage = elsewhere ? pick({"files", "gone"}) : pick({"data", "more"});
    line.volume = fmt::format("{}:{}{}-100-disk-{}", storage, one_in(8) ? "base-9000-disk-0/" : "",
                              one_in(9) ? "base" : "vm", number);
    if (elsewhere || line.key.starts_with("unused")) line.replicated = false;

    std::vector<std::string> parts;
    std::string backup;
    std::string media;
    for (std::size_t count = below(6); count > 0; --count) {
      const std::string part = option();
      if (backup.empty() && part.starts_with("backup=")) backup = part.substr(7);
      if (media.empty() && part.starts_with("media=")) media = part.substr(6);
      parts.push_back(part);
    }
    const bool excluded = backup == "0" || backup == "no" || backup == "OFF";
    const bool is_cdrom = media == "cdrom" && !line.key.starts_with("efidisk") && !line.key.starts_with("tpmstate");
    if (excluded || is_cdrom) line.replicated = false;
    const std::string volume = pick({"", "", "file=", "volume="}) + line.volume;
    parts.insert(parts.begin() + static_cast<std::ptrdiff_t>(below(parts.size() + 1)), volume);
    for (const std::string& part : parts) line.text += (&part == &parts.front() ? "" : ",") + part;
    return line;
  }

  std::string option() {
    switch (below(6)) {
      case 0:
        return pick({"size=8G", "cache=none", "discard=on", "iothread=1", "ssd=1", "aio=io_uring", "serial=A%20b",
                     "efitype=4m"});
      case 1:
        return pick({"backup=0", "backup=1", "backup=no", "backup=OFF", "backup=yes", "media=disk", "media=cdrom",
                     "backup=maybe"});
      case 2:
        return pick({"size=10E", "cache=quick", "iothread=4", "aio=uring_cmd", "ms-cert=2031", "version=v3",
                     "format=qcow9"});
      case 3:
        return pick({"cache=", "=1", "flag", "==", "x=y=z", "none=1", "file-id=3"});
      case 4:
        return fmt::format("{}{}={}", pick({"new", "a", "zone", "x-"}), below(50),
                           pick({"1", "a:b", "/dev/x", "data:vm-7-disk-0", "%41", "é"}));
      default:
        return pick({"mbps=10", "iops_rd=5", "bps_rd_length=3", "replicate=0", "shared=1", "queues=1",
                     "throttle-group=a;b"});
    }
  }

  std::mt19937 random_;
};

std::string text_of(const std::vector<Configurations::Line>& lines) {
  std::string text;
  for (const auto& line : lines) text += line.key + ": " + line.text + "\n";
  return text;
}

/// "data:base-1-x/vm-100-disk-0" -> "copy:vm-99100-disk-0-data"
std::string replica_volume(const std::string& volume) {
  const std::string storage = volume.substr(0, volume.find(':'));
  return "copy:" + replica_image_name(volume.substr(storage.size() + 1), storage, 99100);
}

}  // namespace

TEST_CASE("what Proxmox VE writes today, and may write tomorrow, is replicated and kept as it is") {
  const std::string windows = read_data("unknown/windows-11.conf");
  Replica replica = replica_of(windows);
  CHECK(replica.disks.left_out.empty());
  CHECK(parse_vm_config(windows).warnings().empty());
  std::string wanted = with(windows, "data:vm-100-disk-1", "copy:vm-99100-disk-1-data");
  wanted = with(wanted, "data:vm-100-disk-0", "copy:vm-99100-disk-0-data");
  wanted = with(wanted, "more:vm-100-disk-0", "copy:vm-99100-disk-0-more");
  CHECK(replica.bytes() == wanted + "onboot: 0\n");

  const std::string newer = read_data("unknown/newer-options.conf");
  replica = replica_of(newer);
  CHECK(replica.disks.replicated.size() == 8);
  CHECK(replica.disks.left_out.empty());
  CHECK(replica.config.left_out.empty());
  wanted = newer;
  for (const GuestDisk& disk : replica.disks.replicated) {
    wanted = with(wanted, disk.storage + ":" + disk.image.spec.name,
                  replica_volume(disk.storage + ":" + disk.image.spec.name));
  }
  CHECK(replica.bytes() == wanted + "onboot: 0\n");
  // Each of them is said to be unknown, and so is the switch.
  CHECK(parse_vm_config(newer).warnings().size() == 9);
}

TEST_CASE("a cicustom that names nothing lacks nothing") {
  const Replica replica = replica_of(read_data("unknown/no-snippets.conf"));
  CHECK(replica.config.left_out.empty());
  CHECK(replica.bytes() == "cicustom:  \nmemory: 64\nscsi0: copy:vm-99100-disk-0-data\nonboot: 0\n");
}

TEST_CASE("an agent by any name of the option is not asked to freeze what it may not") {
  CHECK_FALSE(is_freeze_wanted(parse_vm_config(read_data("unknown/agent-without-freeze.conf"))));
  for (const char* name : {"freeze-fs", "freeze-fs-on-backup", "guest-fsfreeze"}) {
    for (const char* no : {"0", "no", "off", "False"}) {
      const VmConfig config = parse_vm_config(fmt::format("agent: 1,{}={}\n", name, no));
      CHECK(has_guest_agent(config));
      CHECK_FALSE(is_freeze_wanted(config));
    }
    CHECK(is_freeze_wanted(parse_vm_config(fmt::format("agent: 1,{}=1\n", name))));
  }
  CHECK(is_freeze_wanted(parse_vm_config("agent: 1,new=0\n")));
}

/// Some in each run; CROSSOVER_CONFIGURATIONS says how many.
TEST_CASE("no configuration loses a disk whose volume can be read; a line changes in storage and volume alone") {
  const char* const asked = std::getenv("CROSSOVER_CONFIGURATIONS");
  const std::size_t count = asked == nullptr ? 2000 : std::strtoull(asked, nullptr, 10);
  REQUIRE(count > 0);
  const Restriction restriction = parse_restriction("copy", "99100", "");
  Configurations configurations(20261130);
  std::size_t drives = 0;
  std::size_t replicated = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t number = 0; number < count; ++number) {
    const std::vector<Configurations::Line> lines = configurations.next();
    const std::string source = text_of(lines);
    CAPTURE(number);
    CAPTURE(source);
    const Replica replica = replica_of(source);
    const Replica received = replica_of(source, restriction);
    const VmConfig& config = replica.config.config;
    for (const auto& line : lines) {
      if (line.volume.empty()) continue;
      CAPTURE(line.key);
      ++drives;
      const auto disk = std::find_if(replica.disks.replicated.begin(), replica.disks.replicated.end(),
                                     [&](const GuestDisk& one) { return one.key == line.key; });
      const bool is_there = disk != replica.disks.replicated.end();
      REQUIRE(is_there == line.replicated);
      const bool is_named = std::any_of(replica.disks.left_out.begin(), replica.disks.left_out.end(),
                                        [&](const LeftOut& one) { return one.key == line.key; });
      REQUIRE(is_named != is_there);
      if (!is_there) continue;
      ++replicated;
      const std::string volume = replica_volume(line.volume);
      REQUIRE(replica_volume(disk->storage + ":" + disk->image.spec.name) == volume);
      REQUIRE(config.get(line.key) == with(line.text, line.volume, volume));
      // Behind a restricted agent options may go, and a key nobody knows; then that is said, and is no small thing.
      const auto there = received.config.config.get(line.key);
      const bool is_told = std::any_of(received.config.left_out.begin(), received.config.left_out.end(),
                                       [&](const LeftOut& one) { return one.key == line.key && one.is_disk; });
      const bool is_own_name = volume.starts_with("copy:vm-");
      REQUIRE(there.has_value() == (!line.unknown_key && is_own_name));
      REQUIRE(is_told != there.has_value());
      if (there) REQUIRE(read_drive(line.key, *there).volume_text() == volume);
    }
    // What is no drive is as it was.
    for (const auto& line : lines) {
      if (!line.volume.empty() || line.key == "onboot") continue;
      REQUIRE(replica.bytes().find(line.key + ": " + line.text + "\n") != std::string::npos);
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  CHECK(replicated > count);
  MESSAGE(fmt::format("{} configurations with {} drives, {} of them replicated: {:.0f} configurations a second",
                      count, drives, replicated, static_cast<double>(count) / took.count()));
}
