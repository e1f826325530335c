"""Up, down, power failures: nothing of a lab is left behind, and two labs do not know of each other."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from labtest import HERE, Lab
from crosslab import process

NAMESPACES = ("mnt", "net", "pid", "uts", "ipc")


def namespaces(entries):
    """The namespaces these processes (folders of /proc) are in."""
    found = set()
    for entry in entries:
        for kind in NAMESPACES:
            try:
                found.add(os.readlink(f"{entry}/ns/{kind}"))
            except OSError:
                pass
    return found


def sandboxes(lab):
    return [f"/proc/{record.read_text().split()[0]}" for record in (lab.folder / "run").iterdir()]


def processes_naming(folder):
    """The processes whose command line leads into the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int(entry.name) != os.getpid() and str(folder) in (entry / "cmdline").read_bytes().decode():
                found.append(entry.name)
        except (OSError, UnicodeDecodeError):
            pass
    return found


def machine():
    """What a lab must not change: mounts and interfaces of the host, and its folders of Ceph and ssh."""
    places = ("/run/ceph", "/run/netns", "/var/lib/ceph", "/var/log/ceph", "/etc/ceph", "/etc/pve", "/etc/ssh",
              "/root/.ssh", "/run/sshd", "/run/sshd.pid", "/var/lib/pve-cluster")
    files = subprocess.run(["find", *[place for place in places if os.path.exists(place)], "-printf", "%p %T@\n"],
                           capture_output=True, text=True).stdout
    return (Path("/proc/self/mountinfo").read_text(), sorted(os.listdir("/sys/class/net")), files,
            Path("/proc/sys/net/ipv4/ip_forward").read_text(), sorted(os.listdir("/etc")))


@pytest.fixture
def own(tmp_path):
    made = Lab(tmp_path / "state")
    yield made
    made("down")


def test_down_leaves_nothing(own):
    before = machine()
    own("up", "--memstore")
    inside = namespaces(sandboxes(own))
    assert len(inside) == 9 * len(NAMESPACES) and processes_naming(own.folder)
    own("exec", "pve01", "sh", "-c", "touch /etc/changed /etc/pve/x; rbd create --size 8M ssdpool/a; sleep 1000 >&- 2>&- &")
    own("down")
    assert machine() == before
    left = {entry.name: (entry / "cmdline").read_bytes() for entry in Path("/proc").glob("[0-9]*")
            if inside & namespaces([entry]) and process.start_time(entry.name) is not None}
    assert not left
    assert not processes_naming(own.folder) and not own.folder.exists()
    own("down")
    assert own("status", check=False).returncode == 3


def test_up_twice_and_at_once(own):
    starts = [own.start("up", "--memstore", stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(start.communicate()[0] for start in starts)
    assert said == ["the lab is up\n", "the lab is up already\n"]
    assert own("up").stdout == "the lab is up already\n"
    assert own("status").returncode == 0


@pytest.mark.parametrize("reached", ["run/lab", "ceph/west/osd.0.pid", "run/pve04"])
def test_killed_up_is_cleaned_up(own, reached):
    """`up` dies without a word at different moments; `down` finds what is there."""
    before = machine()
    start = own.start("up", "--memstore", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    process.wait_until((own.folder / reached).exists, reached, interval=0.001)
    os.killpg(start.pid, signal.SIGKILL)
    start.wait()
    assert own("status", check=False).returncode == 3
    own("down")
    process.wait_until(lambda: not processes_naming(own.folder), "processes of the lab", timeout=5)
    assert machine() == before and not own.folder.exists()


def test_failed_up_takes_itself_down(own):
    """A cluster that cannot start: its port is not the cause here, its program is."""
    before = machine()
    broken = own.folder.parent / "bin"
    broken.mkdir()
    (broken / "ceph-osd").write_text("#!/bin/sh\necho broken disk >&2\nexit 1\n")
    (broken / "ceph-osd").chmod(0o755)
    own.environment["PATH"] = f"{broken}:{os.environ['PATH']}"
    done = own("up", "--memstore", check=False)
    assert done.returncode == 1 and "broken disk" in done.stderr
    assert not own.folder.exists() and machine() == before


def test_two_labs_side_by_side(lab, own):
    """The second one has what the first has not: an erasure-coded pool."""
    own("up", "--memstore", "--ec")
    assert "data-pool ecdata" in own.run("pve04", "cat", "/etc/pve/storage.cfg")
    own("exec", "pve04", "sh", "-c", "rbd create --size 8M --data-pool ecdata ecmeta/a && "
        "rbd bench --io-type write --io-size 64K --io-total 1M --io-pattern rand ecmeta/a")
    own("exec", "pve01", "touch", "/etc/pve/mine", "/root/mine")
    own("exec", "pve01", "rbd", "create", "--size", "8M", "ssdpool/mine")
    assert lab.run("pve01", "sh", "-c", "ls /etc/pve/mine /root/mine 2>/dev/null; rbd ls ssdpool") == ""
    fsids = {each.run(node, "awk", "/fsid/ { print $3 }", "/etc/pve/ceph.conf") for each in (lab, own)
             for node in ("pve02", "pve05")}
    assert len(fsids) == 4
    own("down")
    assert lab("status").returncode == 0


def test_power_failure(lab):
    """Everything in the node ends at once; its disk, its storage and the other nodes do not notice."""
    lab("exec", "pve02", "sh", "-c", "echo kept > /root/kept; echo gone > /run/gone; rbd create --size 8M ssdpool/pf")
    sleeper = lab.start("exec", "pve02", "sleep", "1000")
    process.wait_until(lambda: "sleep" in lab.run("pve02", "ps", "-e"), "sleep")
    lab("node", "kill", "pve02")
    assert sleeper.wait(5) == 137
    assert '"pve02": { "id": 2, "online": 0}' in lab.run("pve01", "cat", "/etc/pve/.members")
    assert lab("exec", "pve02", "true", check=False).returncode == 255
    status = lab("status", check=False)
    assert status.returncode == 1 and re.search(r"pve02 .* down", status.stdout)
    assert lab.run("pve01", "rbd", "ls", "ssdpool").split().count("pf") == 1
    lab("node", "boot", "pve02")
    assert '"pve02": { "id": 2, "online": 1' in lab.run("pve01", "cat", "/etc/pve/.members")
    assert lab.run("pve02", "sh", "-c", "cat /root/kept; ls /run/gone 2>&1 | wc -l; rbd ls ssdpool").split() \
        == ["kept", "1", "pf"]
    lab("exec", "pve02", "rbd", "rm", "ssdpool/pf")
    lab("node", "reboot", "pve02")
    assert lab("status").returncode == 0


def test_exec_is_transparent(lab):
    data = os.urandom(3 << 20)
    done = subprocess.run([HERE / "lab", "exec", "pve04", "sh", "-c", "cat; echo seen >&2; exit 9"], input=data,
                          env={**lab.environment, "SECRET": "x"}, capture_output=True)
    assert (done.stdout, done.stderr, done.returncode) == (data, b"seen\n", 9)
    assert lab("exec", "pve04", "no-such-command", check=False).returncode == 127
    assert lab("exec", "pve04", "sh", "-c", "kill -TERM $$", check=False).returncode == 143
    environment = set(re.findall(r"^\w+", lab.run("pve04", "/usr/bin/env"), re.M))
    assert environment - {"TERM"} == {"PATH", "HOME", "USER", "LANG"}
    assert lab.run("pve04", "sh", "-c", "pwd; hostname; umask").split() == ["/root", "pve04", "0022"]


def test_exec_ends_its_command(lab):
    running = lab.start("exec", "pve04", "sleep", "1001")
    process.wait_until(lambda: "1001" in lab.run("pve04", "ps", "-eo", "args"), "sleep")
    running.kill()
    running.wait()
    process.wait_until(lambda: "1001" not in lab.run("pve04", "ps", "-eo", "args"), "end of sleep")


def test_exec_is_quick(lab):
    started = time.monotonic()
    for _ in range(10):
        lab("exec", "pve01", "true")
    assert (time.monotonic() - started) / 10 < 0.2


def test_command_cost(lab):
    lab("cost", "0.6")
    assert {lab.run(node, "cat", "/etc/crossover-lab/command-cost") for node in ("pve01", "pve05")} == {"0.6\n"}
    lab("cost", "0")
    assert lab.run("pve02", "cat", "/etc/crossover-lab/command-cost") == "0\n"
