#include "crossover/vm_config.hpp"

#include <doctest/doctest.h>

#include <random>

#include "crossover/error.hpp"

namespace {

using crossover::parse_vm_config;
using crossover::VmConfig;
using crossover::VmSectionKind;

}  // namespace

TEST_CASE("a value is replaced in its own line and nothing else moves") {
  struct Row {
    const char* before;
    const char* key;
    const char* value;
    const char* after;
  };
  const Row rows[] = {
      {"name: a\nmemory: 1\n", "memory", "2", "name: a\nmemory: 2\n"},
      {"name: a\r\nmemory:   1  \r\n", "memory", "2048", "name: a\r\nmemory:   2048  \r\n"},
      {"name: a", "memory", "2", "name: a\nmemory: 2"},
      {"name: a\r\nmemory: 1", "onboot", "0", "name: a\r\nmemory: 1\r\nonboot: 0"},
      {"", "lock", "backup", "lock: backup\n"},
      {"[PENDING]\nmemory: 1\n", "lock", "backup", "lock: backup\n[PENDING]\nmemory: 1\n"},
      {"name: a\n\n[s1]\nname: b\n", "lock", "backup", "name: a\nlock: backup\n\n[s1]\nname: b\n"},
      {"name: a\n\n\ncores: 2\n\n[s1]\nlock: x\n", "lock", "backup",
       "name: a\n\n\ncores: 2\nlock: backup\n\n[s1]\nlock: x\n"},
      {"cores: 1\ncores: 2\n", "cores", "3", "cores: 1\ncores: 3\n"},
      {"cores: 1\ncores: x\n", "cores", "3", "cores: 3\ncores: x\n"},
      {"newkey: 1\n", "newkey", "2", "newkey: 2\n"},
      {"cdrom: none,media=cdrom\n", "ide2", "none", "cdrom: none\n"},
      {"name:  \n", "name", "x", "name:  x\n"},
      {"name:x\n", "name", "y", "name:y\n"},
      {"name: a\n\n", "lock", "b", "name: a\nlock: b\n\n"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.before);
    VmConfig config = parse_vm_config(row.before);
    config.set(row.key, row.value);
    CHECK(config.to_bytes() == row.after);
  }
}

TEST_CASE("what cannot stand in a line is refused") {
  VmConfig config;
  const std::pair<const char*, const char*> bad[] = {{"", "x"},      {"Name", "x"},    {"a b", "x"},
                                                     {"a:", "x"},    {"name", ""},     {"name", " x"},
                                                     {"name", "x "}, {"name", "a\nb"}, {"name", "a\r"}};
  for (const auto& [key, value] : bad) {
    CHECK_THROWS_AS(config.set(key, value), crossover::Error);
  }
  CHECK(config.to_bytes().empty());
}

TEST_CASE("a later line overrides, but only if PVE accepts it") {
  CHECK(parse_vm_config("cores: 1\ncores: 2\n").get("cores") == "2");
  CHECK(parse_vm_config("cores: 1\ncores: x\n").get("cores") == "1");
  CHECK(parse_vm_config("cdrom: none,media=cdrom\nide2: none\n").get("cdrom") == "none");
  CHECK_FALSE(parse_vm_config("some-new-key: 1\n").get("some-new-key").has_value());
}

TEST_CASE("all lines of a key are removed") {
  VmConfig config = parse_vm_config("cores: 1\nname: a\ncores: 2\r\ncores: x\n\n[s1]\ncores: 4\n");
  CHECK(config.remove("cores"));
  CHECK(config.to_bytes() == "name: a\n\n[s1]\ncores: 4\n");
  CHECK_FALSE(config.remove("cores"));
}

TEST_CASE("a drive that only a newer Proxmox VE may have is kept, and said") {
  const VmConfig config = parse_vm_config("scsi31: data:vm-1-x\n");
  CHECK(config.get("scsi31") == "data:vm-1-x");
  CHECK(config.warnings().size() == 1);
}

TEST_CASE("values are read as PVE reads them") {
  struct Row {
    const char* line;
    const char* key;
    const char* value;  // null: dropped
  };
  const Row rows[] = {
      {"onboot: yes", "onboot", "1"},
      {"onboot: Off", "onboot", "0"},
      {"onboot: maybe", "onboot", nullptr},
      {"cores: 007", "cores", "7"},
      {"cores: -1", "cores", nullptr},
      {"cpulimit: 1.5", "cpulimit", "1.5"},
      {"cpulimit: .5", "cpulimit", nullptr},
      {"lock: \"backup\"", "lock", "backup"},
      {"lock: whatever", "lock", "whatever"},
      {"name: bad_name", "name", nullptr},
      {"name: a.b-c", "name", "a.b-c"},
      {"tags: Prod,web;B-2 prod", "tags", "Prod,web;B-2 prod"},
      {"tags: -x", "tags", nullptr},
      {"vmstate: a:b", "vmstate", nullptr},
      {"vmstate: aa:b", "vmstate", "aa:b"},
      {"startup: order=1,up=30", "startup", "order=1,up=30"},
      {"startup: later", "startup", nullptr},
      {"hotplug: network,disk", "hotplug", "network,disk"},
      {"hotplug: net", "hotplug", nullptr},
      {"args: -device 'a,b' -foo: x", "args", "-device 'a,b' -foo: x"},
      {"net31: virtio", "net31", "virtio"},
      {"net32: virtio", "net32", nullptr},
      {"net01: virtio", "net01", nullptr},
      {"amd-sev: std", "amd-sev", "std"},
      {"intel-tdx: tdx", "intel-tdx", "tdx"},
      {"allow-ksm: 0", "allow-ksm", "0"},
      {"running-nets-host-mtu: net0=1500", "running-nets-host-mtu", "net0=1500"},
      {"virtiofs9: x", "virtiofs9", "x"},
      {"digest: abc", "digest", nullptr},
      {"delete: cores", "delete", nullptr},
      {"name:x", "name", "x"},
      {"  name: x", "name", nullptr},
      {"Name: x", "Name", nullptr},
      {"name x", "name", nullptr},
  };
  for (const Row& row : rows) {
    CAPTURE(row.line);
    for (const char* ending : {"", "\n", "\r\n"}) {
      const VmConfig config = parse_vm_config(std::string(row.line) + ending);
      if (row.value != nullptr) {
        CHECK(config.get(row.key) == row.value);
        CHECK(config.warnings().empty());
      } else {
        CHECK_FALSE(config.get(row.key).has_value());
        CHECK(config.warnings().size() == 1);
      }
    }
  }
}

TEST_CASE("sections: any case, special ones, unknown ones skipped, repeated ones replaced") {
  const VmConfig config = parse_vm_config(
      "name: a\n"
      "[pending]\nmemory: 2\ndelete: cores,!net0\n"
      "[special:CLOUDINIT]\nanything: goes\n"
      "[special:fleecing]\nfleecing-images: data:vm-1-f,data:vm-1-g\ncores: 1\n"
      "[special:new]\nname: b\n"
      "[x]\nname: c\n"
      "[snap_1]  \nname: d\n"
      "[snap_1]\nname: e\n"
      "[open\n");
  CHECK(config.name() == "a");
  REQUIRE(config.section(VmSectionKind::pending) != nullptr);
  CHECK(config.section(VmSectionKind::pending)->get("delete") == "cores,!net0");
  CHECK(config.section(VmSectionKind::special, "cloudinit")->get("anything") == "goes");
  CHECK(config.section(VmSectionKind::special, "fleecing")->keys() == std::vector<std::string>{"fleecing-images"});
  CHECK(config.snapshot_names() == std::vector<std::string>{"snap_1"});
  CHECK(config.section(VmSectionKind::snapshot, "snap_1")->get("name") == "e");
  std::vector<std::string> reasons;
  for (const auto& warning : config.warnings()) {
    reasons.push_back(warning.reason);
  }
  CHECK(reasons == std::vector<std::string>{"unable to parse value of 'cores' - unknown setting 'cores'",
                                            "skipping unknown section: 'special:new'",
                                            "skipping unknown section: 'x'", "duplicate snapshot section: snap_1",
                                            "unable to parse config: [open"});
}

TEST_CASE("a key of a snapshot never counts for the main section") {
  const VmConfig config = parse_vm_config("memory: 1\n\n[s1]\nvmgenid: 1\ntags: prod\n");
  CHECK_FALSE(config.get("vmgenid").has_value());
  CHECK(config.tags().empty());
}

TEST_CASE("sections are removed with the blank lines in front of them") {
  const std::string text = "name: a\n\n[PENDING]\nmemory: 2\n\n[s1]\nname: b\n\n[s2]\nname: c";
  VmConfig config = parse_vm_config(text);
  CHECK(config.remove_section(VmSectionKind::snapshot, "s1"));
  CHECK(config.to_bytes() == "name: a\n\n[PENDING]\nmemory: 2\n\n[s2]\nname: c");
  CHECK(config.remove_section(VmSectionKind::pending));
  CHECK(config.to_bytes() == "name: a\n\n[s2]\nname: c");
  CHECK_FALSE(config.remove_section(VmSectionKind::snapshot, "s"));
  CHECK(config.remove_section(VmSectionKind::snapshot, "s2"));
  CHECK(config.to_bytes() == "name: a\n");
  CHECK_THROWS_AS(config.remove_section(VmSectionKind::main), crossover::Error);

  config = parse_vm_config(text);
  CHECK(config.keep_only_main());
  CHECK(config.to_bytes() == "name: a\n");
  CHECK_FALSE(config.keep_only_main());
}

TEST_CASE("the description is decoded, wherever its lines stand") {
  CHECK(parse_vm_config("#a%3Ab\nname: x\n#100%25 %C3%BC\n").description() == "a:b\n100% \xc3\xbc");
  CHECK(parse_vm_config("description: a%0Ab\n").description() == "a\nb");
  CHECK(parse_vm_config("#\n").description() == "");
  CHECK_FALSE(parse_vm_config("name: x\n").description().has_value());
  CHECK(crossover::encode_description_line("a:b 100% \xc3\xbc") == "a%3Ab 100%25 %C3%BC");
  CHECK(crossover::decode_description_line("%zz%4") == "%zz%4");
}

TEST_CASE("a VM without a name shows as PVE shows it") {
  CHECK(parse_vm_config("").display_name(105) == "VM 105");
  CHECK(parse_vm_config("name: web\n").display_name(105) == "web");
}

TEST_CASE("tags are exact") {
  const VmConfig config = parse_vm_config("tags: nonprod;B-2, Web\n");
  CHECK(config.tags() == std::set<std::string, std::less<>>{"B-2", "Web", "nonprod"});
  CHECK_FALSE(config.has_tag("prod"));
  CHECK(config.has_tag("web"));
  CHECK_FALSE(config.has_tag("web", true));
  CHECK(config.has_tag("Web", true));
}

TEST_CASE("lines of the main section can be replaced as text") {
  VmConfig config = parse_vm_config("name: a\r\n\n#x\n\n[s1]\nname: b");
  CHECK(config.main_lines() == std::vector<std::string>{"name: a", "", "#x", ""});
  config.replace_main_lines({"name: c", "", "#y", ""});
  CHECK(config.to_bytes() == "name: c\r\n\n#y\n\n[s1]\nname: b");
  CHECK_THROWS_AS(config.replace_main_lines({"name: c"}), crossover::Error);
  CHECK_THROWS_AS(config.replace_main_lines({"[s2]", "", "", ""}), crossover::Error);
  CHECK_THROWS_AS(config.replace_main_lines({"a\nb", "", "", ""}), crossover::Error);
}

TEST_CASE("any bytes come back as they were, and a change changes one line") {
  const std::vector<std::string> pieces = {"name: a",
                                           "memory: 512",
                                           "",
                                           " ",
                                           "\t",
                                           "[PENDING]",
                                           "[snap1]",
                                           "[x]",
                                           "[special:cloudinit]",
                                           "#text",
                                           "junk",
                                           "cores: x",
                                           "cores: 3",
                                           "lock:",
                                           "lock: ",
                                           "args: -a -b",
                                           "delete: name",
                                           "\xff\n",
                                           "scsi0: d:e",
                                           "\r",
                                           "snapstate: prepare",
                                           "a-b: c",
                                           "description: x",
                                           std::string("\0:", 2),
                                           "ide2: none,media=cdrom",
                                           "cdrom: none",
                                           ":",
                                           "]["};
  std::mt19937 random(20261123);
  for (int round = 0; round < 3000; ++round) {
    std::string bytes;
    const auto count = random() % 12;
    for (unsigned i = 0; i < count; ++i) {
      bytes += pieces[random() % pieces.size()];
      switch (random() % 4) {
        case 0:
          bytes += "\r\n";
          break;
        case 1:
          break;
        default:
          bytes += "\n";
      }
    }
    CAPTURE(bytes);
    VmConfig config = parse_vm_config(bytes);
    REQUIRE(config.to_bytes() == bytes);

    // Setting a value and reading it back; every other entry stays.
    const auto before = config;
    config.set("lock", "backup");
    REQUIRE(config.get("lock") == "backup");
    REQUIRE(config.sections().size() == before.sections().size());
    for (const std::string& key : before.keys()) {
      if (key != "lock") {
        REQUIRE(config.get(key) == before.get(key));
      }
    }
    for (std::size_t i = 1; i < config.sections().size(); ++i) {
      REQUIRE(config.sections()[i].keys() == before.sections()[i].keys());
    }
    config.remove("lock");
    REQUIRE_FALSE(config.get("lock").has_value());
    REQUIRE(parse_vm_config(config.to_bytes()) == config);

    auto same = before;
    same.replace_main_lines(before.main_lines());
    REQUIRE(same.to_bytes() == bytes);

    auto main_only = before;
    main_only.keep_only_main();
    REQUIRE(main_only.sections().size() == 1);
    REQUIRE(main_only.keys() == before.keys());
  }
}
