#include "crossover/drive.hpp"

#include <doctest/doctest.h>

#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"

namespace {

using namespace crossover;

Drive drive(std::string_view key, std::string_view text) {
  return parse_drive(parse_drive_key(key).value(), text);
}

std::string refusal(std::string_view key, std::string_view text) {
  try {
    static_cast<void>(drive(key, text));
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::format);
    return error.cause();
  }
  return {};
}

}  // namespace

TEST_CASE("drive keys") {
  for (const char* key : {"ide0", "ide3", "sata5", "scsi30", "virtio15", "efidisk0", "tpmstate0", "unused255"}) {
    REQUIRE(parse_drive_key(key).has_value());
    CHECK(to_string(*parse_drive_key(key)) == key);
  }
  CHECK(to_string(parse_drive_key("cdrom").value()) == "ide2");
  for (const char* key : {"ide4", "sata6", "scsi31", "virtio16", "efidisk1", "unused256", "scsi01", "scsi",
                          "scsi1x", "xscsi1", "net0", "virtiofs0", "scsihw", ""}) {
    CHECK_FALSE(parse_drive_key(key).has_value());
  }
}

TEST_CASE("a volume is replaced and every other byte stays") {
  struct Row {
    const char* key;
    const char* before;
    const char* after;
  };
  const Row rows[] = {
      {"scsi0", "ceph-ssd:vm-100-disk-0,discard=on,iothread=1,size=32G,ssd=1",
       "b_c.d:vm-1-x,discard=on,iothread=1,size=32G,ssd=1"},
      {"sata0", "size=4G,file=data:vm-103-disk-0", "size=4G,file=b_c.d:vm-1-x"},
      {"sata0", "size=4G,volume=data:vm-103-disk-0,backup=no", "size=4G,volume=b_c.d:vm-1-x,backup=no"},
      {"sata0", "size=4G,data:vm-103-disk-0", "size=4G,b_c.d:vm-1-x"},
      {"efidisk0", "data:vm-101-disk-0,efitype=4m,pre-enrolled-keys=1,size=528K",
       "b_c.d:vm-1-x,efitype=4m,pre-enrolled-keys=1,size=528K"},
      {"unused0", "data:vm-101-disk-4", "b_c.d:vm-1-x"},
      {"scsi1", "data:x-y,,cache=none, ,", "b_c.d:vm-1-x,,cache=none, ,"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.before);
    Drive d = drive(row.key, row.before);
    CHECK(d.text() == row.before);
    d.set_volume("b_c.d:vm-1-x");
    CHECK(d.text() == row.after);
    CHECK(d.volume() == Volume{VolumeKind::storage, "b_c.d", "vm-1-x"});
  }
}

TEST_CASE("options are read, changed and removed in place") {
  Drive d = drive("scsi0", "cache=none,data:vm-1-disk-0,backup=No,bps_rd_length=3,size=10240M");
  CHECK(d.get("cache") == "none");
  CHECK(d.get("bps_rd_max_length") == "3");
  CHECK_FALSE(d.get("file").has_value());
  CHECK_FALSE(d.flag("backup", true));
  CHECK(d.size_bytes() == 10737418240U);
  CHECK(d.options().front() == DriveOption{"cache", "none"});
  d.set("size", format_drive_size(10737418240U));
  d.set("iothread", "1");
  CHECK(d.remove("cache"));
  CHECK_FALSE(d.remove("cache"));
  CHECK(d.text() == "data:vm-1-disk-0,backup=No,bps_rd_length=3,size=10G,iothread=1");
  d.set_volume("none");
  CHECK(d.text() == "none,backup=No,bps_rd_length=3,size=10G,iothread=1");
  CHECK_THROWS_AS(d.set_volume("a,b"), Error);
  CHECK_THROWS_AS(d.set_volume("x=y:z"), Error);
  CHECK_THROWS_AS(d.set_volume(""), Error);
  CHECK_THROWS_AS(d.set("a=b", "1"), Error);
  CHECK_THROWS_AS(d.set("file", "1"), Error);
}

TEST_CASE("what PVE would drop is refused in its words") {
  CHECK(refusal("scsi0", "data:x-y,newopt=7") ==
        "format error\nnewopt: property is not defined in schema and the schema does not allow additional "
        "properties");
  CHECK(refusal("scsi0", "size=1G") == "format error\nfile: property is missing and it is not optional");
  CHECK(refusal("scsi0", "foo") == "format error\nfile: invalid format - unable to parse volume ID 'foo'");
  CHECK(refusal("scsi0", "data:x,size=1G,size=2G") == "duplicate key in comma-separated list property: size");
  CHECK(refusal("scsi0", "data:x,file=data:y") == "duplicate key in comma-separated list property: file");
  CHECK(refusal("scsi0", "data:x,cache=") == "missing key in comma-separated list property");
  for (const auto& [key, text] :
       std::initializer_list<std::pair<const char*, const char*>>{{"scsi0", "data:x,cache=fast"},
                                                                  {"scsi0", "data:x,backup=2"},
                                                                  {"scsi0", "data:x,size=big"},
                                                                  {"scsi0", "data:x,queues=1"},
                                                                  {"scsi0", "data:x,wwn=0x12"},
                                                                  {"virtio0", "data:x,ssd=1"},
                                                                  {"sata0", "data:x,iothread=1"},
                                                                  {"efidisk0", "data:x,backup=0"},
                                                                  {"unused0", "data:x,size=1G"},
                                                                  {"unused0", "none"},
                                                                  {"scsi0", "data:x,serial=a b"},
                                                                  {"tpmstate0", "data:x,version=v3"}}) {
    CAPTURE(text);
    CHECK_FALSE(refusal(key, text).empty());
  }
  for (const auto& [key, text] : std::initializer_list<std::pair<const char*, const char*>>{
           {"scsi0", "data:x,queues=4,ro=on,product=Q D,vendor=me,wwn=0x5000c500a0b1c2d3,mbps_rd=1.5e1"},
           {"ide0", "cdrom,media=cdrom"},
           {"ide0", "/dev/sr0,media=cdrom"},
           {"efidisk0", "data:x,ms-cert=2023w"},
           {"efidisk0", "data:x,ms-cert=2023k"},
           {"sata0", "data:x,serial=A%20b,shared=1,detect_zeroes=off,aio=io_uring"}}) {
    CAPTURE(text);
    CHECK(refusal(key, text).empty());
  }
}

TEST_CASE("a line of a newer PVE can still be read for its volume") {
  const Drive d = parse_drive({DriveBus::scsi, 0}, "data:vm-1-x,newopt=7", DriveCheck::volume);
  CHECK(d.volume().name == "vm-1-x");
  const VmConfig config =
      parse_vm_config("scsi0: data:vm-1-x,newopt=7\nscsi1: data:vm-1-y\nscsi2: size=1G\nnvme0: data:vm-1-z\n");
  const std::vector<Drive> drives = drives_of(config);
  REQUIRE(drives.size() == 3);
  CHECK(to_string(drives[0].key()) == "scsi0");
  CHECK(drives[0].get("newopt") == "7");
  CHECK(to_string(drives[2].key()) == "nvme0");
  CHECK(drives[2].key().bus == DriveBus::other);
  REQUIRE(dropped_drives(config).size() == 1);
  CHECK(dropped_drives(config)[0].first == "scsi2");
  CHECK(config.warnings().size() == 3);
  CHECK(config.main().entries[0].newer);
  CHECK_FALSE(config.main().entries[1].newer);
}

TEST_CASE("what can only be the volume of a line is, whatever stands beside it") {
  struct Line {
    const char* text;
    const char* volume;  // nullptr: none can be told
  };
  const Line lines[] = {
      {"data:vm-1-x,cache=", "data:vm-1-x"},
      {"data:vm-1-x,=1", "data:vm-1-x"},
      {"data:vm-1-x,flag", "data:vm-1-x"},
      {"flag,data:vm-1-x", "data:vm-1-x"},
      {"data:vm-1-x,size=1G,size=2G", "data:vm-1-x"},
      {"size=1G,new=a:b,volume=data:vm-1-x", "data:vm-1-x"},
      {"file=data:vm-1-x,none", "data:vm-1-x"},
      {", data:vm-1-x", nullptr},
      {",data:vm-1-x,,", "data:vm-1-x"},
      {"/dev/sdb,new=1", "/dev/sdb"},
      {"none,new=1", "none"},
      {"data:vm-1-x,data:vm-1-y", nullptr},
      {"file=data:vm-1-x,volume=data:vm-1-y", nullptr},
      {"data:,new=1", nullptr},
      {"new=data:vm-1-x", nullptr},
      {"", nullptr},
  };
  for (const Line& line : lines) {
    CAPTURE(line.text);
    if (line.volume == nullptr) {
      CHECK_THROWS_AS((void)read_drive("scsi0", line.text), Error);
      continue;
    }
    Drive read = read_drive("scsi0", line.text);
    CHECK(read.volume_text() == line.volume);
    CHECK(read.text() == line.text);
    std::string replaced = line.text;
    replaced.replace(replaced.find(line.volume), std::string(line.volume).size(), "copy:vm-9-x");
    read.set_volume("copy:vm-9-x");
    CHECK(read.text() == replaced);
  }
  Drive twice = read_drive("scsi0", "size=1G,data:vm-1-x,size=2G,flag,=7");
  CHECK(twice.get("size") == "1G");
  CHECK(twice.get("flag") == "");
  CHECK(twice.options().size() == 4);
  CHECK(twice.remove("size"));
  CHECK(twice.remove("flag"));
  CHECK(twice.remove(""));
  CHECK(twice.text() == "data:vm-1-x");
}

TEST_CASE("a key that is not known is a drive if its value names a guest's volume") {
  for (const char* value : {"data:vm-1-disk-0", "data:base-1-disk-0,new=1", "file=data:vm-1-x",
                            "files:1/vm-1-disk-0.raw", "data:base-2-x/vm-1-disk-0,size=1G"}) {
    CHECK(is_unknown_drive("nvme0", value));
  }
  for (const char* value : {"1", "local:snippets/x.pl", "local:iso/vm-1.iso", "data:vm-x-1", "data:image",
                            "/dev/vm-1-x", "none", "new=data:vm-1-x", "data:vm-1-x,data:vm-1-y", "vm-1-disk-0"}) {
    CHECK_FALSE(is_unknown_drive("nvme0", value));
  }
}

TEST_CASE("what counts as CD, as cloud-init, as part of a backup") {
  CHECK(drive("ide2", "none,media=cdrom").is_cdrom());
  CHECK_FALSE(drive("ide2", "none").is_cdrom());
  CHECK_FALSE(drive("scsi0", "data:vm-1-disk-0,cache=none").is_cdrom());
  for (const char* volume :
       {"d1:vm-100-cloudinit", "d1:100/vm-100-cloudinit.qcow2", "d1:cloudinit", "/x/cloudinit.raw"}) {
    CHECK(drive("scsi3", volume).is_cloudinit());
  }
  for (const char* volume : {"d1:vm-100-cloudinit2", "d1:vm--cloudinit", "d1:xvm-100-cloudinit", "d1:vm-100-disk-0",
                             "d1:vm-100-cloudinit.iso"}) {
    CHECK_FALSE(drive("scsi3", volume).is_cloudinit());
  }
  CHECK(drive("scsi0", "data:x,cache=none").in_backup(""));
  for (const char* no : {"0", "no", "Off", "FALSE"}) {
    CHECK_FALSE(drive("scsi0", std::string("data:x,backup=") + no).in_backup(""));
  }
  CHECK(drive("efidisk0", "data:x").in_backup("ovmf"));
  CHECK_FALSE(drive("efidisk0", "data:x").in_backup(""));
  CHECK(drive("tpmstate0", "data:x").in_backup(""));
  CHECK_FALSE(drive("unused0", "data:x").in_backup("ovmf"));
  CHECK_FALSE(drive("ide2", "none,media=cdrom").in_backup(""));
}

TEST_CASE("sizes") {
  CHECK(parse_drive_size("528K") == 540672U);
  CHECK(parse_drive_size("4MiB") == 4194304U);
  CHECK(parse_drive_size("1.5G") == 1610612736U);
  CHECK(parse_drive_size("2T") == 2199023255552U);
  CHECK(parse_drive_size("100") == 100U);
  for (const char* bad : {"", "G", "1X", "-1", "1.", ".5", "1g", "99999999999999T", "1iB", "1 G"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_drive_size(bad).has_value());
  }
  CHECK(format_drive_size(34359738368U) == "32G");
  CHECK(format_drive_size(540672) == "528K");
  CHECK(format_drive_size(1000) == "1000");
  CHECK(format_drive_size(0) == "0");
  CHECK(format_drive_size(std::uint64_t{1} << 52) == "4096T");
}

TEST_CASE("volumes") {
  for (const char* text : {"ceph-ssd:vm-100-disk-0", "a.b_c-d:base-9000-disk-0/vm-1-x", "/dev/disk/by-id/ata",
                           "none", "cdrom", "local:iso/x.iso"}) {
    CHECK(to_string(parse_volume(text)) == text);
  }
  for (const char* text : {"", "foo", "a:b", "1a:b", "ab:", "a-:b", "a b:c"}) {
    CHECK_THROWS_AS(static_cast<void>(parse_volume(text)), Error);
  }
}

TEST_CASE("RBD volume names are taken apart as PVE's storage code does") {
  struct Row {
    const char* name;
    const char* image;
    const char* owner;
    const char* base;
    const char* base_owner;
    bool is_base;
  };
  // From a run of PVE's own parser (pvesm path).
  const Row rows[] = {
      {"vm-100-disk-0", "vm-100-disk-0", "100", "", "", false},
      {"vm-100-disk-0-data", "vm-100-disk-0-data", "100", "", "", false},
      {"base-9000-disk-0", "base-9000-disk-0", "9000", "", "", true},
      {"base-9000-disk-0/vm-101-disk-0", "vm-101-disk-0", "101", "base-9000-disk-0", "9000", false},
      {"vm-100-cloudinit", "vm-100-cloudinit", "100", "", "", false},
      {"vm-100-state-x", "vm-100-state-x", "100", "", "", false},
      {"-100-foo", "-100-foo", "100", "", "", false},
      {"basevm-1-x", "basevm-1-x", "1", "", "", true},
      {"vm-100-disk-0/vm-2-x", "vm-100-disk-0/vm-2-x", "100", "", "", false},
      {"base-1-x/base-2-y", "base-2-y", "2", "base-1-x", "1", true},
      {"vm-0100-disk-1", "vm-0100-disk-1", "0100", "", "", false},
      {"vm-100-disk-0@s", "vm-100-disk-0@s", "100", "", "", false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    const RbdVolumeName name = parse_rbd_volume_name(row.name);
    CHECK(name == RbdVolumeName{row.image, row.owner, row.base, row.base_owner, row.is_base});
  }
  for (const char* name :
       {"vm-100-", "foo", "subvol-100-disk-0", "vm-abc-disk-0", "xvm-100-disk-0", "vm-100-a b", ""}) {
    CAPTURE(name);
    CHECK_THROWS_WITH_AS(static_cast<void>(parse_rbd_volume_name(name)),
                         doctest::Contains(("unable to parse rbd volume name '" + std::string(name) + "'").c_str()),
                         Error);
  }
  CHECK(parse_rbd_volume_name("vm-0100-x").owned_by(100));
  CHECK_FALSE(parse_rbd_volume_name("vm-1000-x").owned_by(100));
}
