"""A real guest on a real Ceph: start, agent, freeze, snapshot, suspend to disk, shutdown, and what the disks tell."""
import json
import re
import subprocess

import pytest
from pvetest import LAB, wait_for

BOOT_SECONDS = 60


@pytest.fixture
def guest(ceph_node, guest_image):
    node = ceph_node
    node.write("etc/crossover-lab/node.json", json.dumps({
        "node": "pve1", "cluster": "lab", "address": "192.0.2.1", "guest_kernel": str(guest_image / "vmlinuz"),
        "guest_initrd": str(guest_image / "initrd.img")}))
    node.good("qm create 100 --name web --memory 256 --agent 1 --scsihw virtio-scsi-single --scsi0 rbd:0.03125,iothread=1 "
              "--virtio1 rbd:0.03125 --efidisk0 rbd:1,efitype=4m --tpmstate0 rbd:1,version=v2.0 --ide2 rbd:cloudinit")
    node.rbd("rm", "vm-100-cloudinit")
    return node


def console(node):
    return node.read("var/run/qemu-server/100.console.log")


def counted(node):
    found = re.findall(r"(?m)^counter A=(\d+) B=(\d+) ", console(node))
    return tuple(map(int, found[-1])) if found else None


def counters(node, folder, snapshot=""):
    for disk in (0, 1):
        (folder / f"disk{disk}").unlink(missing_ok=True)
        node.rbd("export", "--no-progress", f"vm-100-disk-{disk}{snapshot}", str(folder / f"disk{disk}"))
    done = subprocess.run([LAB / "guest" / "counters", folder / "disk0", folder / "disk1"], capture_output=True, text=True,
                          check=True)
    return tuple(map(int, re.fullmatch(r"A=(\d+) B=(\d+)\n", done.stdout).groups()))


def test_life_of_a_guest(guest, tmp_path):
    node = guest
    assert node.good("qm start 100") == "generating cloud-init ISO\n"
    assert "vm-100-cloudinit" in node.rbd("ls"), "a missing cloud-init volume is allocated"
    assert node.run("qm start 100") == ("VM 100 already running\n", 255)
    for image in ("vm-100-disk-2", "vm-100-disk-3"):
        assert "watcher=" in node.rbd("status", image), "EFI disk and TPM state are in use"
    wait_for(lambda: counted(node), BOOT_SECONDS, "the guest counts")
    assert "found counter A=0 B=0\n" in console(node)
    assert node.good("qm guest cmd 100 ping") == ""

    assert node.good("qm guest cmd 100 fsfreeze-freeze") == "2\n"
    assert node.good("qm guest cmd 100 fsfreeze-status") == "frozen\n"
    assert json.loads(node.good("qm guest cmd 100 fsfreeze-freeze"))["error"]["class"] == "CommandNotFound", "and exit 0"
    assert node.good("qm guest cmd 100 ping") == ""
    for disk in (0, 1):
        node.rbd("snap create", f"vm-100-disk-{disk}@frozen")
    assert node.good("qm guest cmd 100 fsfreeze-thaw") == "2\n"
    assert node.good("qm guest cmd 100 fsfreeze-status") == "thawed\n"
    a, b = counters(node, tmp_path, "@frozen")
    assert a > 0 and a - b in (0, 1)

    output = node.good("qm snapshot 100 live")
    assert output.splitlines() == [f"snapshotting 'drive-{key}' (rbd:vm-100-disk-{number})" for number, key in
                                   enumerate(("scsi0", "virtio1", "efidisk0", "tpmstate0"))]
    later = counters(node, tmp_path, "@live")
    assert later[0] - later[1] in (0, 1) and later[0] >= a

    assert node.good("qm set 100 --memory 300 --onboot 1").startswith("update VM 100: -memory 300 -onboot 1\n")
    assert "cur memory: 256\nnew memory: 300\n" in node.good("qm pending 100") and "\nonboot: 1\n" in node.conf(100)

    boots = console(node).count("boot id")
    node.good("qm suspend 100 --todisk 1")
    assert node.good("qm status 100") == "status: stopped\n"
    assert re.search(r"(?m)^vmstate: rbd:vm-100-state-suspend-\d{4}-\d\d-\d\d$", node.conf(100))
    assert "\nlock: suspended\n" in node.conf(100)
    before = counted(node)
    node.good("qm set 100 --skiplock 1 --revert memory")
    suspended = node.conf(100)
    node.vm(100, suspended.replace("memory: 256\n", "memory: 300\n"))
    assert node.run("qm start 100")[1], "what was saved does not fit into another machine"
    assert node.good("qm status 100") == "status: stopped\n" and "\nlock: suspended\n" in node.conf(100)
    node.vm(100, suspended)
    node.good("qm start 100")
    wait_for(lambda: counted(node) > before, BOOT_SECONDS, "the guest goes on counting")
    assert console(node).count("boot id") == boots, "it was not booted"
    assert "lock" not in node.conf(100) and "vmstate" not in node.conf(100) and "state-suspend" not in node.rbd("ls")

    # A hard stop, a boot: it goes on where it was. A hook that fails is an agent error - and exit 0.
    node.good("qm stop 100")
    last = counted(node)
    a, b = counters(node, tmp_path)
    assert a - b in (0, 1) and a >= last[0]
    node.good("qm set 100 --args '-fw_cfg name=opt/crossover/fail-freeze,string=1 -fw_cfg name=opt/crossover/interval,string=5'")
    node.good("qm resize 100 virtio1 +16M")
    node.good("qm start 100")
    wait_for(lambda: len(re.findall("found counter", console(node))) == 2, BOOT_SECONDS, "the second boot")
    assert re.findall(r"found counter A=(\d+) B=(\d+)", console(node))[1] == (str(a), str(b))
    wait_for(lambda: node.run("qm guest cmd 100 ping")[1] == 0, 20, "the agent answers")
    assert json.loads(node.good("qm guest cmd 100 fsfreeze-freeze"))["error"]["class"] == "GenericError"
    assert node.good("qm guest cmd 100 fsfreeze-status") == "thawed\n"

    # Through the agent, or without it by the power button, it goes down in order.
    node.vm(100, node.conf(100).replace("agent: 1\n", ""))
    node.good("qm shutdown 100 --timeout 60")
    assert node.good("qm status 100") == "status: stopped\n"
    a, b = counters(node, tmp_path)
    assert a == b and f"stopped counter A={a} B={b}\n" in console(node) and "guest poweroff\n" in console(node)
