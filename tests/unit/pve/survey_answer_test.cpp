#include "pve/survey_answer.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "crossover/error.hpp"

using namespace crossover;

namespace {

std::string item(std::string_view kind, std::string_view name, std::string_view bytes) {
  return fmt::format("{} {} {}\n{}\n", kind, name, bytes.size(), bytes);
}

constexpr std::string_view members = R"({
"nodename": "pve1",
"version": 5,
"cluster": { "name": "lab", "version": 2, "nodes": 2, "quorate": 1 },
"nodelist": {
  "pve1": { "id": 1, "online": 1, "ip": "192.0.2.1"},
  "pve2": { "id": 2, "online": 0, "ip": "192.0.2.2"}
  }
}
)";

constexpr std::string_view vmlist = R"({
"version": 8,
"ids": {
"100": { "node": "pve1", "type": "qemu", "version": 6 },
"102": { "node": "pve2", "type": "lxc", "version": 6 },
"200": { "node": "pve2", "type": "qemu", "version": 3 }}

}
)";

constexpr std::string_view list =
    "      VMID NAME                 STATUS     MEM(MB)    BOOTDISK(GB) PID       \n"
    "       100 VM 100               running    512                4.00 26        \n"
    "       200 two words here       stopped    512                4.00 0         \n";

std::string answer() {
  return item("file", ".members", members) + item("file", ".vmlist", vmlist) +
         item("file", "nodes/pve1/qemu-server/100.conf", "name: a\n\nmemory: 1\r\nscsi0: x") +
         item("file", "nodes/pve2/qemu-server/200.conf", "") + item("file", "firewall/100.fw", "[RULES]\n") +
         item("file", "nodes/pve2/ssh_known_hosts", "pve2 ssh-rsa AAAA\n") +
         item("file", "ha/resources.cfg", "vm: 100\n\tstate started\n\nvm: 200\n\tstate ignored\n\n") +
         item("ceph", "data.keyring", "") + item("snippet", "local:snippets/hook.pl", "") +
         item("writable", "local", "1") + item("status", "qm-list", "0") + item("output", "qm-list", list) +
         item("status", "pveversion", "0") +
         item("output", "pveversion", "pve-manager/9.2.11/abc (running kernel: x)\n") +
         item("status", "ceph-version", "32512") + item("output", "ceph-version", "") + item("end", "survey", "");
}

}  // namespace

TEST_CASE("a survey's answer becomes the cluster it tells of") {
  const ClusterInventory cluster = cluster_inventory(parse_survey_answer(answer(), "pve1"), "pve1");
  CHECK(cluster.entry_node == "pve1");
  CHECK(cluster.name == "lab");
  CHECK(cluster.writable);
  REQUIRE(cluster.nodes.size() == 2);
  CHECK(cluster.nodes.at("pve1").online);
  CHECK(cluster.nodes.at("pve1").pve_version == "pve-manager/9.2.11/abc (running kernel: x)");
  CHECK_MESSAGE(cluster.nodes.at("pve1").ceph_version.empty(), "a command that failed has no version");
  CHECK_FALSE(cluster.nodes.at("pve2").online);
  CHECK(cluster.nodes.at("pve2").known_hosts == "pve2 ssh-rsa AAAA\n");
  REQUIRE(cluster.guests.size() == 2);
  CHECK(cluster.guests.at(100).config == "name: a\n\nmemory: 1\r\nscsi0: x");
  CHECK(cluster.guests.at(100).firewall == "[RULES]\n");
  CHECK(cluster.guests.at(100).power == Power::running);
  CHECK(cluster.guests.at(100).ha_state == "started");
  CHECK(cluster.guests.at(200).ha_state == "ignored");
  CHECK_MESSAGE(cluster.guests.at(200).power == Power::unknown, "pve1 cannot say whether a guest of pve2 runs");
  CHECK(cluster.containers == std::map<std::uint32_t, std::string>{{102, "pve2"}});
  CHECK(cluster.ceph_files.contains("data.keyring"));
  CHECK(cluster.snippets.contains("local:snippets/hook.pl"));
}

TEST_CASE("an answer that was cut anywhere is refused") {
  const std::string whole = answer();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK_THROWS_AS((void)parse_survey_answer(whole.substr(0, length), "pve1"), Error);
  }
}

TEST_CASE("a node without /etc/pve is told from an error") {
  try {
    (void)cluster_inventory(parse_survey_answer(item("end", "survey", ""), "box"), "box");
    FAIL("it was taken for a cluster");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::unsupported);
    CHECK(error.subject() == "box");
  }
}

TEST_CASE("a failed 'qm list' leaves the guests' power unknown") {
  std::string text = answer();
  const std::string ok = item("status", "qm-list", "0");
  text.replace(text.find(ok), ok.size(), item("status", "qm-list", "512"));
  CHECK(cluster_inventory(parse_survey_answer(text, "pve1"), "pve1").guests.at(100).power == Power::unknown);
}

TEST_CASE("a node without a cluster") {
  const std::string text = item("file", ".members", "{\n\"nodename\": \"solo\",\n\"version\": 0\n}\n") +
                           item("writable", "local", "1") + item("status", "qm-list", "0") +
                           item("output", "qm-list", "") + item("end", "survey", "");
  const ClusterInventory cluster = cluster_inventory(parse_survey_answer(text, "solo"), "solo");
  CHECK(cluster.entry_node == "solo");
  CHECK(cluster.nodes.at("solo").online);
}

TEST_CASE("names with blanks do not move the status of 'qm list'") {
  const auto powers = parse_qm_list(list);
  CHECK(powers == std::map<std::uint32_t, Power>{{100, Power::running}, {200, Power::stopped}});
  CHECK(parse_qm_list("").empty());
}

TEST_CASE("high availability's resources, in whatever state") {
  const auto states = parse_ha_resources(
      "vm: 100\n\tcomment state\n\tstate stopped\n\nct: 101\n\tstate started\n\n"
      "vm: 102\n\nvm: 103\n    state ignored\r\n\nvm: 1000\n\tstate disabled\n");
  CHECK(states == std::map<std::uint32_t, std::string>{
                      {100, "stopped"}, {102, "started"}, {103, "ignored"}, {1000, "disabled"}});
  CHECK(parse_ha_resources("").empty());
}

TEST_CASE("what high availability's manager is at") {
  CHECK(parse_ha_manager(R"({"master_node":"e1","service_status":{"ct:7":{"state":"started"},)"
                         R"("vm:100":{"node":"e1","state":"error","uid":"x"},"vm:x":{"state":"started"}}})") ==
        HaManager{"", {{100, "error"}}});
  CHECK(parse_ha_manager(R"({"disarm":{"mode":"freeze","state":"disarmed"},"service_status":{}})") ==
        HaManager{"freeze", {}});
  for (const char* odd : {"", "{", "[]", "1", R"({"disarm":1,"service_status":[]})",
                          R"({"disarm":{"mode":3},"service_status":{"vm:9999999999":{}}})"}) {
    CHECK(parse_ha_manager(odd) == HaManager{});
  }
}

TEST_CASE("custom CPU models") {
  CHECK(parse_cpu_models("# mine\ncpu-model: avx\n    flags +avx;+avx2\n    reported-model kvm64\n\n"
                         "cpu-model: plain-1\n") == std::set<std::string>{"avx", "plain-1"});
  CHECK(parse_cpu_models("").empty());
}

TEST_CASE("mapped devices, and the nodes that have them") {
  CHECK(parse_device_mappings("gpu\n\tcomment node=w9\n\tmap id=10de:2230,node=w1,path=0000:01:00.0\n"
                              "\tmap node=w2,path=0000:02:00.0\n\nempty\n") ==
        std::map<std::string, std::set<std::string>>{{"empty", {}}, {"gpu", {"w1", "w2"}}});
  CHECK(parse_device_mappings("").empty());
}

TEST_CASE("Open vSwitch's bridges among other interfaces") {
  constexpr std::string_view text =
      "auto lo\niface lo inet loopback\n\n"
      "auto vmbr0\niface vmbr0 inet static\n\taddress 192.0.2.1/24\n\tbridge-ports eno1\n\n"
      "auto vmbr1\niface vmbr1 inet manual\n\tovs_type OVSBridge\n\tovs_ports bond0 vlan50\n#a comment\n\n"
      "allow-vmbr1 bond0\niface bond0 inet manual\n\tovs_bridge vmbr1\n\tovs_type OVSBond\n\n"
      "iface vmbr2 inet manual\n\tovs_type   OVSBridge \n"
      "source /etc/network/interfaces.d/*\n\tovs_type OVSBridge\n";
  CHECK(parse_ovs_bridges(text) == std::set<std::string>{"vmbr1", "vmbr2"});
  CHECK(parse_ovs_bridges("\tovs_type OVSBridge\n").empty());
}

TEST_CASE("QEMU's version") {
  CHECK(parse_qemu_version("QEMU emulator version 10.1.2 (pve-qemu-kvm_10.1.2-3)\nCopyright (c)\n") == "10.1.2");
  CHECK(parse_qemu_version("QEMU emulator version 9.0.2") == "9.0.2");
  CHECK(parse_qemu_version("kvm: not found").empty());
}
