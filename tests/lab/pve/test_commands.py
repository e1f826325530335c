"""What the transcripts do not show: locks and their exceptions, boot, HA's services, pvecm."""
import json
import re
import signal
import subprocess
import time

import pytest
from pvetest import HERE, wait_for

LOCKED = ("start", "stop", "shutdown", "set --name y", "template", "destroy", "rescan", "snapshot", "clone")


def command_for(what, vmid):
    return {"set --name y": f"qm set {vmid} --name y", "rescan": f"qm rescan --vmid {vmid}", "snapshot": f"qm snapshot {vmid} s1",
            "clone": f"qm clone {vmid} 900"}.get(what, f"qm {what} {vmid}")


def test_any_lock_blocks(node):
    node.vm(100, "lock: whatever\nname: x\n")
    for what in LOCKED:
        output, code = node.run(command_for(what, 100))
        if what in ("stop", "shutdown"):
            assert code == 0, "a stopped guest is stopped, locked or not"
        else:
            assert (output.splitlines()[-1], code) == ("VM is locked (whatever)", 255), what
    for command in ("qm list", "qm status 100", "qm config 100", "qm pending 100", "qm unlock 100", "qm unlock 100"):
        node.good(command)
    assert node.conf(100) == "name: x\n"


def test_a_backup_lock_lets_a_running_guest_be_resumed_only(node):
    node.vm(100, "agent: 1\nlock: backup\n")
    node.fake_guest(100, "paused")
    node.good("qm start 100")
    assert node.good("qm status 100") == "status: running\n"
    node.good("qm suspend 100")
    node.good("qm resume 100")
    for command in ("qm stop 100", "qm shutdown 100", "qm reset 100", "qm suspend 100 --todisk 1"):
        assert node.run(command) == ("VM is locked (backup)\n", 255)
    node.vm(100, "agent: 1\nlock: migrate\n")
    for command in ("qm start 100", "qm suspend 100"):
        assert node.run(command) == ("VM is locked (migrate)\n", 255)
    node.good("qm stop 100 --skiplock 1")


def test_skiplock_replaces_a_lock_and_digest_is_checked(node):
    node.vm(100, "lock: backup\n")
    digest = json.loads(node.good("pvesh get /nodes/pve1/qemu/100/config --output-format json"))["digest"]
    node.good(f"qm set 100 --digest {digest} --lock migrate --skiplock")
    assert node.conf(100) == "lock: migrate\n"
    assert node.run(f"qm set 100 --digest {digest} --onboot 0 --skiplock 1") == (
        "checksum mismatch (file change by other user?)\n", 255)


def test_a_rewrite_deletes_what_pve_cannot_parse(node):
    node.vm(100, "name: x\nfuture-key: 1\n")
    output = node.good("qm set 100 --onboot 1")
    assert output.splitlines() == ["vm 100 - unable to parse value of 'future-key' - unknown setting 'future-key'",
                                   "update VM 100: -onboot 1"]
    assert node.conf(100) == "name: x\nonboot: 1\n"


def test_agent_errors_end_in_the_order_of_the_checks(node):
    node.vm(100, "name: x\n")
    assert node.run("qm guest cmd 100 ping") == ("No QEMU guest agent configured\n", 255)
    node.vm(100, "agent: 1\n")
    assert node.run("qm guest cmd 100 ping") == ("VM 100 is not running\n", 2)
    node.vm(100, "agent: 0\n")
    node.fake_guest(100)
    assert node.run("qm guest cmd 100 ping") == ("QEMU guest agent is not running\n", 2)


def test_another_nodes_guest(node):
    node.write("etc/pve/nodes/pve2/qemu-server/200.conf", "name: far\n")
    for verb in ("start", "stop", "shutdown", "unlock", "status"):
        assert node.run(f"qm {verb} 200") == ("Configuration file 'nodes/pve1/qemu-server/200.conf' does not exist\n", 2)
    output, code = node.run("qm create 200 --name x")
    assert (output, code) == ("unable to create VM 200 - VM 200 already exists on node 'pve2'\n", 255)
    assert json.loads(node.good("pvesh get /cluster/nextid --output-format json")) == "100"


def test_boot_removes_backup_locks_only_and_starts_onboot_guests(node):
    node.vm(100, "lock: backup\nname: a\n")
    node.vm(101, "lock: migrate\nonboot: 1\n")
    node.vm(102, "onboot: 1\n")
    node.vm(103, "onboot: 1\nlock: backup\n")
    node.write("etc/pve/ha/resources.cfg", "vm: 103\n\n")
    output, _ = node.run("pve-guests startall")
    assert node.conf(100) == "name: a\n"
    assert node.conf(101) == "lock: migrate\nonboot: 1\n"
    assert node.conf(103) == "onboot: 1\n"
    assert [line for line in output.splitlines() if line.startswith("Starting VM") and "failed" not in line] == [
        "Starting VM 101", "Starting VM 102"]
    assert "Starting VM 101 failed: VM is locked (migrate)" in output


def members(node, **online):
    node.write("etc/pve/.members", json.dumps({
        "nodename": node.name, "version": 5, "cluster": {"name": "lab", "version": 2, "nodes": 2, "quorate": 1},
        "nodelist": {name: {"id": number, "online": up, "ip": f"192.0.2.{number}"}
                     for number, (name, up) in enumerate(sorted(online.items()), 1)}}))


def test_ha_stops_what_was_asked_to_stop(node):
    node.vm(100, "agent: 1\n")
    node.fake_guest(100)
    members(node, pve1=1, pve2=1)
    node.good("ha-manager add 100")
    node.good("pve-ha once")
    assert "service vm:100 (pve1, started)" in node.good("ha-manager status")
    assert node.good("qm shutdown 100 --timeout 7") == "Requesting HA stop for VM 100\n"
    assert node.good("qm status 100") == "status: running\n"
    node.good("pve-ha once")
    node.good("pve-ha once")
    assert node.good("qm status 100") == "status: stopped\n"
    assert "service vm:100 (pve1, stopped)" in node.good("ha-manager status")
    assert node.read("etc/pve/ha/resources.cfg") == "vm: 100\n\tstate stopped\n\n"


def test_ha_recovers_a_dead_nodes_guest_without_its_lock(node):
    node.write("etc/pve/nodes/pve2/qemu-server/200.conf", "lock: migrate\nname: far\n")
    node.write("etc/pve/ha/resources.cfg", "vm: 200\n\tstate started\n\n")
    members(node, pve1=1, pve2=1)
    node.good("pve-ha once")
    members(node, pve1=1, pve2=0)
    node.good("pve-ha once --fence-after 600")
    assert "service vm:200 (pve2, fence)" in node.good("ha-manager status")
    node.run("pve-ha once --fence-after 0")
    assert node.conf(200) == "name: far\n"
    assert "service vm:200 (pve1, " in node.good("ha-manager status")


def test_ha_leaves_ignored_guests_alone(node):
    node.vm(100, "agent: 1\n")
    node.fake_guest(100)
    node.good("ha-manager add 100 --state ignored --comment 'not now'")
    node.good("pve-ha once")
    assert node.good("qm shutdown 100") == ""
    assert node.good("qm status 100") == "status: stopped\n"
    assert node.read("etc/pve/ha/resources.cfg") == "vm: 100\n\tcomment not now\n\tstate ignored\n\n"


def test_cluster_resources_tell_of_old_states(node):
    node.vm(100, "name: a\n")
    members(node, pve1=1, pve2=0)
    node.write("etc/pve/nodes/pve2/qemu-server/200.conf", "name: far\nlock: backup\n")
    node.good("pve-ha once")
    node.vm(101, "name: new\n")
    found = {entry["vmid"]: entry for entry in json.loads(node.good("pvesh get /cluster/resources --type vm"))}
    assert (found[100]["name"], found[100]["status"]) == ("a", "stopped")
    assert found[101]["status"] == "unknown" and "name" not in found[101]
    assert found[200]["status"] == "unknown" and found[200]["lock"] == "backup" and "name" not in found[200]


COROSYNC = """nodelist {
  node {
    name: pve1
    nodeid: 1
    quorum_votes: 1
    ring0_addr: 192.0.2.1
  }
  node {
    name: pve2
    nodeid: 2
    quorum_votes: 1
    ring0_addr: 192.0.2.2
  }
}
totem {
  cluster_name: lab
  config_version: 2
}
"""


def test_pvecm(node):
    missing = "Error: Corosync config '/etc/pve/corosync.conf' does not exist - is this node part of a cluster?\n"
    for command in ("pvecm nodes", "pvecm status"):
        output, code = node.run(command)
        assert output == missing and code != 0
    node.write("etc/pve/corosync.conf", COROSYNC)
    members(node, pve1=1, pve2=0)
    assert node.good("pvecm nodes") == ("\nMembership information\n----------------------\n    Nodeid      Votes Name\n"
                                        "         1          1 pve1 (local)\n")
    assert "Name:             lab\n" in node.good("pvecm status")


def test_a_command_can_cost_time(node):
    node.write("etc/crossover-lab/command-cost", "0.5")
    before = time.monotonic()
    node.good("qm list")
    assert time.monotonic() - before >= 0.5


def test_the_daemon_goes_round_and_ends(node):
    node.vm(100, "name: a\n")
    node.good("ha-manager add 100 --state stopped")
    daemon = subprocess.Popen([HERE / "bin/pve-ha", "daemon", "--interval", "0.05"], env=node.environment())
    try:
        wait_for(lambda: "(pve1, stopped)" in node.good("ha-manager status"), 10, "the service is stopped")
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 0


def test_migrate_moves_the_configuration(node):
    node.vm(100, "name: x\n")
    node.write("etc/pve/nodes/pve2/qemu-server/200.conf", "name: far\n")
    members(node, pve1=1, pve2=1)
    node.good("qm migrate 100 pve2")
    assert node.read("etc/pve/nodes/pve2/qemu-server/100.conf") == "name: x\n"
    assert node.run("qm status 100")[1] == 2


def test_no_quorum_by_members(node):
    node.vm(100, "name: x\n")
    members(node, pve1=1, pve2=0)
    node.write("etc/pve/.members", node.read("etc/pve/.members").replace('"quorate": 1', '"quorate": 0'))
    assert node.run("qm start 100") == ("cluster not ready - no quorum?\n", 255)
    node.write("etc/pve/corosync.conf", COROSYNC)
    assert node.run("pvecm status")[1] == 2


def test_a_disarmed_ha_takes_nothing_in_or_out(node):
    node.vm(100, "agent: 1\n")
    node.fake_guest(100)
    members(node, pve1=1, pve2=1)
    node.good("ha-manager add 100")
    node.good("pve-ha once")
    for mode in ("freeze", "ignore"):
        node.good(f"ha-manager crm-command disarm-ha {mode}")
        node.good("pve-ha once")
        assert json.loads(node.read("etc/pve/ha/manager_status"))["disarm"] == {"mode": mode, "state": "disarmed"}
        date = r"\w{3} \w{3} .{2} \d\d:\d\d:\d\d \d{4}"
        assert re.fullmatch(
            rf"quorum OK\nmaster pve1 \(active, {date}\) - disarmed, resource mode: {mode}\n"
            rf"fencing disarmed, resource mode: {mode} \(CRM watchdog released\)\n"
            rf"lrm pve1 \(disarm mode, watchdog released, {date}\)\nservice vm:100 \(pve1, {mode}\)\n",
            node.good("ha-manager status"))
        # What it is asked for meanwhile waits.
        node.good("ha-manager set vm:100 --state ignored")
        node.good("pve-ha once")
        assert "vm:100" in json.loads(node.read("etc/pve/ha/manager_status"))["service_status"]
        node.good("ha-manager set vm:100 --state started")
    assert node.good("qm shutdown 100") == "" and node.good("qm status 100") == "status: stopped\n"
    node.good("pve-ha once")
    assert node.good("qm status 100") == "status: stopped\n", "nobody starts it"
    node.fake_guest(100)
    node.good("ha-manager crm-command arm-ha")
    node.good("pve-ha once")
    assert "fencing armed" in node.good("ha-manager status") and "(pve1, started)" in node.good("ha-manager status")
    assert node.good("qm shutdown 100") == "Requesting HA stop for VM 100\n"


def test_a_service_in_error_is_taken_out_first(node):
    node.vm(100, "scsi0: gone:vm-100-disk-0\n")
    node.good("ha-manager add 100 --max_restart 0")
    daemon = subprocess.Popen([HERE / "bin/pve-ha", "daemon", "--interval", "0.05"], env=node.environment())
    try:
        wait_for(lambda: "(pve1, error)" in node.good("ha-manager status"), 20, "it has failed")
        for state in ("started", "ignored"):
            output, code = node.run(f"ha-manager set 100 --state {state}")
            assert code and output == "service 'vm:100' in error state, must be disabled and fixed first\n"
        node.good("ha-manager set 100 --state disabled")
        wait_for(lambda: "(pve1, stopped)" in node.good("ha-manager status"), 20, "it is out")
        node.good("ha-manager set 100 --state ignored")
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(10)


@pytest.mark.parametrize("line", ["hostpci0: 01:00", "virtiofs0: shared", "amd-sev: type=std",
                                  "intel-tdx: type=tdx"])
def test_what_cannot_be_suspended_to_disk(node, line):
    node.vm(100, f"{line}\n")
    node.fake_guest(100)
    output, code = node.run("qm suspend 100 --todisk 1")
    assert code and line.partition(":")[0] in output
    assert "lock" not in node.conf(100)


def test_what_ha_has_is_not_suspended_to_disk(node):
    node.vm(100, "usb0: host=1234:5678\n")
    node.fake_guest(100)
    node.good("ha-manager add 100")
    assert node.run("qm suspend 100 --todisk 1") == ("Cannot suspend HA managed VM to disk\n", 255)


def test_a_boolean_is_0_or_1(node):
    node.write("etc/pve/storage.cfg", "rbd: kr\n\tpool ssdpool\n\tkrbd yes\n\n")
    output = node.good("pvesh get /storage/kr --output-format json")
    assert "(section 'kr') - unable to parse value of 'krbd': type check ('boolean') failed - got 'yes'\n" in output
    assert '"krbd"' not in output


def test_cleanup_after_a_qemu_that_ended_by_itself(node):
    node.vm(100, "name: x\n")
    node.fake_guest(100)
    run = node.root / "var/run/qemu-server"
    (run / "100.cleanup").touch()
    watch = subprocess.Popen([HERE / "bin/qmeventd", "100", str(node.guests[100].pid)], env=node.environment())
    with node.held_lock(100):
        node.end_guest(100)
        wait_for(lambda: (run / "100.pid").exists() and watch.poll() is None, 10, "it waits for the lock")
    assert watch.wait(10) == 0
    assert not list(run.glob("100.*"))

    # It is not due once more, whatever has come since.
    node.fake_guest(100)
    node.good("qm cleanup 100 1 0")
    assert node.good("qm status 100") == "status: running\n"
