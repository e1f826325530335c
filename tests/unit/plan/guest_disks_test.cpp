// Which disks are replicated, and under which names.
#include "plan/guest_disks.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>

#include "crossover/error.hpp"

using namespace crossover;

namespace {

ClusterInventory cluster() {
  ClusterInventory cluster;
  cluster.storages = parse_storage_config(
      "rbd: data\n\tpool fast\n\n"
      "rbd: data-2.x_y\n\tpool fast\n\tnamespace tenant\n\tkrbd 1\n\n"
      "rbd: far\n\tpool remote\n\tmonhost 192.0.2.1 192.0.2.2\n\tusername pve\n\n"
      "rbd: farther\n\tpool remote\n\tmonhost 192.0.2.3\n\n"
      "dir: files\n\tpath /srv\n\n");
  cluster.ceph_files = {"data.keyring", "far.keyring", "far.conf", "data.conf"};
  return cluster;
}

/// A line for each drive: what becomes of it.
std::string fate(const std::string& lines, bool all_disks = false) {
  const GuestDisks disks = guest_disks(parse_vm_config(lines), cluster(), all_disks);
  std::string text;
  for (const GuestDisk& disk : disks.replicated) {
    text += fmt::format("{} on {}: {}\n", disk.key, disk.storage, to_string(disk.image.spec));
  }
  for (const std::string& key : disks.regenerated) text += key + " is regenerated\n";
  for (const std::string& key : disks.emptied) text += key + " is emptied\n";
  for (const std::string& key : disks.dropped) text += key + " is dropped\n";
  // Every disk that is not replicated is named, and nothing that is.
  for (const std::string& key : disks.dropped) {
    CHECK(std::any_of(disks.left_out.begin(), disks.left_out.end(), [&](const LeftOut& left_out) {
      return left_out.key == key && !left_out.reason.empty() && left_out.reason.find('\n') == std::string::npos;
    }));
  }
  for (const GuestDisk& disk : disks.replicated) {
    CHECK(std::none_of(disks.left_out.begin(), disks.left_out.end(),
                       [&](const LeftOut& left_out) { return left_out.key == disk.key; }));
  }
  CHECK(disks.left_out.size() == disks.regenerated.size() + disks.emptied.size() + disks.dropped.size());
  return text;
}

struct Case {
  const char* lines;
  const char* fate;
};

}  // namespace

TEST_CASE("what becomes of each drive") {
  const Case cases[] = {
      // every bus
      {"ide0: data:vm-1000-disk-0\n", "ide0 on data: fast/vm-1000-disk-0\n"},
      {"sata5: data:vm-1000-disk-0\n", "sata5 on data: fast/vm-1000-disk-0\n"},
      {"scsi30: data:vm-1000-disk-0,iothread=1\n", "scsi30 on data: fast/vm-1000-disk-0\n"},
      {"virtio15: data:vm-1000-disk-0\n", "virtio15 on data: fast/vm-1000-disk-0\n"},
      {"tpmstate0: data:vm-1000-disk-0,version=v2.0\n", "tpmstate0 on data: fast/vm-1000-disk-0\n"},
      {"bios: ovmf\nefidisk0: data:vm-1000-disk-0\n", "efidisk0 on data: fast/vm-1000-disk-0\n"},
      {"efidisk0: data:vm-1000-disk-0\n", "efidisk0 on data: fast/vm-1000-disk-0\n"},
      {"bios: of-a-newer-kind\nefidisk0: data:vm-1000-disk-0\n", "efidisk0 on data: fast/vm-1000-disk-0\n"},
      {"unused0: data:vm-1000-disk-0\n", "unused0 is dropped\n"},
      // how it may be written
      {"scsi0: file=data:vm-1000-disk-0,size=1G\n", "scsi0 on data: fast/vm-1000-disk-0\n"},
      {"scsi0: size=1G,volume=data:vm-1000-disk-0\n", "scsi0 on data: fast/vm-1000-disk-0\n"},
      {"scsi0: data:vm-1000-disk-0,cache=none\n", "scsi0 on data: fast/vm-1000-disk-0\n"},
      {"scsi0: data:vm-1000-disk-0,media=disk\n", "scsi0 on data: fast/vm-1000-disk-0\n"},
      {"\nscsi0:data:vm-1000-disk-0\r\n\n", "scsi0 on data: fast/vm-1000-disk-0\n"},
      // backup
      {"scsi0: data:vm-1000-disk-0,backup=1\n", "scsi0 on data: fast/vm-1000-disk-0\n"},
      {"scsi0: data:vm-1000-disk-0,backup=0\n", "scsi0 is dropped\n"},
      {"scsi0: data:vm-1000-disk-0,backup=no\n", "scsi0 is dropped\n"},
      {"scsi0: data:vm-1000-disk-0,backup=off\n", "scsi0 is dropped\n"},
      {"scsi0: data:vm-1000-disk-0,backup=False,new=1\n", "scsi0 is dropped\n"},
      {"scsi0: data:vm-1000-disk-0,backup=YES\n", "scsi0 on data: fast/vm-1000-disk-0\n"},
      {"scsi0: data:vm-1000-disk-0,backup=perhaps\n", "scsi0 on data: fast/vm-1000-disk-0\n"},
      // CD drives and cloud-init
      {"ide2: none,media=cdrom\n", ""},
      {"ide2: cdrom,media=cdrom\n", "ide2 is emptied\n"},
      {"ide2: files:iso/debian.iso,media=cdrom\n", "ide2 is emptied\n"},
      {"cdrom: files:iso/debian.iso,media=cdrom\n", "ide2 is emptied\n"},
      {"ide2: data:vm-1000-disk-7,media=cdrom\n", "ide2 is emptied\n"},
      {"ide2: data:vm-1000-cloudinit,media=cdrom\n", "ide2 is regenerated\n"},
      {"scsi1: files:1000/vm-1000-cloudinit.qcow2,media=cdrom\n", "scsi1 is regenerated\n"},
      // where it is
      {"scsi0: data-2.x_y:vm-1000-disk-0\n", "scsi0 on data-2.x_y: fast/tenant/vm-1000-disk-0\n"},
      {"scsi0: far:vm-1000-disk-0\n", "scsi0 on far: remote/vm-1000-disk-0\n"},
      {"scsi0: files:1000/vm-1000-disk-0.qcow2\n", "scsi0 is dropped\n"},
      {"scsi0: local:1000/vm-1000-disk-0.qcow2\n", "scsi0 is dropped\n"},
      {"scsi0: dat:vm-1000-disk-0\n", "scsi0 is dropped\n"},
      {"scsi0: data2:vm-1000-disk-0\n", "scsi0 is dropped\n"},
      {"scsi0: /dev/disk/by-id/x\n", "scsi0 is dropped\n"},
      {"scsi0: data:my-image\n", "scsi0 is dropped\n"},
      // clones
      {"scsi0: data:base-9000-disk-0/vm-1000-disk-0\n", "scsi0 on data: fast/vm-1000-disk-0\n"},
      {"scsi0: data:base-1000-disk-0\n", "scsi0 on data: fast/base-1000-disk-0\n"},
      // lines PVE 9.2 would drop
      {"scsi0: data:vm-1000-disk-0,nonsense=1\n", "scsi0 on data: fast/vm-1000-disk-0\n"},
      {"scsi0: data:vm-1000-disk-0,cache=fast\n", "scsi0 on data: fast/vm-1000-disk-0\n"},
      {"scsi0: data:vm-1000-disk-0,cache=,flag,=1\n", "scsi0 on data: fast/vm-1000-disk-0\n"},
      {"scsi31: data:vm-1000-disk-0\n", "scsi31 on data: fast/vm-1000-disk-0\n"},
      {"nvme0: file=data:vm-1000-disk-0,new=1\n", "nvme0 on data: fast/vm-1000-disk-0\n"},
      {"nvme0: data:vm-1000-disk-0,backup=0\n", "nvme0 is dropped\n"},
      {"nvme0: files:1000/vm-1000-disk-0.raw\n", "nvme0 is dropped\n"},
      {"newscript: local:snippets/x.pl\n", ""},
      {"scsi0: data:vm-1000-disk-0,data:vm-1000-disk-1\n", "scsi0 is dropped\n"},
      {"scsi0: none\n", "scsi0 is dropped\n"},
      // only what the guest is now
      {"[PENDING]\nscsi0: data:vm-1000-disk-0\n", ""},
      {"[snap]\nscsi0: data:vm-1000-disk-0\n", ""},
      {"", ""},
  };
  for (const Case& one : cases) {
    CAPTURE(one.lines);
    CHECK(fate(one.lines) == one.fate);
  }
}

TEST_CASE("--all-disks includes what backups leave out, and no more") {
  CHECK(fate("scsi0: data:vm-1000-disk-0,backup=0\n", true) == "scsi0 on data: fast/vm-1000-disk-0\n");
  CHECK(fate("unused0: data:vm-1000-disk-0\n", true) == "unused0 is dropped\n");
  CHECK(fate("ide2: files:iso/debian.iso,media=cdrom\n", true) == "ide2 is emptied\n");
}

TEST_CASE("the reasons are words a person can act on") {
  const auto reason = [](const std::string& lines) {
    const GuestDisks disks = guest_disks(parse_vm_config(lines), cluster(), false);
    REQUIRE(disks.left_out.size() == 1);
    return disks.left_out.front().reason;
  };
  CHECK(reason("scsi0: data:vm-1-disk-0,backup=0\n") ==
        "it is excluded from backups (backup=0); --all-disks includes it");
  CHECK(reason("scsi0: gone:vm-1-disk-0\n") == "the source has no storage 'gone'");
  CHECK(reason("scsi0: files:1/vm-1-disk-0.raw\n") == "its storage 'files' is of type dir, not rbd");
  CHECK(reason("scsi0: /dev/sdb\n") == "it is a device of the host");
  CHECK(reason("scsi0: data:odd\n") == "unable to parse rbd volume name 'odd'");
}

TEST_CASE("what is data that nobody excluded is told from what is none, and from what somebody excluded") {
  struct Line {
    const char* lines;
    bool is_disk;
    bool excluded;
  };
  const Line lines[] = {
      {"scsi0: files:1/vm-1-disk-0.raw\n", true, false},
      {"scsi0: gone:vm-1-disk-0\n", true, false},
      {"scsi0: /dev/sdb\n", true, false},
      {"scsi0: data:odd\n", true, false},
      {"scsi0: size=1G\n", true, false},
      {"nvme0: gone:vm-1-disk-0\n", true, false},
      {"scsi0: data:vm-1-disk-0,backup=no\n", true, true},
      {"scsi0: gone:vm-1-disk-0,backup=0\n", true, true},
      {"unused0: data:vm-1-disk-0\n", true, true},
      {"unused0: files:1/vm-1-disk-0.raw\n", true, true},
      {"scsi0: none\n", false, false},
      {"ide2: files:iso/x.iso,media=cdrom\n", false, false},
      {"ide2: cdrom,media=cdrom\n", false, false},
      {"ide2: data:vm-1-cloudinit,media=cdrom\n", false, false},
  };
  for (const Line& line : lines) {
    CAPTURE(line.lines);
    const GuestDisks disks = guest_disks(parse_vm_config(line.lines), cluster(), false);
    REQUIRE(disks.left_out.size() == 1);
    CHECK(disks.left_out.front().is_disk == line.is_disk);
    CHECK(disks.left_out.front().excluded == line.excluded);
  }
}

TEST_CASE("of several lines of one drive the last counts, and what another one names is not lost unseen") {
  const auto disks_of = [](const std::string& lines) {
    return guest_disks(parse_vm_config(lines), cluster(), false);
  };
  // Proxmox VE forgets the first whatever its version.
  GuestDisks disks = disks_of("scsi0: data:vm-1-disk-0\nscsi0: data:vm-1-disk-1\n");
  REQUIRE(disks.replicated.size() == 1);
  CHECK(disks.replicated.front().image.spec.name == "vm-1-disk-1");
  REQUIRE(disks.left_out.size() == 1);
  CHECK_FALSE(disks.left_out.front().is_disk);
  CHECK(disks.left_out.front().value == "data:vm-1-disk-0");
  // One that does not know the second line has the first.
  disks = disks_of("scsi0: data:vm-1-disk-0\nscsi0: data:vm-1-disk-1,new=1\n");
  CHECK(disks.replicated.front().image.spec.name == "vm-1-disk-1");
  REQUIRE(disks.left_out.size() == 1);
  CHECK(disks.left_out.front().is_disk);
  CHECK(disks_of("scsi0: data:vm-1-disk-0,new=1\nscsi0: data:vm-1-disk-0\n").left_out.empty());
  disks = disks_of("scsi0: data:vm-1-disk-0\nscsi0: size=1G\n");
  CHECK(disks.replicated.size() == 1);
  REQUIRE(disks.left_out.size() == 1);
  CHECK_FALSE(disks.left_out.front().is_disk);
}

TEST_CASE("a storage leads to its cluster") {
  const ClusterInventory here = cluster();
  const auto access = [&](const char* id) { return storage_access(here, *here.storages.rbd(id)); };
  CHECK(access("data") == CephAccess{"/etc/pve/ceph.conf", {}, "admin", "/etc/pve/priv/ceph/data.keyring"});
  CHECK(access("data-2.x_y") == CephAccess{"/etc/pve/ceph.conf", {}, "admin", ""});
  CHECK(access("far") ==
        CephAccess{
            "/etc/pve/priv/ceph/far.conf", {"192.0.2.1", "192.0.2.2"}, "pve", "/etc/pve/priv/ceph/far.keyring"});
  CHECK(access("farther") == CephAccess{"", {"192.0.2.3"}, "admin", ""});
}

TEST_CASE("names of replicas") {
  struct Name {
    const char* source;
    const char* storage;
    const char* replica;
  };
  const Name names[] = {
      {"vm-100-disk-0", "data", "vm-99100-disk-0-data"},
      {"vm-100-disk-12", "data-2.x_y", "vm-99100-disk-12-data-2.x_y"},
      {"base-100-disk-0", "data", "base-99100-disk-0-data"},
      {"vm-100-disk-0-data", "data", "vm-99100-disk-0-data-data"},
      {"vm-100-state-before", "data", "vm-99100-state-before-data"},
      {"vm-777-disk-0", "data", "vm-99100-disk-0-data"},
      {"vm-0100-disk-0", "data", "vm-99100-disk-0-data"},
      {"vm-1-1-1", "data", "vm-99100-1-1-data"},
      {"-100-disk-0", "data", "-99100-disk-0-data"},
      {"vm-100-vm-100-disk", "data", "vm-99100-vm-100-disk-data"},
      {"basevm-100-x", "data", "basevm-99100-x-data"},
  };
  for (const Name& name : names) {
    CAPTURE(name.source);
    CHECK(replica_image_name(name.source, name.storage, 99100) == name.replica);
  }
  CHECK_THROWS_AS((void)replica_image_name("odd", "data", 99100), Error);
}
