"""The lab the benchmark runs in, and what it does there."""

import json
import subprocess
import sys
import time
from pathlib import Path

from .accounting import TICK, Sandbox

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "mirror"))
import mirrortest  # noqa: E402
from labtest import BUILD  # noqa: E402
from mirrortest import EAST, WEST  # noqa: E402

SOURCE_NODES = ("pve01", "pve02")
DESTINATION_NODES = ("pve04", "pve05")
STORAGES = ("storage-east", "storage-west")
COPY_LIMIT = BUILD / "tests" / "bench" / "copy-limit"
WEST_CONF = "/root/west.conf"
# The lab has put it where a package would.
CROSSOVER = "/usr/local/bin/crossover"
POOL = "ssdpool"
STORAGE = "ceph-ssd"
# Freed space of an OSD stays allocated on the disk, so a lab that has grown so far is replaced.
LARGEST_LAB_BYTES = 20 << 30
IDLE_SHARE = 0.05
IDLE_SECONDS = 0.5


class BenchError(Exception):
    """One line for the user."""


def busy_seconds():
    """Of all processors, since the machine started."""
    with open("/proc/stat") as source:
        user, nice, system, _, _, irq, softirq = map(int, source.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICK


def allocated_bytes(folder):
    return sum(entry.lstat().st_blocks << 9 for entry in Path(folder).rglob("osd.*/block"))


class BenchSite(mirrortest.Site):
    """A lab that is up, with west's configuration where east's first node can read it."""

    def __init__(self, lab):
        super().__init__(lab)
        self.boxes = {name: Sandbox(lab.folder, name)
                      for name in (*SOURCE_NODES, *DESTINATION_NODES, *STORAGES, "switch-east")}
        keyring = self.run(WEST, "cat", "/etc/pve/priv/ceph.client.admin.keyring")
        conf = self.run(WEST, "cat", "/etc/pve/ceph.conf").split("[client]")[0]
        self.write_file(EAST, "/root/west.keyring", keyring)
        self.write_file(EAST, WEST_CONF, conf + "[client]\n\tkeyring = /root/west.keyring\n")
        # An image with nothing to send, to see what a pipe costs before it sends anything.
        for node in (EAST, WEST):
            self.create_image(node, f"{POOL}/bench-empty", 4 << 20)
            self.snapshot(node, f"{POOL}/bench-empty", "base")

        self._command = str(BUILD / "cli" / "crossover")

    def use_command(self, program):
        """From now on `crossover` is that program in every node."""
        if program == self._command:
            return
        for name in (*SOURCE_NODES, *DESTINATION_NODES):
            self.run(name, "ln", "-sfn", program, CROSSOVER)
        self._command = program

    def write_file(self, node, path, text):
        self.run(node, "sh", "-c", 'umask 077; cat > "$0"', path, input=text)

    # --- images

    def create_image(self, node, spec, size):
        self.run(node, "rbd", "create", "--size", f"{size}B", spec)

    def snapshot(self, node, spec, name):
        self.run(node, "rbd", "snap", "create", "--no-progress", f"{spec}@{name}")

    def remove_image(self, node, spec):
        self.try_run(node, "rbd", "snap", "purge", "--no-progress", spec)
        self.try_run(node, "rbd", "rm", "--no-progress", spec)

    def content(self, node, *words):
        """Runs content.py; returns what it prints."""
        process = self.lab.start("exec", node, "/usr/bin/python3", "-B", str(HERE / "content.py"), *map(str, words),
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = process.communicate()
        if process.returncode:
            raise BenchError(f"content.py {' '.join(map(str, words))}: {err}")
        return out.strip()

    # --- measuring

    def settle(self, seconds=30):
        """Waits until the storages have nothing left to do of what went before: clearing up is nobody's cost."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            before = self._cpu(STORAGES)
            time.sleep(IDLE_SECONDS)
            if self._cpu(STORAGES) - before <= IDLE_SHARE * IDLE_SECONDS:
                return

    def _cpu(self, names):
        return sum(self.boxes[name].cpu_seconds() for name in names)

    def start_measured(self, *command):
        return self.lab.start("exec", EAST, "/usr/bin/python3", "-B", str(HERE / "measure.py"), *command,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def measured(self, *command, during=None):
        """Runs a command in east's first node. Returns what measure.py tells, and both ends' processor time, the
        storages', and the bytes on the link. `during` is called with nothing while it runs."""
        at_ease = {name: self.boxes[name].pids() for name in DESTINATION_NODES}
        before = {names: self._cpu(names) for names in (SOURCE_NODES, DESTINATION_NODES, STORAGES)}
        wire = self.boxes["switch-east"].wire_bytes()
        busy = busy_seconds()
        process = self.start_measured(*command)
        if during:
            during()
        out, err = process.communicate()
        if process.returncode:
            raise BenchError(f"{' '.join(command)}: {out}{err}")
        told = json.loads(out)
        if told["status"]:
            raise BenchError(f"{' '.join(command)}: exit status {told['status']}\n{told['lines']}\n{told['errors']}")
        # The far end's processes outlive the near one's by a moment, and count when they have been waited for.
        mirrortest.wait_for(lambda: all(self.boxes[name].pids() <= pids for name, pids in at_ease.items()), 30,
                            "the far end's processes end")
        busy = busy_seconds() - busy
        told["wire_bytes"] = self.boxes["switch-east"].wire_bytes() - wire
        told["source_cpu_seconds"] = told.pop("cpu_seconds") + self._cpu(SOURCE_NODES) - before[SOURCE_NODES]
        told["destination_cpu_seconds"] = self._cpu(DESTINATION_NODES) - before[DESTINATION_NODES]
        told["storage_cpu_seconds"] = self._cpu(STORAGES) - before[STORAGES]
        ours = sum(told[f"{what}_cpu_seconds"] for what in ("source", "destination", "storage"))
        told["other_cores"] = max(0, busy - ours) / told["seconds"]
        return told


class Labs:
    """Gives out a lab, and takes the last one down."""

    def __init__(self, folder, earlier=None):
        self.earlier = earlier  # a program of another build to measure beside ours, or None
        self._folder = folder
        self._site = None
        self._words = None

    def get(self, *words, fresh=False):
        """A lab that was started with these words of `lab up`; a new one if the last has another shape or has grown
        too large."""
        if self._site and (fresh or words != self._words or allocated_bytes(self._folder) > LARGEST_LAB_BYTES):
            self.down()
        if not self._site:
            lab = mirrortest.Lab(self._folder)
            if lab("status", check=False).returncode != 3:
                raise BenchError(f"there is a lab in {self._folder} already: `lab down` it, or set CROSSOVER_LAB_STATE")
            self._words = words
            self._site = True
            lab("up", *words)
            self._site = BenchSite(lab)
        return self._site

    def down(self):
        if self._site:
            mirrortest.Lab(self._folder)("down")
            self._site = None


def copy_limit():
    if not COPY_LIMIT.exists():
        raise BenchError(f"{COPY_LIMIT} is not there; build first: cmake --preset dev && cmake --build --preset dev")
    return str(COPY_LIMIT)
