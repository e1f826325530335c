"""How guests are moved in a lab, and how long they are nowhere."""

import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from mirrortest import EAST, WEST, Guest, Site, wait_for

VMID, TARGET = 150, 9150
MIGRATE_SECONDS = 240


def setting(name, value):
    """An option of the test guest's system: see tests/lab/guest/init."""
    return f"-fw_cfg name=opt/crossover/{name},string={value} "


@dataclass
class Boot:
    """What a guest's console tells of its last start."""
    found: int  # what it had counted before, by its disks
    text: str

    def stopped(self):
        """What it had counted when it was shut down in order; None if it was not."""
        said = re.search(r"stopped counter A=(\d+) ", self.text)
        return int(said[1]) if said else None


class Qemus:
    """When the QEMU of a VM of the lab begins and ends, by the host's own clock."""

    @staticmethod
    def of(image):
        """The pid of the QEMU that has the image open."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"qemu-system-x86_64") and any(image.encode() in word for word in words):
                return int(entry.name)
        return None

    @staticmethod
    def began(pid):
        """Seconds since the machine booted."""
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        return ticks / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def runs(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False


class EndOf(threading.Thread):
    """Notes when a process ends."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.ended = pid, None
        self.start()

    def run(self):
        while Qemus.runs(self.pid):
            time.sleep(0.005)
        self.ended = time.clock_gettime(time.CLOCK_BOOTTIME)


class Migrations(Site):
    """The two clusters, and one guest that goes from one to the other."""

    def __init__(self, site):
        super().__init__(site.lab)

    def clear(self):
        self.lab("net", "unlimit")
        self.lab("net", "restore")
        self.lab("cost", "0")
        for node in (EAST, "pve02", WEST, "pve05"):
            for vmid in (VMID, TARGET):
                self.try_run(node, "ha-manager", "remove", f"vm:{vmid}")
                if self.lab("exec", node, "test", "-e", f"/etc/pve/nodes/{node}/qemu-server/{vmid}.conf",
                            check=False).returncode == 0:
                    self.try_run(node, "qm", "unlock", str(vmid))
                    self.try_run(node, "qm", "stop", str(vmid))
                    self.try_run(node, "rm", "-f", f"/etc/pve/nodes/{node}/qemu-server/{vmid}.conf")
                # What an earlier guest of this number said is not to be taken for the next one's.
                self.try_run(node, "rm", "-f", f"/var/run/qemu-server/{vmid}.console.log")
        for node in (EAST, WEST):
            for name in self.images(node):
                if re.search(rf"/vm-({VMID}|{TARGET})-", name):
                    self.try_run(node, "rbd", "snap", "purge", "--no-progress", name)
                    self.run(node, "rbd", "rm", "--no-progress", name)

    def counting_guest(self, *options, node=EAST, interval=20, more=""):
        guest = self.create_counting(VMID, "--name", "mover", "--onboot", "1",
                                     "--args", setting("interval", interval) + more, *options, node=node)
        return self.counting(guest)

    def start_migration(self, *options, job="move", pair=f"{VMID}:{TARGET}", **where):
        return self.start_mirror(pair, "--migrate", "--noconfirm", *options, job=job, **where)

    def migrate(self, *options, **where):
        return self.start_migration("--json", *options, **where).wait(MIGRATE_SECONDS)

    def migrated(self, *options, **where):
        done = self.migrate(*options, **where)
        assert done.status == 0, done.out + done.err
        guest = done.report()["guests"][0]
        assert guest["migration"]["outcome"] == "done", guest
        return guest

    def target(self, node=WEST):
        return Guest(self, node, TARGET, ())

    def last_boot(self, guest):
        """Waits until it counts again."""
        def counts():
            text = guest.console().rpartition("mounted: ")[2]
            found = re.search(r"found counter A=(\d+) B=(\d+)", text)
            return Boot(int(found[1]), text) if found and re.search(r"(?m)^counter A=", text) else None
        return wait_for(counts, 120, f"VM {guest.vmid} counts on {guest.node}")

    def power(self, node, vmid):
        return self.run(node, "qm", "status", str(vmid)).strip().removeprefix("status: ")

    def check_here(self, guest, config):
        """The guest is at ease on the source, and nothing runs on the target."""
        assert guest.config() == config
        assert self.power(guest.node, guest.vmid) == "running"
        guest.writes_on()
        # Without a configuration there is nothing that could run.
        assert self.try_run(WEST, "qm", "status", str(TARGET)).strip() in ("", "status: stopped")

    def check_there(self, guest, config, node=WEST):
        """The target has it; the source is fenced and survives whatever its node does."""
        fenced = guest.config()
        assert "lock: migrate\n" in fenced and "onboot: 0\n" in fenced
        assert self.power(guest.node, guest.vmid) == "stopped"
        there = self.config(node, TARGET)
        assert "lock" not in there and "onboot: 1\n" in there
        assert "onboot: 1\n" in config
