"""Every step of a run, and everything that can go wrong at it."""

import argparse
import json
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from mirrortest import BUILD, EAST, REAL_WATCH_TIMEOUT, WATCH_TIMEOUTS, WEST, running_lab, seed, wait_for

VMID, TARGET, JOB = 100, 9100, "faults"
STOP_AT = BUILD / "tests" / "faults" / "libcrossover-stop-at.so"
KINDS = ("first", "incremental")
# How long a fault lasts that goes away by itself.
WHILE = 6
# A guest must go on by then, whatever happened.
THAWED_WITHIN = 15
RUN = ("mirror", f"--vmid={VMID}:{TARGET}", f"--destination={WEST}", "--pool=ceph-ssd", f"--jobname={JOB}", "--online",
       "--stall-timeout=15s")


class CellError(AssertionError):
    """What must not happen, or a fault that did not fire."""


def check(condition, what):
    if not condition:
        raise CellError(what)


@dataclass(frozen=True)
class Cell:
    kind: str
    number: int  # of the step, from 1
    step: str  # what the plan says it is
    fault: str

    def __str__(self):
        return f"{self.kind} {self.number:2} {self.fault:16} {self.step}"


class Stage:
    """The guest that is mirrored, and what is done to it and to what it runs on."""

    def __init__(self, site):
        self.site = site
        self.guest = None
        self.config = None
        self.added = False
        self.held = {}

    def prepare(self):
        self.guest = self.site.counting(self.site.create_counting(VMID, "--name", "counter", "--onboot", "1"))
        self.config = self.guest.config()
        self.site.short_watch_timeouts()

    def reset(self):
        """No replica, no snapshots, no records, the guest as it was."""
        self.held.clear()
        wait_for(lambda: not agents(self.site), 90, "the agents are gone")
        self.site.destroy(WEST, TARGET)
        if self.added:
            self.site.write_config(EAST, VMID, self.config)
            self.added = False
        for image in self.images_of_source():
            for name in self.site.snapshots(EAST, image):
                self.site.run(EAST, "rbd", "snap", "rm", "--no-progress", f"{image}@{name}")
            self.site.try_run(EAST, "rbd", "image-meta", "remove", image, f"crossover.source.{JOB}")
        for extra in [name for name in self.site.images(EAST) if re.search(rf"/vm-{VMID}-disk-9$", name)]:
            self.site.run(EAST, "rbd", "rm", "--no-progress", extra)

    def images_of_source(self):
        return [name for name in self.site.images(EAST) if re.search(rf"/vm-{VMID}-", name)]

    def replicas(self):
        return {name: image for name, image in self.site.images(WEST).items() if re.search(rf"/vm-{TARGET}-", name)}

    def steps(self):
        done = self.site.crossover(*RUN, "--dry-run", "--json")
        check(done.status == 0, f"the dry run failed: {done.err}")
        return done.report()["guests"][0]["steps"]

    def start(self, number, *options):
        """A run that stops before the step of that number."""
        return self.site.lab_run("env", f"LD_PRELOAD={STOP_AT}", f"CROSSOVER_STOP_AT={number}", *RUN, "--debug", *options)

    def points(self):
        """Complete recovery points: their names, as the first disk's metadata have them, to their images."""
        found = {}
        for image in self.replicas().values():
            for key, value in image["meta"].items():
                if key.startswith("crossover.config."):
                    found[key.removeprefix("crossover.config.")] = json.loads(value)["images"]
        return found

    def check_points(self):
        """No false recovery point: what counts as one holds, on every disk, what the source had."""
        sources = self.images_of_source()
        for point, images in self.points().items():
            for image in images:
                check(point in self.site.snapshots(WEST, image), f"{image} has no part in the point {point}")
                source = next((name for name in sources if self.is_replica(image, name)), None)
                check(source, f"{image} of the point {point} is a replica of none of {sources}")
                self.hold(source, point)
                check((source, point) in self.held, f"{source} never had a snapshot {point}")
                check(self.held[source, point] == self.site.digest(WEST, image, point),
                      f"{image}@{point} differs from {source}")

    def hold(self, source, point):
        """Remembers what a snapshot of the source holds: a point outlives the source's snapshot of it."""
        if (source, point) not in self.held and point in self.site.snapshots(EAST, source):
            self.held[source, point] = self.site.digest(EAST, source, point)

    def hold_all(self):
        for source in self.images_of_source():
            for point in self.site.snapshots(EAST, source):
                self.hold(source, point)

    @staticmethod
    def is_replica(replica, source):
        pool, name = source.split("/")
        storage = {"ssdpool": "ceph-ssd", "hddpool": "ceph_hdd.x"}[pool]
        return replica.endswith("/" + name.replace(f"vm-{VMID}-", f"vm-{TARGET}-") + f"-{storage}")

    def base(self):
        """The newest complete point of which both sides have every disk."""
        sources = self.images_of_source()

        def has_source(point, image):
            return any(self.is_replica(image, name) and point in self.site.snapshots(EAST, name) for name in sources)
        return max((point for point, images in self.points().items() if all(has_source(point, one) for one in images)),
                   default=None)


class Fault:
    """Something that goes wrong while a run stands before a step. `fire` makes it so, and the run goes on."""

    name = ""
    # Whether a human may have to decide afterwards: what the run that follows may then say.
    conflicts = ()
    # More options of the run it happens to.
    options = ()

    def can(self, kind, steps, number):
        """Whether there is something at this step that the fault can take away."""
        return True

    def fire(self, stage, run):
        raise NotImplementedError

    def undo(self, stage):
        pass


class KillTool(Fault):
    name = "tool killed"

    def fire(self, stage, run):
        run.signal(signal.SIGKILL)
        check(run.wait(30).status == 137, "the tool was not killed")


def agents(site):
    return site.try_run(WEST, "pgrep", "-x", "crossover").split()


class KillAgent(Fault):
    name = "agent killed"

    def fire(self, stage, run):
        pids = agents(stage.site)
        check(pids, "no agent was running")
        stage.site.run(WEST, "kill", "-9", *pids)
        run.signal(signal.SIGCONT)


class CutLink(Fault):
    name = "link cut"

    def fire(self, stage, run):
        stage.site.lab("net", "cut")
        check("cut" in stage.site.lab("net", "status").stdout, "the link was not cut")
        run.signal(signal.SIGCONT)
        time.sleep(WHILE)

    def undo(self, stage):
        stage.site.lab("net", "restore")


class StopOsd(Fault):
    name = "OSD stopped"

    def osds(self, stage):
        return stage.site.run("storage-west", "pgrep", "-x", "ceph-osd").split()

    def fire(self, stage, run):
        pids = self.osds(stage)
        check(pids, "no OSD was running")
        stage.site.run("storage-west", "kill", "-STOP", *pids)
        states = stage.site.run("storage-west", "ps", "-o", "stat=", "-p", ",".join(pids)).split()
        check(all(state.startswith("T") for state in states), "an OSD went on")
        run.signal(signal.SIGCONT)
        time.sleep(WHILE)

    def undo(self, stage):
        stage.site.run("storage-west", "kill", "-CONT", *self.osds(stage))


class FillDestination(Fault):
    name = "destination full"

    def fire(self, stage, run):
        stage.site.fill(WEST)
        run.signal(signal.SIGCONT)
        run.wait(90)

    def undo(self, stage):
        stage.site.unfill(WEST)


class RemoveSnapshot(Fault):
    """The newest snapshot of the job goes from one disk of the source: the base before the run's own is made, the end
    of what is sent after that."""

    name = "snapshot removed"
    conflicts = ("common",)

    def can(self, kind, steps, number):
        made = next(index for index, step in enumerate(steps, 1) if step.startswith("make the snapshot"))
        return kind == "incremental" or number > made

    def fire(self, stage, run):
        image = stage.guest.images[1]
        ours = [name for name in stage.site.snapshots(EAST, image) if name.startswith(f"crossover-{JOB}-")]
        check(ours, "there was no snapshot")
        stage.hold(image, ours[-1])
        stage.site.run(EAST, "rbd", "snap", "rm", "--no-progress", f"{image}@{ours[-1]}")
        run.signal(signal.SIGCONT)


class RemoveDisk(KillTool):
    name = "disk removed"

    def fire(self, stage, run):
        super().fire(stage, run)
        wait_for(lambda: stage.guest.config() == stage.config, 30, "the lock goes with the run that held it")
        without = "".join(line for line in stage.config.splitlines(True) if not line.startswith("virtio0"))
        stage.site.write_config(EAST, VMID, without)
        stage.added = True


class AddDisk(KillTool):
    name = "disk added"

    def fire(self, stage, run):
        super().fire(stage, run)
        wait_for(lambda: stage.guest.config() == stage.config, 30, "the lock goes with the run that held it")
        stage.site.run(EAST, "rbd", "create", f"ssdpool/vm-{VMID}-disk-9", "--size", "8M")
        stage.site.run(EAST, "rbd", "bench", "--io-type", "write", "--io-total", "1M", f"ssdpool/vm-{VMID}-disk-9")
        head, sections = stage.config.partition("\n[")[0], stage.config.partition("\n[")[1:]
        stage.site.write_config(EAST, VMID, head.rstrip("\n") + f"\nscsi7: ceph-ssd:vm-{VMID}-disk-9,size=8M\n" +
                                "".join(sections))
        stage.added = True


class ForeignLock(Fault):
    """Somebody else locks the guest and its replica, over whatever lock is there, until the run has ended."""

    name = "foreign lock"
    # It stays as long as the run does, so that waiting for it is in vain.
    options = ("--retries=0",)
    lock = "lock: rollback\n"

    def there(self, stage):
        """The configurations there are: where each is, and what it says."""
        places = ((EAST, VMID), (WEST, TARGET))
        return {place: text for place in places if (text := stage.site.try_run(
            place[0], "cat", f"/etc/pve/nodes/{place[0]}/qemu-server/{place[1]}.conf"))}

    def fire(self, stage, run):
        for place, text in self.there(stage).items():
            main, section, rest = text.partition("\n[")
            main = "".join(line for line in main.splitlines(True) if not line.startswith("lock:"))
            stage.site.write_config(*place, self.lock + main + section + rest)
        locked = set(self.there(stage))
        run.signal(signal.SIGCONT)
        check(run.wait(180).status in (0, 1, 3), "it ended in another way")
        for place, text in self.there(stage).items():
            check(place not in locked or text.count(self.lock) == 1 and text.count("lock:") == 1,
                  f"the foreign lock of VM {place[1]} is gone")

    def undo(self, stage):
        for node, vmid in self.there(stage):
            stage.site.run(node, "qm", "unlock", str(vmid))


FAULTS = [KillTool(), KillAgent(), CutLink(), StopOsd(), FillDestination(), RemoveSnapshot(), RemoveDisk(), AddDisk(),
          ForeignLock()]


def cells(stage):
    """All of them, from the plans' own steps."""
    found, counts = [], {}
    for kind in KINDS:
        stage.reset()
        if kind == "incremental":
            stage.site.mirrored(f"{VMID}:{TARGET}", "--online", job=JOB)
            stage.guest.writes_on()
        steps = stage.steps()
        counts[kind] = len(steps)
        found += [Cell(kind, number, step, fault.name) for number, step in enumerate(steps, 1) for fault in FAULTS
                  if fault.can(kind, steps, number)]
    return found, counts


def told_steps(text):
    return len(re.findall(r"(?m)^.* - debug: ", text))


def run_cell(stage, cell):
    """Raises CellError for whatever must not happen. Returns how it ended: "complete", or the conflict's text."""
    site = stage.site
    fault = next(fault for fault in FAULTS if fault.name == cell.fault)
    stage.reset()
    if cell.kind == "incremental":
        site.mirrored(f"{VMID}:{TARGET}", "--online", job=JOB)
        stage.guest.writes_on()
    steps = stage.steps()
    before, base = set(stage.points()), stage.base()
    stage.hold_all()
    run = stage.start(cell.number, *fault.options)
    try:
        return see_through(stage, cell, fault, run, steps, before, base)
    finally:
        # The next cell is not to meet what is left of one that failed.
        run.kill()


def see_through(stage, cell, fault, run, steps, before, base):
    site = stage.site
    run.wait_until_stopped(60)
    said = run.read_so_far()
    check(told_steps(said) == cell.number, f"it stands at step {told_steps(said)} of {len(steps)}")
    locked = "lock: backup\n" in stage.guest.config()
    begin = time.monotonic()
    try:
        fault.fire(stage, run)
    finally:
        fault.undo(stage)
    # Freezing is what must not last; asked from inside, for a frozen guest does not count.
    wait_for(lambda: not stage.guest.frozen(), max(1.0, THAWED_WITHIN - (time.monotonic() - begin)), "the guest is thawed")
    done = run.wait(180)
    check(done.status in (0, 1, 3, 130, 137), f"it ended with {done.status}: {done.err}")
    # The run that follows may complete a point and then remove its snapshot from the source.
    stage.hold_all()
    stage.check_points()
    # A run that went on to its end may have replaced it, by a newer one.
    check(done.status == 0 or not before - set(stage.points()), "a recovery point is gone")
    check(not before or max(stage.points(), default="") >= max(before), "the newest recovery point is gone")
    if base and not isinstance(fault, RemoveSnapshot):
        check(stage.base() is not None and stage.base() >= base, "the common base is gone")
    expected = stage.guest.config() if stage.added else stage.config
    wait_for(lambda: stage.guest.config() == expected, 30, "the guest's lock is released" if locked else "its config")
    # The run that follows, without flags.
    last = site.crossover(*RUN, "--json", seconds=240)
    report = last.report()["guests"][0] if last.out.startswith("{") else {}
    if last.status == 3:
        check(any(word in report.get("error", "") for word in fault.conflicts), f"an unexpected conflict: {last.err}")
        stage.check_points()
        return "conflict: " + report["error"]
    check(last.status == 0, f"the next run ended with {last.status}: {last.err}{last.out[-2000:]}")
    site.check_equal(report)
    stage.check_points()
    check(report["recovery_point"] in stage.points(), "its point is not complete")
    check("lock" not in site.config(WEST, TARGET), "the replica stayed locked")
    check(not stage.guest.frozen(), "the guest is frozen")
    stage.guest.writes_on(1)
    return "complete"


def chosen(found, options):
    if options.shard:
        part, parts = map(int, options.shard.split("/"))
        found = found[part - 1::parts]
    if options.cell:
        found = [cell for cell in found if options.cell in str(cell)]
    if options.cells:
        found = random.Random(options.seed).sample(found, min(options.cells, len(found)))
    return found


class Good:
    """The cells that were good already, in a file if there is one to be remembered in."""

    def __init__(self, file):
        self.file = file
        self.cells = set(file.read_text().splitlines()) if file and file.exists() else set()

    def add(self, cell):
        if self.file:
            with self.file.open("a") as lines:
                lines.write(f"{cell}\n")


def parser():
    options = argparse.ArgumentParser(prog="tests/faults/run", description="Runs crossover in a lab of its own, and lets "
                                      "something go wrong at each of its steps. See tests/faults/README.md.")
    options.add_argument("--shard", metavar="I/N", help="only every Nth cell, from the Ith on")
    options.add_argument("--seed", type=seed, default=0, help="chooses the cells of --cells: a number, or `commit`")
    options.add_argument("--cells", type=int, metavar="K", help="only K cells")
    options.add_argument("--cell", metavar="TEXT", help="only cells whose line contains this")
    options.add_argument("--state", metavar="FILE", type=Path, help="leave out the cells that this file says were good, and "
                         "add those that are")
    options.add_argument("--list", action="store_true", help="print the cells and do nothing else")
    return options


def main(words=None):
    options = parser().parse_args(words)
    failed = 0
    with tempfile.TemporaryDirectory() as folder, running_lab(folder) as site:
        add_runs(site)
        stage = Stage(site)
        stage.prepare()
        found, counts = cells(stage)
        print(f"{len(found)} cells: " + ", ".join(f"{kind} {count} steps" for kind, count in counts.items()) +
              f", {len(FAULTS)} faults", flush=True)
        good = Good(options.state)
        todo = [cell for cell in chosen(found, options) if str(cell) not in good.cells]
        if options.list:
            print("\n".join(map(str, todo)))
            return 0
        print(f"{len(todo)} of them, seed {options.seed}", flush=True)
        # One of them meets Ceph's own watch timeout.
        real = next((cell for cell in todo if cell.fault == "agent killed"), None)
        for cell in todo:
            begin = time.monotonic()
            if cell is real:
                site.watch_timeout(WEST, REAL_WATCH_TIMEOUT)
            try:
                ended = run_cell(stage, cell)
                good.add(cell)
            except Exception as error:  # noqa: BLE001: the other cells are still to be seen
                failed += 1
                ended = f"FAILED: {error}"
                if not isinstance(error, CellError):
                    traceback.print_exc()
            finally:
                if cell is real:
                    site.watch_timeout(WEST, WATCH_TIMEOUTS[WEST])
            print(f"{cell}  {time.monotonic() - begin:.0f} s  {ended}", flush=True)
    print(f"{len(todo)} cells, {failed} failed", flush=True)
    return 1 if failed else 0


def add_runs(site):
    """Lets the site start runs that stop by themselves."""
    from stopping import start
    site.lab_run = lambda *words: start(site, words)
