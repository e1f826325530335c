#include "crossover/cluster_files.hpp"

#include <doctest/doctest.h>

#include "crossover/byte_size.hpp"
#include "crossover/error.hpp"

namespace {

using namespace crossover;

}  // namespace

TEST_CASE("members of a cluster") {
  const ClusterMembers members = parse_members(R"({
"nodename": "pve1",
"version": 5,
"cluster": { "name": "lab", "version": 2, "nodes": 2, "quorate": 1 },
"nodelist": {
  "pve1": { "id": 1, "online": 1, "ip": "192.0.2.1"},
  "pve2": { "id": 2, "online": 0}
  }
}
)");
  CHECK(members.node == "pve1");
  CHECK(members.cluster == "lab");
  CHECK(members.clustered());
  CHECK(members.quorate);
  REQUIRE(members.nodes.size() == 2);
  CHECK(members.nodes.at("pve1") == ClusterNode{"pve1", 1, true, "192.0.2.1"});
  CHECK(members.nodes.at("pve2") == ClusterNode{"pve2", 2, false, ""});
  CHECK_FALSE(parse_members(R"({"nodename":"a","cluster":{"name":"c","quorate":0}})").quorate);
}

TEST_CASE("a node without a cluster") {
  const ClusterMembers members = parse_members("{\n\"nodename\": \"pve1\",\n\"version\": 0\n}\n");
  CHECK(members.node == "pve1");
  CHECK_FALSE(members.clustered());
  CHECK(members.quorate);
  CHECK(members.nodes.empty());
}

TEST_CASE("guests of a cluster") {
  const auto guests = parse_vmlist(R"({
"version": 10,
"ids": {
"300": { "node": "pve3", "type": "qemu", "version": 6 },
"99": { "node": "pve1", "type": "qemu", "version": 8 },
"201": { "node": "pve2", "type": "lxc", "version": 4 }}

}
)");
  CHECK(guests == std::map<Vmid, GuestLocation>{{201, {"pve2", GuestType::lxc}}, {300, {"pve3", GuestType::qemu}}});
  CHECK(parse_vmlist(R"({"version": 1})").empty());
  CHECK(to_string(GuestType::lxc) == "lxc");
}

TEST_CASE("what pmxcfs did not write is refused") {
  for (const char* text : {"", "x", "[]", "{}", R"({"nodename": 1})", R"({"nodename":"a","nodelist":{"b":{}}})",
                           R"({"nodename":"a","cluster":{}})"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(static_cast<void>(parse_members(text)), Error);
  }
  for (const char* text :
       {"", "[]", R"({"ids":{"x":{}}})", R"({"ids":{"100":{}}})", R"({"ids":{"100":{"type":"qemu"}}})"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(static_cast<void>(parse_vmlist(text)), Error);
  }
}

TEST_CASE("corosync.conf") {
  const CorosyncConfig config = parse_corosync_config(R"(logging {
  debug: off
}

nodelist {
  node {
    name: pve1
    nodeid: 1
    quorum_votes: 1
    ring0_addr: fd00::1
  }
  node {
    nodeid: 2
    ring0_addr: pve2
  }
}

totem {
  cluster_name: lab
  interface {
    linknumber: 0
  }
}
)");
  CHECK(config.cluster == "lab");
  CHECK(config.nodes.size() == 2);
  CHECK(config.nodes.at("pve1") == ClusterNode{"pve1", 1, false, "fd00::1"});
  CHECK(config.nodes.at("pve2") == ClusterNode{"pve2", 2, false, "pve2"});
  CHECK(parse_corosync_config("").cluster.empty());
  for (const char* text : {"}", "a {", "junk"}) {
    CHECK_THROWS_AS(static_cast<void>(parse_corosync_config(text)), Error);
  }
}

TEST_CASE("byte counts as the summary prints them") {
  CHECK(format_bytes(0) == "0 Bytes");
  CHECK(format_bytes(1023) == "1023 Bytes");
  CHECK(format_bytes(1024) == "1.00 KiB");
  CHECK(format_bytes(381846) == "372.89 KiB");
  CHECK(format_bytes(21474836480U) == "20.00 GiB");
  CHECK(format_bytes(1048575) == "1023.99 KiB");
  CHECK(format_bytes(UINT64_MAX) == "15.99 EiB");
}
