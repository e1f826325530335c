"""How the tests run crossover in a lab, and what they look at afterwards."""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
LAB_FOLDER = REPOSITORY / "tests" / "lab"
sys.path.insert(0, str(LAB_FOLDER))
from labtest import BUILD, CROSSOVER, USERS, Lab  # noqa: E402, F401

EAST, WEST = "pve01", "pve04"
EAST_ADDRESS = "10.77.1.1"  # west knows no names of east's nodes
BOOT_SECONDS = 120
# After how many seconds Ceph takes a client that is silent for dead: 30 by default, and every test would wait for that
# which kills one. Clients give a sign of life every five: a guest that a busy machine keeps waiting has longer.
WATCH_TIMEOUTS = {"pve01": 15, "pve04": 5}
REAL_WATCH_TIMEOUT = 30
RUN_SECONDS = 90


def wait_for(condition, seconds, what):
    """The condition's first true value; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return value


def seed(text):
    """An option's value: a number, or `commit`, which is another one for each commit, so that what is chosen by it comes to
    everything in the course of time, and comes again if the commit is tried again."""
    if text != "commit":
        return int(text)
    done = subprocess.run(["git", "-C", str(REPOSITORY), "rev-list", "--count", "HEAD"], capture_output=True, text=True)
    return int(done.stdout) if done.returncode == 0 else 0


@contextlib.contextmanager
def running_lab(folder):
    """The lab of CROSSOVER_LAB_STATE if that is up, to try one test again and again; otherwise one of its own."""
    given = os.environ.get("CROSSOVER_LAB_STATE")
    lab = Lab(given or folder)
    if given and lab("status", check=False).returncode == 0:
        yield Site(lab)
        return
    try:
        lab("up")
        yield Site(lab)
    finally:
        lab("down")


@dataclass
class Done:
    """How a run of crossover ended."""
    status: int
    out: str
    err: str
    seconds: float

    def report(self):
        return json.loads(self.out)

    def guest(self, vmid):
        """The report of one guest."""
        return next(guest for guest in self.report()["guests"] if guest["vmid"] == vmid)

    def complaint(self):
        """The only line on standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"one line is expected on standard error:\n{self.err}"
        return lines[0]


class Run:
    """A crossover that is running in a node."""
    _numbers = itertools.count(1)

    def __init__(self, site, node, words):
        self.site, self.node, self.words = site, node, words
        self.pidfile = f"/tmp/crossover-run-{os.getpid()}-{next(self._numbers)}"
        self.started = time.monotonic()
        # The shell becomes crossover, so the pid it notes is crossover's in the node.
        self.process = site.lab.start("exec", node, "sh", "-c", 'echo $$ > "$0"; exec "$@"', self.pidfile, str(CROSSOVER),
                                      *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      text=True)

    def signal(self, which):
        pid = wait_for(lambda: self.site.try_run(self.node, "cat", self.pidfile), 10, "the run's pid").strip()
        self.site.run(self.node, "kill", f"-{signal.Signals(which).value}", pid)

    def running(self):
        return self.process.poll() is None

    def wait(self, seconds=RUN_SECONDS):
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"crossover {' '.join(self.words)} did not end within {seconds} s\n{out}{err}") from None
        return Done(self.process.returncode, out, err, time.monotonic() - self.started)


@dataclass
class Guest:
    """A VM of the lab. `images` are its disks, pool/name, in the order of the counters A and B."""
    site: "Site"
    node: str
    vmid: int
    images: tuple

    def console(self):
        return self.site.try_run(self.node, "cat", f"/var/run/qemu-server/{self.vmid}.console.log")

    def counted(self):
        """The last count it told of, 0 before the first."""
        found = re.findall(r"(?m)^counter A=(\d+) ", self.console())
        return int(found[-1]) if found else 0

    def writes_on(self, counts=4):
        """Waits until it has counted further, which shows that it is not frozen and its disks take writes."""
        before = self.counted()
        wait_for(lambda: self.counted() >= before + counts, 60, f"VM {self.vmid} counts on from {before}")

    def frozen(self):
        return self.site.run(self.node, "qm", "guest", "cmd", str(self.vmid), "fsfreeze-status").strip() == "frozen"

    def config(self):
        return self.site.config(self.node, self.vmid)


class Site:
    """The two clusters: `east` is the source, `west` the destination."""

    def __init__(self, lab):
        self.lab = lab

    # --- commands in nodes

    def run(self, node, *command, **options):
        return self.lab("exec", node, *command, **options).stdout

    def try_run(self, node, *command):
        """What the command prints; nothing if it fails."""
        done = self.lab("exec", node, *command, check=False)
        return done.stdout if done.returncode == 0 else ""

    def start(self, *words, node=EAST):
        return Run(self, node, words)

    def watch_timeout(self, node, seconds):
        """Of the Ceph that is beside this node."""
        self.run(node, "ceph", "config", "set", "osd", "osd_client_watch_timeout", str(seconds))

    def short_watch_timeouts(self):
        for node, seconds in WATCH_TIMEOUTS.items():
            self.watch_timeout(node, seconds)

    def crossover(self, *words, node=EAST, seconds=RUN_SECONDS):
        return self.start(*words, node=node).wait(seconds)

    def start_mirror(self, vmid, *words, job, destination=WEST, pool="ceph-ssd", node=EAST, users=USERS):
        # An emulated guest on a busy machine takes its time to write back what it has; most tests are not about that.
        own = any(word.startswith("--freeze-timeout") for word in words)
        patience = () if own else ("--freeze-timeout=60s",)
        return self.start("mirror", f"--vmid={vmid}", f"--destination={destination}", f"--pool={pool}",
                          f"--jobname={job}", *users, *patience, *words, node=node)

    def mirror(self, vmid, *words, seconds=RUN_SECONDS, **where):
        return self.start_mirror(vmid, *words, **where).wait(seconds)

    def mirrored(self, vmid, *words, **where):
        """Mirrors one guest, which has to work. Returns its report."""
        done = self.mirror(vmid, "--json", *words, **where)
        assert done.status == 0, done.out + done.err
        return done.report()["guests"][0]

    def open_the_way_back(self):
        """The lab lets east log in to west; who goes back, or on to a third place in east, needs the other way, too."""
        for node in (WEST, "pve05"):
            key = self.run(node, "sh", "-c", "cat /root/.ssh/id_*.pub")
            self.run(EAST, "sh", "-c", 'grep -qF "$0" "$1" || echo "$0" >> "$1"', key.strip(),
                     "/etc/pve/priv/authorized_keys")

    # --- guests

    def create(self, vmid, *options, node=EAST, disks=("ceph-ssd",), megabytes=16):
        """A guest that is not started, with a disk on each of `disks`."""
        pools = {"ceph-ssd": "ssdpool", "ceph_hdd.x": "hddpool"}
        words = [word for index, storage in enumerate(disks)
                 for word in (f"--scsi{index}", f"{storage}:{megabytes / 1024}")]
        self.run(node, "qm", "create", str(vmid), "--memory", "256", *words, *options)
        numbers = {storage: itertools.count() for storage in pools}
        return Guest(self, node, vmid,
                     tuple(f"{pools[storage]}/vm-{vmid}-disk-{next(numbers[storage])}" for storage in disks))

    def create_counting(self, vmid, *options, node=EAST):
        """A guest that is started and counts on two disks. Wait with `counting`."""
        # What an earlier guest of that number counted is not its count.
        self.run(node, "rm", "-f", f"/var/run/qemu-server/{vmid}.console.log")
        self.run(node, "qm", "create", str(vmid), "--memory", "256", "--agent", "1", "--scsihw", "virtio-scsi-single",
                 "--scsi0", "ceph-ssd:0.0625,iothread=1,discard=on", "--virtio0", "ceph_hdd.x:0.0625,cache=none", *options)
        self.run(node, "qm", "start", str(vmid))
        return Guest(self, node, vmid, (f"ssdpool/vm-{vmid}-disk-0", f"hddpool/vm-{vmid}-disk-0"))

    def counting(self, guest):
        wait_for(guest.counted, BOOT_SECONDS, f"VM {guest.vmid} counts")
        wait_for(lambda: self.lab("exec", guest.node, "qm", "guest", "cmd", str(guest.vmid), "ping",
                                  check=False).returncode == 0, 60, f"the agent of VM {guest.vmid}")
        return guest

    def destroy(self, node, vmid):
        """Removes a guest with its disks and all their snapshots, whatever state it is in."""
        self.run(node, "/usr/bin/python3", str(HERE / "destroy_guest.py"), node, str(vmid))

    def config(self, node, vmid):
        return self.run(node, "cat", f"/etc/pve/nodes/{node}/qemu-server/{vmid}.conf")

    def write_config(self, node, vmid, text):
        self.run(node, "sh", "-c", 'cat > "$0.tmp.1" && mv "$0.tmp.1" "$0"',
                 f"/etc/pve/nodes/{node}/qemu-server/{vmid}.conf", input=text)

    # --- what is there

    def state(self, node):
        """Everything a run could change on a node's side: see side_state.py."""
        return json.loads(self.run(node, "/usr/bin/python3", str(HERE / "side_state.py")))

    def both(self):
        return {EAST: self.state(EAST), WEST: self.state(WEST)}

    @contextlib.contextmanager
    def unchanged(self):
        """Fails if anything on either side differs afterwards."""
        before = self.both()
        yield
        after = self.both()
        for node, kind in itertools.product((EAST, WEST), ("files", "images")):
            old, new = before[node][kind], after[node][kind]
            changed = {key: (old.get(key), new.get(key)) for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
            assert not changed, f"{kind} on the side of {node} changed: {changed}"

    def images(self, node):
        return self.state(node)["images"]

    def snapshots(self, node, image):
        return [name for _, name, _ in self.images(node)[image]["snapshots"]]

    def digest(self, node, image, snapshot=""):
        """Digest of a whole image or snapshot, holes included."""
        spec = f"{image}@{snapshot}" if snapshot else image
        return self.run(node, "bash", "-o", "pipefail", "-c", 'rbd export --no-progress "$0" - | sha256sum', spec).split()[0]

    def counters(self, node, images, snapshot):
        """What the test guest had counted on its disks A and B at a snapshot."""
        script = ('set -e; work=$(mktemp -d); trap \'rm -rf "$work"\' EXIT; '
                  'rbd export --no-progress "$1" "$work/a"; rbd export --no-progress "$2" "$work/b"; '
                  '"$0" "$work/a" "$work/b"')
        said = self.run(node, "bash", "-c", script, str(LAB_FOLDER / "guest" / "counters"),
                        *(f"{image}@{snapshot}" for image in images))
        return tuple(map(int, re.fullmatch(r"A=(\d+) B=(\d+)\n", said).groups()))

    FULL_RATIOS = {"full": "0.95", "backfillfull": "0.90", "nearfull": "0.85"}

    def fill(self, node):
        """Makes the storage of a node's cluster full: by its ratios, which the OSDs take in this order at least."""
        for which in reversed(self.FULL_RATIOS):
            self.run(node, "ceph", "osd", f"set-{which}-ratio", "0.00001")
        wait_for(lambda: self.is_full(node), 60, "the cluster knows that it is full")

    def unfill(self, node):
        for which, ratio in self.FULL_RATIOS.items():
            self.run(node, "ceph", "osd", f"set-{which}-ratio", ratio)
        wait_for(lambda: not self.is_full(node), 60, "the cluster knows that it has space")

    def is_full(self, node):
        return "OSD_FULL" in self.run(node, "ceph", "health", "detail")

    def check_equal(self, report, destination=WEST, source=EAST):
        """A guest's report tells of a recovery point whose every disk has the same content on both sides."""
        point = report["recovery_point"]
        assert point and report["disks"]
        disks = report["disks"]
        assert all(disk["committed"] and disk["transferred"] for disk in disks), disks
        with ThreadPoolExecutor() as side:
            here = side.submit(lambda: [self.digest(source, disk["source_image"], point) for disk in disks])
            there = [self.digest(destination, disk["replica_image"], point) for disk in disks]
        assert dict(zip((disk["key"] for disk in disks), zip(here.result(), there))) == \
            {disk["key"]: (digest, digest) for disk, digest in zip(disks, there)}
        return point

    def check_at_ease(self, guest, config):
        """A running guest is as if nobody had been there: it writes, is neither frozen nor locked, configured as before."""
        assert guest.config() == config
        assert not guest.frozen()
        guest.writes_on()
