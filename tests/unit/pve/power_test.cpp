// Guests' power on a node whose commands are the lab's stand-ins: what they print and how they end is taken for
// what it means.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <stop_token>
#include <thread>

#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"
#include "pve/pve_cluster.hpp"
#include "support/stand_in_node.hpp"

using namespace crossover;
using namespace crossover::test;
using std::chrono::seconds;

namespace {

struct Stage {
  StandInNode node;
  PveCluster cluster{node, [](const NodeState&) -> std::unique_ptr<Shell> {
                       FAIL("there is no other node");
                       return nullptr;
                     }};

  void shut_down(seconds timeout = seconds(20), bool force = false) {
    cluster.shut_down("pve1", 100, timeout, force, {});
  }
  Power power() { return cluster.power("pve1", 100, {}); }
  bool agent_answers(std::uint32_t vmid = 100) { return cluster.agent_answers("pve1", vmid, {}); }
  /// Lets `qm VERB` do something else, in the shell's language; what goes on after it is the stand-in.
  void change_qm(const std::string& verb, const std::string& script) {
    node.add_command("qm", fmt::format("if [ $1 = {} ]; then {}; fi\nexec $STAND_INS/qm \"$@\"", verb, script));
  }
  std::string resources() { return node.read("/etc/pve/ha/resources.cfg").value_or(""); }
  std::string manager_status() { return node.read("/etc/pve/ha/manager_status").value_or(""); }
};

/// Fails unless `action` throws an error of this kind with these words in it.
void refused(const std::function<void()>& action, ErrorCode code, const std::string& words) {
  std::optional<Error> error;
  try {
    action();
  } catch (const Error& thrown) {
    error = thrown;
  }
  REQUIRE(error);
  CHECK_MESSAGE(error->code() == code, std::string(error->what()));
  CHECK_MESSAGE(error->cause().find(words) != std::string::npos, std::string(error->what()));
}

}  // namespace

TEST_CASE_FIXTURE(Stage, "a guest is shut down with one command, and one that is stopped as well") {
  node.put_guest(100, "memory: 512\n");
  node.run_guest(100);
  CHECK(power() == Power::running);
  node.add_command("qm", "echo \"$@\" >>$PVE_ROOT/said; exec $STAND_INS/qm \"$@\"");
  shut_down(seconds(90));
  CHECK(node.read("/said") == "shutdown 100 --timeout 20\n");
  CHECK(power() == Power::stopped);
  shut_down();
}

TEST_CASE_FIXTURE(Stage, "a guest that does not heed it runs on until it is forced") {
  node.put_guest(100, "agent: 1\nmemory: 512\n");
  node.run_guest(100, "stubborn");
  refused([&] { shut_down(seconds(1)); }, ErrorCode::timeout, "it still runs after 1 s");
  CHECK(power() == Power::running);
  shut_down(seconds(1), true);
  CHECK(power() == Power::stopped);
}

TEST_CASE_FIXTURE(Stage, "a guest that heeds only the second time, or hears nothing the first, is asked again") {
  node.put_guest(100, "memory: 512\n");
  node.run_guest(100);
  // The first two of three are in vain; none waits.
  change_qm("shutdown",
            "echo \"$@\" >>$PVE_ROOT/said; if [ $(wc -l <$PVE_ROOT/said) -lt 3 ]; then "
            "echo 'VM quit/powerdown failed - got timeout' >&2; exit 255; fi");
  shut_down(seconds(90));
  CHECK(power() == Power::stopped);
  CHECK(node.read("/said") == "shutdown 100 --timeout 20\nshutdown 100 --timeout 20\nshutdown 100 --timeout 20\n");
}

TEST_CASE_FIXTURE(Stage, "a guest is asked for as long as it was given, and force comes last") {
  node.put_guest(100, "memory: 512\n");
  node.run_guest(100);
  change_qm("shutdown",
            "echo \"$@\" >>$PVE_ROOT/said; "
            "echo 'VM quit/powerdown failed - got timeout' >&2; exit 255");
  refused([&] { shut_down(seconds(45), true); }, ErrorCode::timeout, "it still runs after 45 s");
  CHECK(node.read("/said") ==
        "shutdown 100 --timeout 20\nshutdown 100 --timeout 20\nshutdown 100 --timeout 5 --forceStop 1\n");
}

TEST_CASE_FIXTURE(Stage, "a paused guest is shut down by force only") {
  node.put_guest(100, "memory: 512\n");
  node.run_guest(100, "paused");
  refused([&] { shut_down(); }, ErrorCode::command, "VM is paused - cannot shutdown");
  CHECK(power() == Power::running);
  shut_down(seconds(90), true);
  CHECK(power() == Power::stopped);
}

TEST_CASE_FIXTURE(Stage, "what keeps PVE from asking the guest is told in its words") {
  node.put_guest(100, "lock: backup\nmemory: 512\n");
  node.run_guest(100);
  refused([&] { shut_down(); }, ErrorCode::command, "VM is locked (backup)");
  // Not the time the guest was given.
  change_qm("shutdown",
            "echo \"can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout\" >&2; exit 255");
  refused([&] { shut_down(); }, ErrorCode::command, "can't lock file");
  change_qm("shutdown", "exit 0");
  refused([&] { shut_down(); }, ErrorCode::command, "it runs");
  node.remove_command("qm");
  CHECK(power() == Power::running);
  refused([&] { cluster.shut_down("pve1", 101, seconds(1), false, {}); }, ErrorCode::command,
          "'nodes/pve1/qemu-server/101.conf' does not exist");
}

TEST_CASE_FIXTURE(Stage, "a guest is shut down when its QEMU is gone, whatever 'qm shutdown' says") {
  node.put_guest(100, "memory: 512\n");
  node.run_guest(100);
  // As if it took no notice of the process, which ends a second later.
  change_qm("shutdown", "(sleep 1; $STAND_INS/qm \"$@\") >/dev/null 2>&1 & exit 0");
  shut_down();
  CHECK(power() == Power::stopped);
  // Without the process's number PVE is asked.
  change_qm("shutdown", "exit 0");
  shut_down();
  change_qm("status", "echo 'status: running'; exit 0");
  refused([&] { shut_down(); }, ErrorCode::command, "it runs");
}

TEST_CASE_FIXTURE(Stage, "a guest whose saved state was loaded goes on, whether PVE saw to that or not") {
  node.put_guest(100, "lock: suspended\nmemory: 512\nvmstate: data:vm-100-state-suspend-2026-11-23\n");
  const auto state = [&] { return node.run({"qm", "status", "100"}, "", seconds(20), {}).output; };
  SUBCASE("it stands still") {
    change_qm("start", "$STAND_INS/qm unlock 100; exit 0");
    node.run_guest(100, "paused");
    cluster.start("pve1", 100, {});
    CHECK(state() == "status: running\n");
  }
  SUBCASE("it stays so") {
    change_qm("start", "exit 0; fi; if [ $1 = resume ]; then echo 'no' >&2; exit 1");
    node.run_guest(100, "paused");
    refused([&] { cluster.start("pve1", 100, {}); }, ErrorCode::command, "no");
  }
  SUBCASE("it is somebody's who wants it paused") {
    node.put_guest(100, "freeze: 1\nmemory: 512\n");
    change_qm("start", "exit 0");
    node.run_guest(100, "paused");
    cluster.start("pve1", 100, {});
    CHECK(state() == "status: paused\n");
  }
}

TEST_CASE_FIXTURE(Stage, "a guest that high availability was told to ignore is shut down and stays so") {
  node.put_guest(100, "memory: 512\n");
  node.put_guest(1000, "memory: 512\n");
  node.run_guest(100);
  node.run_guest(1000);
  node.run_ha();
  cluster.set_ha_state(1000, "started", {});
  cluster.set_ha_state(100, "started", {});
  CHECK(resources() == "vm: 1000\n\tstate started\n\nvm: 100\n\tstate started\n\n");
  CHECK(manager_status().find("\"vm:100\"") != std::string::npos);

  cluster.set_ha_state(100, "ignored", {});
  CHECK(resources() == "vm: 1000\n\tstate started\n\nvm: 100\n\tstate ignored\n\n");
  CHECK(manager_status().find("\"vm:100\"") == std::string::npos);
  CHECK(manager_status().find("\"vm:1000\"") != std::string::npos);
  shut_down();
  CHECK(power() == Power::stopped);
}

TEST_CASE_FIXTURE(Stage, "high availability that is disarmed and ignores all is not waited for") {
  node.put_guest(100, "memory: 512\n");
  node.write("/etc/pve/ha/resources.cfg", "vm: 100\n\tstate started\n\n");
  node.write("/etc/pve/ha/manager_status",
             R"({"disarm":{"mode":"ignore","state":"disarmed"},"service_status":{"vm:100":{"state":"started"}}})");
  cluster.set_ha_state(100, "ignored", {});
  CHECK(resources() == "vm: 100\n\tstate ignored\n\n");
}

TEST_CASE_FIXTURE(Stage, "a guest that high availability has is not shut down") {
  node.put_guest(100, "memory: 512\n");
  node.run_guest(100);
  node.write("/etc/pve/ha/resources.cfg", "vm: 100\n\n");
  refused([&] { shut_down(); }, ErrorCode::conflict, "high availability has it");
  CHECK(power() == Power::running);
}

TEST_CASE_FIXTURE(Stage, "high availability that takes no notice, or knows no such guest") {
  node.put_guest(100, "memory: 512\n");
  refused([&] { cluster.set_ha_state(777, "started", {}); }, ErrorCode::command,
          "resource 'vm:777' does not exist in cluster");
  node.add_command("perl", "echo late");
  refused([&] { cluster.set_ha_state(100, "started", {}); }, ErrorCode::timeout, "took no notice of 'started'");
  CHECK(resources() == "vm: 100\n\tstate started\n\n");
  node.add_command("ha-manager", "echo 'cluster not ready - no quorum?' >&2; exit 255");
  refused([&] { cluster.set_ha_state(100, "ignored", {}); }, ErrorCode::command, "no quorum");
  CHECK(resources() == "vm: 100\n\tstate started\n\n");
}

TEST_CASE_FIXTURE(Stage, "a guest is suspended when its QEMU is gone, and its volume can be removed") {
  node.put_guest(100, "memory: 16\n");
  const auto suspend = [&] { cluster.suspend("pve1", 100, "local", {}); };
  refused(suspend, ErrorCode::command, "it does not run (status: stopped)");
  node.run_guest(100, "paused");
  refused(suspend, ErrorCode::command, "it does not run (status: paused)");
  node.put_guest(100, "lock: backup\nmemory: 16\n");
  node.run_guest(100);
  refused(suspend, ErrorCode::command, "VM is locked (backup)");
  node.put_guest(100, "memory: 16\n");
  suspend();
  CHECK(power() == Power::stopped);
  const VmConfig config = parse_vm_config(node.config(100).value());
  CHECK(config.get("lock") == "suspended");
  CHECK(config.get("runningmachine") == "pc-i440fx-9.2");
  const std::string volume = config.get("vmstate").value_or("");
  CHECK_MESSAGE(volume.find("vm-100-state-suspend-") != std::string::npos, volume);
  cluster.free_volume("pve1", volume, {});
  refused([&] { cluster.free_volume("pve1", volume, {}); }, ErrorCode::command, "");
  refused([&] { cluster.free_volume("pve1", "gone:vm-100-disk-0", {}); }, ErrorCode::command, "gone");
}

TEST_CASE_FIXTURE(Stage, "a guest that cannot be suspended runs on, and PVE's lock stays") {
  node.put_guest(100, "memory: 16\n");
  node.run_guest(100, "unsaveable");
  refused([&] { cluster.suspend("pve1", 100, "local", {}); }, ErrorCode::command, "unable to save VM state");
  CHECK(power() == Power::running);
  CHECK(node.config(100) == "lock: suspending\nmemory: 16\n");
  node.put_guest(100, "memory: 16\n");
  change_qm("suspend", "exit 0");
  refused([&] { cluster.suspend("pve1", 100, "local", {}); }, ErrorCode::command, "it runs");
}

TEST_CASE_FIXTURE(Stage, "a guest whose suspension nobody waits for any more is suspended all the same") {
  node.put_guest(100, "memory: 16\n");
  node.run_guest(100);
  std::stop_source stop;
  node.add_command("qm", "[ $1 = suspend ] && touch $PVE_ROOT/begun && sleep 1\nexec $STAND_INS/qm \"$@\"");
  const std::jthread canceller([&] {
    while (!node.read("/begun")) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    stop.request_stop();
  });
  cluster.suspend("pve1", 100, "local", stop.get_token());
  CHECK(stop.stop_requested());
  CHECK(power() == Power::stopped);
  CHECK(parse_vm_config(node.config(100).value()).get("lock") == "suspended");
}

TEST_CASE_FIXTURE(Stage, "whether a guest's agent answers") {
  node.put_guest(100, "agent: 1\nmemory: 512\n");
  CHECK_FALSE_MESSAGE(agent_answers(), "it is stopped");
  node.run_guest(100);
  CHECK(agent_answers());
  node.put_guest(100, "memory: 512\n");
  CHECK_FALSE_MESSAGE(agent_answers(), "it is not configured");
  node.put_guest(100, "agent: 1\nmemory: 512\n");
  node.run_guest(100, "silent");
  CHECK_FALSE(agent_answers());
  change_qm("guest", "echo \"VM 100 qga command 'guest-ping' failed - got timeout\" >&2; exit 255");
  CHECK_FALSE(agent_answers());
  node.remove_command("qm");
  refused([&] { (void)agent_answers(101); }, ErrorCode::command, "does not exist");
}

TEST_CASE_FIXTURE(Stage, "a guest that is destroyed is gone, with what refers to it") {
  node.put_guest(100, "lock: migrate\nmemory: 512\n");
  node.write("/etc/pve/ha/resources.cfg", "vm: 100\n\tstate ignored\n\nvm: 1000\n\tstate ignored\n\n");
  node.write("/etc/pve/firewall/100.fw", "[OPTIONS]\n");
  node.run_guest(100);
  refused([&] { cluster.destroy("pve1", 100, {}); }, ErrorCode::command, "VM 100 is running - destroy failed");
  CHECK(node.config(100) == "lock: migrate\nmemory: 512\n");
  node.put_guest(100, "memory: 512\n");
  shut_down();
  node.put_guest(100, "memory: 512\nprotection: 1\n");
  refused([&] { cluster.destroy("pve1", 100, {}); }, ErrorCode::command, "protection mode enabled");
  node.put_guest(100, "lock: migrate\nmemory: 512\n");
  cluster.destroy("pve1", 100, {});
  CHECK_FALSE(node.config(100));
  CHECK_FALSE(node.read("/etc/pve/firewall/100.fw"));
  CHECK(resources() == "vm: 1000\n\tstate ignored\n\n");
}

TEST_CASE_FIXTURE(Stage, "firewall rules are written on a cluster that has had none, replaced and removed") {
  CHECK_FALSE(node.read("/etc/pve/firewall/100.fw"));
  cluster.write_firewall(100, std::nullopt, {});
  cluster.write_firewall(100, "[OPTIONS]\nenable: 1\n", {});
  CHECK(node.read("/etc/pve/firewall/100.fw") == "[OPTIONS]\nenable: 1\n");
  cluster.write_firewall(100, "[RULES]\n", {});
  CHECK(node.read("/etc/pve/firewall/100.fw") == "[RULES]\n");
  cluster.write_firewall(100, std::nullopt, {});
  CHECK_FALSE(node.read("/etc/pve/firewall/100.fw"));
}

TEST_CASE_FIXTURE(Stage, "what destroying a guest left over is told of though 'qm destroy' ends with 0") {
  node.put_guest(100, "memory: 512\nscsi0: gone:vm-100-disk-0,size=1G\n");
  refused([&] { cluster.destroy("pve1", 100, {}); }, ErrorCode::command, "gone:vm-100-disk-0");
  CHECK_FALSE(node.config(100));
  node.put_guest(101, "memory: 512\n");
  change_qm("destroy", "exit 0");
  refused([&] { cluster.destroy("pve1", 101, {}); }, ErrorCode::command, "its configuration is still there");
}

TEST_CASE_FIXTURE(Stage, "a survey tells of bridges, CPU models, high availability and versions") {
  node.put_guest(100, "memory: 512\n");
  node.put_guest(101, "memory: 512\n");
  node.put_guest(102, "memory: 512\n");
  node.write("/etc/pve/ha/resources.cfg", "vm: 100\n\nvm: 101\n\tcomment state x\n\tstate ignored\n\n");
  node.write("/etc/pve/virtual-guest/cpu-models.conf",
             "cpu-model: old\n\treported-model kvm64\n\ncpu-model: new\n");
  node.write("/sys/class/net/vmbr0/bridge/stp_state", "0\n");
  node.write("/sys/class/net/eno1/mtu", "1500\n");
  node.write("/etc/network/interfaces", "auto lo\niface lo inet loopback\n");
  node.write("/etc/network/interfaces.d/ovs", "auto vmbr7\niface vmbr7 inet manual\n\tovs_type OVSBridge\n");
  ClusterInventory found = cluster.survey({}, {});
  CHECK(found.guests.at(100).ha_state == "started");
  CHECK(found.guests.at(101).ha_state == "ignored");
  CHECK(found.guests.at(102).ha_state.empty());
  CHECK(found.cpu_models == std::set<std::string>{"new", "old"});
  CHECK(found.nodes.at("pve1").bridges == std::set<std::string>{"vmbr0", "vmbr7"});
  CHECK(found.nodes.at("pve1").qemu_version.empty());

  node.add_command("kvm", "echo 'QEMU emulator version 10.1.2 (pve-qemu-kvm_10.1.2-3)'\necho Copyright");
  found = cluster.survey({.versions = true}, {});
  CHECK(found.nodes.at("pve1").qemu_version == "10.1.2");
  CHECK(found.nodes.at("pve1").pve_version.starts_with("pve-manager/"));
  std::ifstream processors("/proc/cpuinfo");
  const std::string text{std::istreambuf_iterator<char>(processors), {}};
  const std::string& processor = found.nodes.at("pve1").processor;
  CHECK_MESSAGE(text.find(": " + processor + "\n") != std::string::npos, processor);
  CHECK(processor.empty() == (text.find("model name") == std::string::npos));
}
