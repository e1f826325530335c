"""The rows that are not a copy between competitors: many guests, a large image, a peer that stops."""

import contextlib
import os
import signal
import time

from .accounting import PeakWatch
from .competitors import OURS, EarlierCrossover, Job
from .results import Result, Target
from .rows import MIB, CopyRow, Unchanged, scaled
from .site import DESTINATION_NODES, EAST, POOL, STORAGE, WEST, BenchError

GIB = 1 << 30
MEMORY_CAP_BYTES = 256 * MIB  # --memory's default
MEMORY_ALLOWED_BYTES = MEMORY_CAP_BYTES + 150 * MIB


@contextlib.contextmanager
def watched_peaks(site):
    """Gives a function that tells the peak of the far end's crossover processes so far."""
    with contextlib.ExitStack() as stack:
        watches = [stack.enter_context(PeakWatch(site.boxes[name], "crossover")) for name in DESTINATION_NODES]
        yield lambda: max(watch.peak_bytes for watch in watches)


def peaks(told, far_end):
    if not far_end:
        raise BenchError("no agent was seen on the destination")
    return {"source_peak_rss_bytes": told["peak_rss_bytes"], "destination_peak_rss_bytes": far_end}


def memory_target(what):
    allowed = MEMORY_ALLOWED_BYTES // MIB
    return Target(f"{what}: the larger peak of both ends at most the cap plus 150 MiB, in MiB ({allowed})",
                  lambda result: max(result.figures[what].values()) / MIB, at_most=allowed)


def memory_note(result, what):
    near, far = (result.figures[what][f"{end}_peak_rss_bytes"] / MIB for end in ("source", "destination"))
    result.notes.append(f"{what}: peak resident set {near:.0f} MiB on the source, {far:.0f} MiB on the destination")


class ManyGuests:
    """Nothing changed in any of many stopped guests; and again with images in both pools that are nobody's."""
    name, title = "hundred-guests", "100 stopped VMs with nothing changed, memstore, images of 8 MiB"
    guests, strangers, image_bytes = 100, 500, 8 * MIB
    nodes = ("pve01", "pve02")

    def __init__(self, labs, scale, repeat):
        self.labs, self.repeat = labs, repeat
        self.guests = max(4, int(self.guests * scale))
        self.strangers = max(20, int(self.strangers * scale))

    def run(self, tell):
        site = self.labs.get("--memstore")
        self._make_guests(site)
        earlier = [EarlierCrossover(self.labs.earlier)] if self.labs.earlier else []
        tell(f"{self.name}: first copies of {self.guests}")
        for competitor in (OURS, *earlier):
            competitor.begin(site)
            site.measured(*competitor.arguments("all"))
        result = Result(self.name, self.title, "run_seconds", 0, targets=(
            Target("at most 0.2 s a VM", lambda result: result.series["x"].median("run_seconds") / self.guests,
                   at_most=0.2),
            # The measurement's own spread is about that much.
            Target("the time does not grow with unrelated images (ratio, at most 1.1)",
                   lambda result: result.ratio("y", "x"), at_most=1.1)))
        for repetition in range(self.repeat):
            for competitor in (OURS, *earlier) if repetition % 2 else (*earlier, OURS):
                self._time(site, result, competitor, competitor.letter, competitor.title, tell)
            for node in (EAST, WEST):
                site.content(node, "create", POOL, "unrelated-", self.strangers)
            self._time(site, result, OURS, "y", f"the same, {self.strangers} unrelated images in each pool", tell)
            for node in (EAST, WEST):
                site.content(node, "remove", POOL, "unrelated-", self.strangers)
        result.notes.append(f"{result.series['x'].median('run_seconds') / self.guests:.3f} s a VM, "
                            f"{result.series['y'].median('run_seconds') / self.guests:.3f} s with unrelated images")
        if earlier:
            more = (result.series["x"].median("run_seconds") - result.series["o"].median("run_seconds")) / self.guests
            result.notes.append(f"{more * 1000:+.1f} ms a VM against the earlier crossover")
        return result

    def _time(self, site, result, competitor, letter, title, tell):
        tell(f"{self.name}: {title}")
        competitor.begin(site)
        site.settle()
        told = site.measured(*competitor.arguments("all"))
        done = sum(" - Disk Summary: " in line for _, line in told["lines"])
        if done != self.guests:
            raise BenchError(f"{self.name}: {done} of {self.guests} guests were mirrored")
        result.add(letter, title, told)

    def _make_guests(self, site):
        for index, node in enumerate(self.nodes):
            numbers = range(200 + index, 200 + self.guests, len(self.nodes))
            site.run(node, "sh", "-ec", f'for vmid in {" ".join(map(str, numbers))}; do '
                     f'qm create "$vmid" --memory 128 --scsi0 {STORAGE}:{self.image_bytes / GIB} >/dev/null; done')
            for number in numbers:
                site.content(EAST, "scatter", f"{POOL}/vm-{number}-disk-0", number, 16)


class Terabyte(Unchanged):
    """A sparse image of 1 TiB: the memory of its first copy, then nothing changed. An unchanged image costs a
    byte-level listing of the source; the replica's, too, unless its lock proves that nobody has had it."""
    name, title = "terabyte", "nothing changed in a sparse image of 1 TiB, 250 objects of it written"
    what = "first copy of a sparse 1 TiB image"
    targets = (memory_target(what),)
    written = 250
    beside_earlier = False

    def __init__(self, labs, scale, repeat):
        super().__init__(labs, scale, repeat)
        self.image_bytes = scaled(1 << 40, scale)

    def run(self, tell):
        result = super().run(tell)
        result.figures[self.what] = self.memory
        memory_note(result, self.what)
        return result

    def write_base(self, site, node, spec):
        site.content(node, "scatter", spec, "base", self.written)

    def make_disks(self, site):
        return self.make_guest(site, 100)

    def copy_base(self, site, competitor, job):
        with watched_peaks(site) as far_end:
            told = super().copy_base(site, competitor, job)
            self.memory = peaks(told, far_end())


class TerabyteFastDiff(Terabyte):
    name, title = "terabyte-fast-diff", "the same with --fast-diff"
    letters = "f"


class StalledPeer(CopyRow):
    """What is in flight has a cap, however long the peer takes nothing."""
    name, title = "stalled-peer", "memory: 4 GiB to send while the peer is stopped (SIGSTOP) for 20 s"
    letters = "x"
    what = "4 GiB to a peer that is stopped for 20 s"
    targets = (memory_target(what),)
    stall_seconds = 20

    def changed_bytes(self):
        return self.image_bytes

    def run(self, tell):
        tell(self.name)
        site = self.labs.get()
        job = Job(self.make_guest(site, 100), "", "bench-1")
        source = job.disks[0].source
        site.content(EAST, "fill", source, "stalled", self.image_bytes)
        site.snapshot(EAST, source, job.end)
        result = Result(self.name, self.title, "run_seconds", self.image_bytes, targets=self.targets)
        with watched_peaks(site) as far_end:
            told = site.measured(*OURS.command(job), during=lambda: self._stall(site, tell))
            result.figures[self.what] = peaks(told, far_end())
        result.add(OURS.letter, OURS.title, told, transfer_seconds=OURS.transfer_seconds(told, job, 0))
        memory_note(result, self.what)
        self.check(site, job, OURS)
        OURS.clear(site, job)
        site.destroy(EAST, job.vmid)
        return result

    def _stall(self, site, tell):
        """Stops the far end when a quarter is on the link."""
        switch = site.boxes["switch-east"]
        begin = switch.wire_bytes()
        deadline = time.monotonic() + 300
        while switch.wire_bytes() - begin < self.image_bytes // 4:
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name}: a quarter was not sent within 300 s")
            time.sleep(0.02)
        stopped = [pid for name in DESTINATION_NODES for pid in site.boxes[name].named("crossover")]
        if not stopped:
            raise BenchError(f"{self.name}: the transfer was over before its peer could be stopped")
        try:
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            tell(f"{self.name}: stopped {len(stopped)} processes for {self.stall_seconds} s")
            time.sleep(self.stall_seconds / 2)
            half = switch.wire_bytes()
            time.sleep(self.stall_seconds / 2)
            if switch.wire_bytes() - half > MIB:
                raise BenchError(f"{self.name}: bytes went on while the peer was stopped")
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)


OTHER_ROWS = (ManyGuests, Terabyte, TerabyteFastDiff, StalledPeer)
