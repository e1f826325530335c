#include "crossover/storage_config.hpp"

#include <doctest/doctest.h>

#include "crossover/error.hpp"

namespace {

using namespace crossover;

std::vector<std::string> texts(const StorageConfig& config) {
  std::vector<std::string> result;
  for (const auto& warning : config.warnings) {
    result.push_back(to_string(warning));
  }
  return result;
}

constexpr const char* fsid = "8f1b9d1e-0c6c-4c2c-9a3b-3d5b8f7a1234";

// The storages behind the recorded run of `pvesm path`.
constexpr const char* recorded = R"(dir: local
	path /var/lib/vz
	content iso,vztmpl,backup

rbd: ceph-ssd
	content images,rootdir
	krbd 0
	pool ssdpool

rbd: kr
	krbd 1
	pool ssdpool

rbd: ns
	pool ecmeta
	namespace nsa
	data-pool ecdata

rbd: ext
	pool rbd2
	monhost 10.0.0.1 10.0.0.2:6789;[fd00::1]
	username backup

rbd: noauth
	monhost 10.0.0.9

rbd: off
	pool p
	disable
)";

}  // namespace

TEST_CASE("paths come out as pvesm prints them") {
  const StorageConfig config = parse_storage_config(recorded);
  CHECK(config.warnings.empty());
  struct Row {
    const char* storage;
    const char* volname;
    bool keyring;
    const char* path;
  };
  const Row rows[] = {
      {"ceph-ssd", "vm-100-disk-0", true,
       "rbd:ssdpool/vm-100-disk-0:conf=/etc/pve/ceph.conf:id=admin:keyring=/etc/pve/priv/ceph/ceph-ssd.keyring"},
      {"kr", "vm-100-disk-0", true, "/dev/rbd-pve/8f1b9d1e-0c6c-4c2c-9a3b-3d5b8f7a1234/ssdpool/vm-100-disk-0"},
      {"ns", "vm-100-disk-0", true,
       "rbd:ecmeta/nsa/vm-100-disk-0:conf=/etc/pve/ceph.conf:id=admin:keyring=/etc/pve/priv/ceph/ns.keyring"},
      {"ext", "vm-100-disk-0", true,
       "rbd:rbd2/"
       "vm-100-disk-0:mon_host=10.0.0.1;10.0.0.2\\:6789;[fd00\\:\\:1]:auth_supported=cephx:id=backup:keyring="
       "/etc/pve/priv/ceph/ext.keyring"},
      {"noauth", "vm-100-disk-0", false, "rbd:rbd/vm-100-disk-0:mon_host=10.0.0.9:auth_supported=none"},
      {"ceph-ssd", "base-9000-disk-0/vm-101-disk-0", true,
       "rbd:ssdpool/vm-101-disk-0:conf=/etc/pve/ceph.conf:id=admin:keyring=/etc/pve/priv/ceph/ceph-ssd.keyring"},
      {"kr", "base-9000-disk-0/vm-101-disk-0", true,
       "/dev/rbd-pve/8f1b9d1e-0c6c-4c2c-9a3b-3d5b8f7a1234/ssdpool/vm-101-disk-0"},
      {"ceph-ssd", "base-9000-disk-0", true,
       "rbd:ssdpool/base-9000-disk-0:conf=/etc/pve/ceph.conf:id=admin:keyring=/etc/pve/priv/ceph/ceph-ssd.keyring"},
      {"ceph-ssd", "vm-100-disk-0-data", true,
       "rbd:ssdpool/vm-100-disk-0-data:conf=/etc/pve/ceph.conf:id=admin:keyring=/etc/pve/priv/ceph/"
       "ceph-ssd.keyring"},
      {"ceph-ssd", "vm-100-disk-0@snap", true,
       "rbd:ssdpool/vm-100-disk-0@snap:conf=/etc/pve/ceph.conf:id=admin:keyring=/etc/pve/priv/ceph/"
       "ceph-ssd.keyring"},
      {"off", "vm-1-disk-0", false, "rbd:p/vm-1-disk-0:conf=/etc/pve/ceph.conf"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.path);
    const auto storage = config.rbd(row.storage);
    REQUIRE(storage.has_value());
    CHECK(pvesm_path(*storage, row.volname, ceph_access(*storage, row.keyring, false), fsid) == row.path);
  }
  const auto storage = config.rbd("ceph-ssd").value();
  for (const char* bad : {"foo", "vm-abc-disk-0"}) {
    CHECK_THROWS_WITH_AS(static_cast<void>(pvesm_path(storage, bad, ceph_access(storage, true, false))),
                         doctest::Contains("unable to parse rbd volume name"), Error);
  }
  const auto kr = config.rbd("kr").value();
  CHECK_THROWS_WITH_AS(static_cast<void>(pvesm_path(kr, "vm-1-x", ceph_access(kr, true, false), "nonsense")),
                       doctest::Contains("cluster fsid has invalid format"), Error);
}

TEST_CASE("how the Ceph cluster behind a storage is reached") {
  const StorageConfig config = parse_storage_config(recorded);
  CHECK(ceph_access(config.rbd("ceph-ssd").value(), true, true) ==
        CephAccess{"/etc/pve/ceph.conf", {}, "admin", "/etc/pve/priv/ceph/ceph-ssd.keyring"});
  CHECK(ceph_access(config.rbd("ceph-ssd").value(), false, false) ==
        CephAccess{"/etc/pve/ceph.conf", {}, "admin", ""});
  CHECK(ceph_access(config.rbd("ext").value(), true, true) == CephAccess{"/etc/pve/priv/ceph/ext.conf",
                                                                         {"10.0.0.1", "10.0.0.2:6789", "[fd00::1]"},
                                                                         "backup",
                                                                         "/etc/pve/priv/ceph/ext.keyring"});
  CHECK(ceph_access(config.rbd("ext").value(), true, false).conf.empty());
  CHECK(image_spec(config.rbd("ns").value(), "base-1-x/vm-2-y") == ImageSpec{"ecmeta", "nsa", "vm-2-y"});
}

TEST_CASE("members of rbd storages and their defaults") {
  const StorageConfig config = parse_storage_config(recorded);
  RbdStorage ns;
  ns.id = "ns";
  ns.pool = "ecmeta";
  ns.rados_namespace = "nsa";
  ns.data_pool = "ecdata";
  CHECK(config.rbd("ns") == ns);
  CHECK(config.rbd("noauth")->pool == "rbd");
  CHECK(config.rbd("kr")->krbd);
  CHECK(config.rbd("off")->disabled);
  CHECK(config.rbd("ceph-ssd")->content == std::set<std::string, std::less<>>{"images", "rootdir"});
  CHECK(config.rbd_storages().size() == 6);
  CHECK_FALSE(config.rbd("local").has_value());
  CHECK_FALSE(config.rbd("ceph").has_value());  // no match on part of a name
}

TEST_CASE("a header without a blank line before it is ignored and its lines fall to the section above") {
  // From the recorded run that gave these two warnings.
  const StorageConfig config = parse_storage_config(R"(rbd: rbd
	pool ssdpool
	content images,rootdir
	nodes pve1,pve2

rbd: ec
	pool ecmeta
	data-pool ecdata
	krbd 1
	content images

rbd: off
	disable
	pool x
rbd: nogap
	pool y
)");
  CHECK(texts(config) == std::vector<std::string>{
                             "file /etc/pve/storage.cfg line 15 (section 'off') - ignore config line: rbd: nogap",
                             "file /etc/pve/storage.cfg line 16 (section 'off') - unable to parse value of 'pool': "
                             "duplicate attribute"});
  CHECK(config.find("nogap") == nullptr);
  CHECK(config.rbd("off")->pool == "x");
  CHECK(config.rbd("off")->disabled);
  REQUIRE(config.find("local") != nullptr);
  CHECK(config.find("local")->type == "dir");
}

TEST_CASE("grammar at its edges") {
  SUBCASE("comments count as lines and end nothing") {
    const StorageConfig config = parse_storage_config("# top\nrbd: aa\n\t# inside\n\tpool p\n  # more\n\tbad\n");
    CHECK(config.rbd("aa")->pool == "p");
    REQUIRE(config.warnings.size() == 1);
    CHECK(config.warnings[0].line == 6);
  }
  SUBCASE("the type is lower-cased, white space is free, CRLF is tolerated") {
    const StorageConfig config = parse_storage_config("RBD:a_b.c-d   \r\n  pool \t p q \r\n\tdisable \r\n");
    REQUIRE(config.rbd("a_b.c-d").has_value());
    CHECK(config.rbd("a_b.c-d")->pool == "p q");
    CHECK(config.rbd("a_b.c-d")->disabled);
  }
  SUBCASE("a line with a space in it does not end a section") {
    const StorageConfig config = parse_storage_config("rbd: aa\n \nrbd: bb\n");
    CHECK(config.find("bb") == nullptr);
    CHECK(config.warnings.size() == 2);
  }
  SUBCASE("bad ids") {
    for (const char* id : {"a", "1a", "a-", "a/b", "a+b"}) {
      const StorageConfig config = parse_storage_config(std::string("rbd: ") + id + "\n\tpool x\n");
      CHECK(config.rbd_storages().empty());
      CHECK(config.warnings.size() == 1);
    }
  }
  SUBCASE("properties PVE refuses leave the default") {
    const StorageConfig config = parse_storage_config(
        "rbd: aa\n\tkrbd yes\n\tcolour red\n\tmonhost a_b\n\tpool\n\tdisable 0\n\tcontent images,iso\n");
    const auto storage = config.rbd("aa").value();
    CHECK_FALSE(storage.krbd);
    CHECK_FALSE(storage.external);
    CHECK(storage.pool == "rbd");
    CHECK_FALSE(storage.disabled);
    CHECK(storage.content == std::set<std::string, std::less<>>{"images"});
    CHECK(config.warnings.size() == 5);
  }
  SUBCASE("a section without any content type that fits is skipped") {
    CHECK(parse_storage_config("rbd: aa\n\tcontent iso\n").rbd_storages().empty());
  }
  SUBCASE("a later section of the same id takes the place of the earlier") {
    CHECK(parse_storage_config("rbd: aa\n\tpool x\n\nrbd: aa\n\tpool y\n").rbd("aa")->pool == "y");
  }
  SUBCASE("local is always the directory") {
    const StorageConfig config = parse_storage_config("rbd: local\n\tpool x\n");
    CHECK(config.find("local")->type == "dir");
    CHECK(config.rbd_storages().empty());
    CHECK_FALSE(parse_storage_config("dir: local\n\tnodes pve1\n").find("local")->nodes.has_value());
  }
  SUBCASE("an empty file, and lines outside of sections") {
    CHECK(parse_storage_config("").storages.size() == 1);
    CHECK(texts(parse_storage_config("junk\n")) ==
          std::vector<std::string>{"file /etc/pve/storage.cfg line 1 - ignore config line: junk"});
  }
  SUBCASE("types of plug-ins stay, with a warning") {
    const StorageConfig config = parse_storage_config("linstor: ls\n\tcontroller 10.0.0.1\n");
    REQUIRE(config.find("ls") != nullptr);
    CHECK(config.find("ls")->get("controller") == "10.0.0.1");
    CHECK(config.warnings.size() == 1);
  }
}

TEST_CASE("monitors in all the ways they can be written") {
  const auto monitors = [](const std::string& monhost) {
    return parse_storage_config("rbd: aa\n\tmonhost " + monhost + "\n").rbd("aa")->monitors;
  };
  using List = std::vector<std::string>;
  CHECK(monitors("10.0.0.1,10.0.0.2;mon-3.lab") == List{"10.0.0.1", "10.0.0.2", "mon-3.lab"});
  CHECK(monitors("[fd00::1]:3300 fd00::2 fd00::3.6789") == List{"[fd00::1]:3300", "[fd00::2]", "[fd00::3]:6789"});
  CHECK(monitors("[10.0.0.1]:6789") == List{"10.0.0.1:6789"});
  CHECK(monitors("10.0.0.1:x").empty());
  CHECK(monitors("[fd00::1").empty());
}

TEST_CASE("a storage is available where it may be used") {
  const StorageConfig config =
      parse_storage_config("rbd: aa\n\tnodes pve1,pve2\n\nrbd: bb\n\tdisable\n\nrbd: cc\n\tpool x\n");
  CHECK(is_available(config.rbd("aa").value(), "pve1"));
  CHECK_FALSE(is_available(config.rbd("aa").value(), "pve"));
  CHECK_FALSE(is_available(config.rbd("bb").value(), "pve1"));
  CHECK(is_available(*config.find("cc"), "pve9"));
}
