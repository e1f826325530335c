// A replica's configuration: byte for byte its source's, but for what would be wrong there.
#include "plan/replica_config.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "crossover/error.hpp"
#include "support/golden.hpp"
#include "unit/model/test_data.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

struct Made {
  std::string bytes;
  std::vector<LeftOut> left_out;
};

/// The replica of `config` as VM 99`vmid` on the storage copy.
Made make(const std::string& config, std::uint32_t vmid = 100, const std::vector<std::string>& rules = {},
          ReplicaSetting setting = {}, bool all_disks = false) {
  ClusterInventory cluster;
  cluster.storages = parse_storage_config(
      "rbd: data\n\tpool data\n\nrbd: ceph-ssd\n\tpool ssd\n\nrbd: pool.a\n\tpool a\n\nrbd: pool_b\n\tpool b\n");
  const VmConfig source = parse_vm_config(config);
  const GuestDisks disks = guest_disks(source, cluster, all_disks);
  setting.target_vmid = 99000 + vmid;
  setting.target_storage = "copy";
  for (const GuestDisk& disk : disks.replicated) {
    setting.volumes[disk.key] =
        "copy:" + replica_image_name(disk.image.spec.name, disk.storage, setting.target_vmid);
  }
  std::vector<RewriteRule> parsed;
  for (const std::string& rule : rules) parsed.push_back(RewriteRule::parse(rule));
  const ReplicaConfig replica = replica_config(source, disks, setting, parsed);
  return {replica.config.to_bytes(), replica.left_out};
}

std::string error_of(const std::string& config, const std::string& rule) {
  try {
    (void)make(config, 100, {rule});
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::usage);
    return error.what();
  }
  FAIL("it was accepted");
  return "";
}

const std::string disk = "scsi0: data:vm-100-disk-0,discard=on,size=32G\n";
const std::string replica_disk = "scsi0: copy:vm-99100-disk-0-data,discard=on,size=32G\n";

}  // namespace

TEST_CASE("replicas of the configurations that stand for all kinds") {
  int vmid = 100;
  for (const char* stem : {"01-plain", "02-efi-tpm-cloudinit", "03-snapshots-pending",
                           "04-blank-lines-and-odd-drives", "05-unknown-keys", "06-crlf-no-final-newline"}) {
    CAPTURE(stem);
    const std::string bytes = read_data(std::string("pve-configs/") + stem + ".conf");
    check_golden(std::string("replica/") + stem + ".conf", make(bytes, static_cast<std::uint32_t>(vmid++)).bytes);
  }
  // With all its disks
  check_golden("replica/02-all-disks.conf",
               make(read_data("pve-configs/02-efi-tpm-cloudinit.conf"), 101, {}, {}, true).bytes);
}

TEST_CASE("a line is kept or left out") {
  struct Line {
    const char* line;
    bool kept;
  };
  const Line lines[] = {
      {"args: -cpu host,+pcid -device x", true},
      {"hostpci0: 0000:01:00.0,pcie=1", false},
      {"hostpci15: mapping=gpu", false},
      {"usb0: host=1234:5678", false},
      {"usb0: mapping=key", false},
      {"usb0: spice", true},
      {"usb0: spice,usb3=1", true},
      {"usb0: host=spice,usb3=1", true},
      {"usb0: usb3=1,host=spice", true},
      {"serial0: socket", true},
      {"serial1: /dev/ttyS0", false},
      {"parallel0: /dev/parport0", false},
      {"virtiofs0: dirid=share", false},
      {"hookscript: local:snippets/there.pl", true},
      {"hookscript: local:snippets/gone.pl", false},
      {"cicustom: user=local:snippets/there.pl", true},
      {"cicustom: user=local:snippets/there.pl,network=local:snippets/gone.yml", false},
      {"vmstatestorage: copy", true},
      {"vmstatestorage: data", false},
      {"lock: backup", false},
      {"parent: before", false},
      {"vmstate: data:vm-100-state-x", false},
      {"runningmachine: pc-q35-9.0", false},
      {"runningcpu: host", false},
      {"protection: 1", true},
      {"template: 1", true},
      {"tags: b;a", true},
      {"net0: virtio=BC:24:11:AA:00:01,bridge=vmbr0,firewall=1,tag=20", true},
      {"smbios1: uuid=5e3c2b6e-95a5-4b6a-8a53-3f8a7fb1a001", true},
      {"vmgenid: 8c5e3b2d-3f65-4d0a-9f6b-0a6d1a2b3c4d", true},
      {"cipassword: $5$x", true},
      {"audio0: device=ich9-intel-hda", true},
      {"rng0: source=/dev/urandom", true},
      {"some-new-key: 1", true},
      {"#a comment: 100%25", true},
      {"not a line of any kind", true},
  };
  ReplicaSetting setting;
  setting.snippets = {"local:snippets/there.pl"};
  setting.storages = {"copy", "local"};
  for (const Line& line : lines) {
    CAPTURE(line.line);
    const std::string text = std::string(line.line) + "\n";
    const Made made = make(text + disk + "onboot: 1\n", 100, {}, setting);
    CHECK(made.bytes == (line.kept ? text : "") + replica_disk + "onboot: 0\n");
    // What a moment of the source leaves behind is no loss; what the guest would miss is named.
    const std::string key = text.substr(0, text.find(':'));
    const bool transient = key == "lock" || key == "parent" || key == "vmstate" || key.starts_with("running");
    CHECK(made.left_out.size() == (line.kept || transient ? 0 : 1));
    if (!made.left_out.empty()) {
      CHECK(made.left_out.front().key == key);
      CHECK_FALSE(made.left_out.front().is_disk);
      CHECK_FALSE(made.left_out.front().reason.empty());
    }
  }
}

TEST_CASE("--keep-host-devices keeps them") {
  const std::string devices =
      "hostpci0: 0000:01:00.0\nparallel0: /dev/parport0\nserial0: /dev/ttyS0\nusb0: host=1-1\nvirtiofs0: dirid=x\n";
  ReplicaSetting setting;
  setting.keep_host_devices = true;
  CHECK(make(devices + disk, 100, {}, setting).bytes == devices + replica_disk + "onboot: 0\n");
}

TEST_CASE("onboot is 0, whatever it was") {
  CHECK(make("onboot: 1\nname: a\n").bytes == "onboot: 0\nname: a\n");
  CHECK(make("onboot: yes\n").bytes == "onboot: 0\n");
  CHECK(make("onboot: 0\n").bytes == "onboot: 0\n");
  CHECK(make("onboot: maybe\n").bytes == "onboot: 0\n");
  CHECK(make("name: a\n").bytes == "name: a\nonboot: 0\n");
  CHECK(make("name: a").bytes == "name: a\nonboot: 0");
  CHECK(make("name: a\r\n").bytes == "name: a\r\nonboot: 0\r\n");
  CHECK(make("").bytes == "onboot: 0\n");
}

TEST_CASE("sections go but what cloud-init was started with") {
  CHECK(make("name: a\n\n[PENDING]\nname: b\n\n[special:cloudinit]\nname: a\n\n[special:fleecing]\n"
             "fleecing-images: data:vm-100-fleece-0\n\n[before]\nname: c\nsnaptime: 1\n\n[weird section]\nx: y\n")
            .bytes == "name: a\nonboot: 0\n\n[special:cloudinit]\nname: a\n");
}

TEST_CASE("drives") {
  const auto line = [](const std::string& text) {
    std::string bytes = make(text + "\n").bytes;
    return bytes.substr(0, bytes.find("onboot"));
  };
  CHECK(line("ide2: local:iso/debian.iso,media=cdrom,size=600M") == "ide2: none,media=cdrom\n");
  CHECK(line("cdrom: local:iso/debian.iso,media=cdrom") == "cdrom: none,media=cdrom\n");
  CHECK(line("ide2: media=cdrom,file=local:iso/debian.iso") == "ide2: media=cdrom,file=none\n");
  CHECK(line("ide2: cdrom,media=cdrom") == "ide2: none,media=cdrom\n");
  CHECK(line("ide2: none,media=cdrom") == "ide2: none,media=cdrom\n");
  CHECK(line("ide0: data:vm-100-cloudinit,media=cdrom,size=4M") ==
        "ide0: copy:vm-99100-cloudinit,media=cdrom,size=4M\n");
  CHECK(line("scsi1: size=1G,file=data:vm-100-disk-0,iothread=1") ==
        "scsi1: size=1G,file=copy:vm-99100-disk-0-data,iothread=1\n");
  CHECK(line("virtio1:   data:base-9000-disk-0/vm-100-disk-1,size=20G") ==
        "virtio1:   copy:vm-99100-disk-1-data,size=20G\n");
  CHECK(line("scsi2: /dev/sdb").empty());
  CHECK(line("unused0: data:vm-100-disk-4").empty());
  CHECK(line("scsi1: data:vm-100-disk-0,backup=0").empty());
  // What is not known stays as it is: only storage and volume change.
  CHECK(line("scsi1: data:vm-100-disk-0,nonsense=0") == "scsi1: copy:vm-99100-disk-0-data,nonsense=0\n");
  CHECK(line("scsi1: new,cache=,file=data:vm-100-disk-0,=2") == "scsi1: new,cache=,file=copy:vm-99100-disk-0-data,=2\n");
  CHECK(line("nvme0: data:vm-100-disk-0,queues=4") == "nvme0: copy:vm-99100-disk-0-data,queues=4\n");
  CHECK(line("cicustom:  ") == "cicustom:  \n");
  CHECK(line("cicustom: ,") == "cicustom: ,\n");
  CHECK(line("cicustom: user=,meta= ") == "cicustom: user=,meta= \n");
}

TEST_CASE("rules change the replica's lines") {
  CHECK(
      make("net0: virtio,bridge=vmbr0,tag=20\n" + disk, 100, {"s/(net0:.*)tag=[0-9]+/\\1tag=1/", "s/vmbr0/vmbr9/"})
          .bytes == "net0: virtio,bridge=vmbr9,tag=1\n" + replica_disk + "onboot: 0\n");
  // They see what the replica has, and other options of a disk are theirs.
  CHECK(make(disk, 100, {"s/discard=on/discard=ignore/"}).bytes ==
        "scsi0: copy:vm-99100-disk-0-data,discard=ignore,size=32G\nonboot: 0\n");
  CHECK(make("name: a\n" + disk, 100, {"s/name: a/name: b/", "s/^name: b$/name: c/"}).bytes ==
        "name: c\n" + replica_disk + "onboot: 0\n");
}

TEST_CASE("rules do not touch what the replica's safety rests on") {
  CHECK(make("onboot: 1\nname: a\n", 100, {"s/onboot: 1/onboot: 0/", "s/name: a/lock: backup/"}).bytes ==
        "onboot: 0\n");
  CHECK(make("name: a\n", 100, {"s/name: a/onboot: 1/"}).bytes == "onboot: 0\n");
  const auto has = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(has(error_of(disk, "s/copy:/data:/"), "scsi0"));
  CHECK(has(error_of(disk, "s/vm-99100-disk-0/vm-99100-disk-1/"), "copy:vm-99100-disk-0-data"));
  CHECK(has(error_of(disk, "s/scsi0:/scsi1:/"), "scsi0"));
  CHECK(make(disk, 100, {"s/discard=on/nonsense=1/"}).bytes ==
        "scsi0: copy:vm-99100-disk-0-data,nonsense=1,size=32G\nonboot: 0\n");
  CHECK(has(error_of(disk, "s/,discard=on/,data:vm-100-disk-1/"), "scsi0"));
  CHECK(has(error_of(disk, "s/^scsi0.*//"), "scsi0"));
  CHECK(has(error_of("name: a\n" + disk, "s/name: a/scsi1: data:vm-100-disk-0/"), "scsi1"));
  CHECK(has(error_of("name: a\n" + disk, "s/name: a/[PENDING]/"), "[PENDING]"));
}

TEST_CASE("locks") {
  CHECK(with_lock("name: a\n\n[before]\nlock: x\n", "migrate") == "name: a\nlock: migrate\n\n[before]\nlock: x\n");
  CHECK(with_lock("lock: backup\nname: a\n", "migrate") == "lock: migrate\nname: a\n");
  CHECK(with_lock("name: a", "backup") == "name: a\nlock: backup");
  CHECK(with_lock("name: a\r\n", "backup") == "name: a\r\nlock: backup\r\n");
  CHECK(without_lock("name: a\nlock: backup\n") == "name: a\n");
  CHECK(without_lock("name: a\n") == "name: a\n");
  for (const std::string config : {"", "name: a\n", "name: a\n\n[x1]\nname: b\n", "\n\nname: a\r\n", "#x\n"}) {
    CAPTURE(config);
    CHECK(without_lock(with_lock(config, "backup")) == config);
  }
}
