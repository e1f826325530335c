"""The rows that copy: what is prepared, who copies it, in which order, and what is compared."""

from .competitors import ALL, BY_LETTER, Crossover, Disk, EarlierCrossover, Job
from .results import Result, Target
from .site import EAST, STORAGE, WEST, BenchError

MIB = 1 << 20
IMAGE_BYTES = 4 << 30
FIRST_COPY_BYTES = 2 << 30
SCATTERED_WRITES = 16384
BLOCK = 4096
OBJECT = 4 * MIB
LIMITED = "100mbit"
LIMITED_SCALE = 1 / 8
LIMITED_REPEAT = 3


def scaled(amount, scale, unit=OBJECT):
    return max(unit, int(amount * scale) // unit * unit)


class CopyRow:
    """A row whose competitors copy the same thing, one after the other, in an order that changes with each
    repetition, so that none is always the first to read what was just written."""
    compared = "transfer_seconds"
    letters = "bcx"
    targets = ()
    limit = None
    beside_earlier = False

    def __init__(self, labs, scale, repeat):
        if self.limit:
            scale, repeat = scale * LIMITED_SCALE, min(repeat, LIMITED_REPEAT)
        self.labs, self.scale, self.repeat = labs, scale, repeat
        self.image_bytes = scaled(IMAGE_BYTES, scale)
        self.competitors = [each for each in ALL if each.letter in self.letters]
        if labs.earlier and self.beside_earlier:
            self.competitors.append(EarlierCrossover(labs.earlier))

    def run(self, tell):
        result = Result(self.name, self.title, self.compared, self.changed_bytes(), targets=self.targets)
        for repetition in range(self.repeat):
            site, job = self.prepare(repetition)
            turn = repetition % len(self.competitors)
            for competitor in self.competitors[turn:] + self.competitors[:turn]:
                tell(f"{self.name} {repetition + 1}/{self.repeat}: {competitor.title}")
                self.time(site, job, competitor, result)
                if repetition == self.repeat - 1:
                    self.check(site, job, competitor)
                self.done(site, job, competitor)
            self.finish(site, job)
        return result

    def time(self, site, job, competitor, result):
        startup = 0
        if self.limit:
            site.lab("net", "limit", self.limit)
        if competitor.letter in "ab":
            startup = site.measured(*BY_LETTER["b"].startup)["seconds"]
        competitor.begin(site)
        site.settle()
        told = site.measured(*competitor.command(job))
        if self.limit:
            site.lab("net", "unlimit")
        competitor.finished(site, job)
        result.add(competitor.letter, competitor.title, told, startup_seconds=startup,
                   transfer_seconds=competitor.transfer_seconds(told, job, startup), steps=competitor.steps(told))

    def check(self, site, job, competitor):
        """What was copied is what there was; and it was no idle copy."""
        for disk in job.disks:
            copied = competitor.copied(site, disk)
            wanted = site.content(EAST, "digest", f"{disk.source}@{job.end}")
            if site.content(WEST, "digest", copied) != wanted:
                raise BenchError(f"{self.name}: the content of {copied} is not that of {disk.source}@{job.end}")
            changes = job.start and self.changed_bytes()
            if changes and site.content(EAST, "digest", f"{disk.source}@{job.start}") == wanted:
                raise BenchError(f"{self.name}: nothing changed between {job.start} and {job.end} of {disk.source}")

    def done(self, site, job, competitor):
        """What happens to a copy that was timed."""
        competitor.clear(site, job)

    def finish(self, site, job):
        """What happens to the guest after a repetition."""
        site.destroy(EAST, job.vmid)

    def make_guest(self, site, vmid, disks=1):
        """A stopped guest with empty disks."""
        site.destroy(EAST, vmid)
        site.create(vmid, disks=(STORAGE,) * disks, megabytes=self.image_bytes / MIB)
        return tuple(Disk(vmid, number, self.image_bytes) for number in range(disks))


class FirstCopy(CopyRow):
    name, title = "first-copy", "first copy: 2 GiB of incompressible data in a 4 GiB image"
    letters = "abcx"
    disks = 1
    targets = (
        Target("at most 0.9 of (b)'s time", lambda result: result.ratio("x", "b"), at_most=0.9),
        Target("at most 0.45 of (a)'s time", lambda result: result.ratio("x", "a"), at_most=0.45),
        Target("at least 0.7 of the limit's speed", lambda result: result.ratio("c", "x"), at_least=0.7))

    def changed_bytes(self):
        return scaled(FIRST_COPY_BYTES, self.scale) * self.disks

    def prepare(self, repetition):
        site = self.labs.get()
        job = Job(self.make_guest(site, 100 + repetition, self.disks), "", "bench-1")
        for disk in job.disks:
            site.content(EAST, "fill", disk.source, f"first-{disk.vmid}-{disk.number}",
                         self.changed_bytes() // self.disks)
            site.snapshot(EAST, disk.source, job.end)
            for competitor in self.competitors:
                competitor.prepare(site, disk)
        return site, job


class FirstCopyTwoDisks(FirstCopy):
    name, title = "first-copy-two-disks", "first copy of two disks, each 2 GiB of incompressible data in a 4 GiB image"
    disks = 2


class Incremental(CopyRow):
    """Has a base that all competitors' destinations hold before anything is timed: the same tool writes the same
    content there, except to crossover's, which makes its own."""

    def write_base(self, site, node, spec):
        raise NotImplementedError

    def make_base(self, site, disks, start):
        for disk in disks:
            self.write_base(site, EAST, disk.source)
            site.snapshot(EAST, disk.source, start)
            for competitor in self.competitors:
                if isinstance(competitor, Crossover):
                    continue
                competitor.prepare(site, disk)
                self.write_base(site, WEST, competitor.destination(disk))
                site.snapshot(WEST, competitor.destination(disk), start)
        for competitor in self.competitors:
            if isinstance(competitor, Crossover):
                self.copy_base(site, competitor, Job(disks, "", start))

    def copy_base(self, site, competitor, job):
        competitor.begin(site)
        return site.measured(*competitor.command(job))

    def change(self, site, disk, seed):
        """Writes what is to be copied; nothing, unless a row says otherwise."""


class Chained(Incremental):
    """One guest for all repetitions: each copy is the next one's base."""

    def make_disks(self, site):
        return self.make_guest(site, 100)

    def prepare(self, repetition):
        if repetition == 0:
            self.site = self.labs.get()
            self.disks = self.make_disks(self.site)
            self.make_base(self.site, self.disks, "bench-0")
        job = Job(self.disks, f"bench-{repetition}", f"bench-{repetition + 1}")
        for disk in job.disks:
            self.change(self.site, disk, f"change-{repetition}")
            self.site.snapshot(EAST, disk.source, job.end)
        return self.site, job

    def done(self, site, job, competitor):
        """What it copied to stays."""

    def finish(self, site, job):
        if job.end == f"bench-{self.repeat}":
            for competitor in self.competitors:
                competitor.clear(site, job)
            super().finish(site, job)


class Scattered:
    """Writes random blocks all over the image."""

    @property
    def writes(self):
        return max(16, int(SCATTERED_WRITES * self.scale))

    def changed_bytes(self):
        return self.writes * BLOCK

    def change(self, site, disk, seed):
        site.content(EAST, "scatter", disk.source, seed, self.writes)


class ScatteredFull(Scattered, Chained):
    name, title = "scattered-full", "16,384 scattered 4 KiB writes, image written in full before"
    targets = (
        Target("at most 1.0 of (b)'s time", lambda result: result.ratio("x", "b"), at_most=1.0),
        Target("at most 1.2 of the limit's time", lambda result: result.ratio("x", "c"), at_most=1.2),
        Target("bytes on the wire at most 1.05 times the changed bytes", lambda result: result.wire_ratio("x"),
               at_most=1.05))

    def write_base(self, site, node, spec):
        site.content(node, "fill", spec, "base", self.image_bytes)


class ScatteredSparse(Scattered, Incremental):
    """A new image for each repetition, or there would be no new objects in the second. Every second object of its base
    is there, in full length, but holds 4 KiB only."""
    name, title = "scattered-sparse", "16,384 scattered 4 KiB writes, sparse image: half of them touch new objects"
    targets = (
        Target("at most 0.65 of (b)'s time", lambda result: result.ratio("x", "b"), at_most=0.65),
        Target("bytes on the wire at most 1.1 times the changed, non-zero bytes",
               lambda result: result.wire_ratio("x"), at_most=1.1))

    def write_base(self, site, node, spec):
        site.content(node, "tails", spec, "base", self.image_bytes)

    def prepare(self, repetition):
        site = self.labs.get()
        job = Job(self.make_guest(site, 100 + repetition), "bench-0", "bench-1")
        self.make_base(site, job.disks, job.start)
        self.change(site, job.disks[0], f"change-{repetition}")
        site.snapshot(EAST, job.disks[0].source, job.end)
        return site, job


class Unchanged(Chained):
    name, title = "unchanged", "nothing changed, two disks of 4 GiB, stopped guest; Proxmox's commands start in no time"
    compared = "run_seconds"
    beside_earlier = True
    cost = "0"
    targets = (Target("at most 1.0 s in all", lambda result: result.series["x"].median("run_seconds"), at_most=1.0),)

    def changed_bytes(self):
        return 0

    def make_disks(self, site):
        return self.make_guest(site, 100, 2)

    def write_base(self, site, node, spec):
        site.content(node, "tails", spec, "base", self.image_bytes)

    def time(self, site, job, competitor, result):
        site.lab("cost", self.cost)
        super().time(site, job, competitor, result)
        site.lab("cost", "0")


class UnchangedAtRealCost(Unchanged):
    name = "unchanged-real-cost"
    title = "nothing changed, two disks of 4 GiB, stopped guest; each Proxmox command costs 0.6 s"
    cost = "0.6"
    targets = ()


class FirstCopyLimited(FirstCopy):
    name, title = "first-copy-100mbit", "first copy over 100 Mbit/s, an eighth of the size"
    letters, limit, targets = "bcx", LIMITED, ()


class ScatteredFullLimited(ScatteredFull):
    name = "scattered-full-100mbit"
    title = "2,048 scattered 4 KiB writes over 100 Mbit/s, image of 512 MiB written in full before"
    limit, targets = LIMITED, ()


class ScatteredSparseLimited(ScatteredSparse):
    name, title = "scattered-sparse-100mbit", "2,048 scattered 4 KiB writes over 100 Mbit/s, sparse image of 512 MiB"
    limit = LIMITED
    targets = (Target("at most 0.05 of (b)'s time", lambda result: result.ratio("x", "b"), at_most=0.05),)


COPY_ROWS = (FirstCopy, FirstCopyTwoDisks, ScatteredFull, ScatteredSparse, Unchanged, UnchangedAtRealCost,
             FirstCopyLimited, ScatteredFullLimited, ScatteredSparseLimited)
