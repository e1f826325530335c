"""Who copies: crossover and what it is compared with. Each knows its command, where it copies to, and how much of its
time the transfer took."""

import json
import re
import shlex
from dataclasses import dataclass

from .site import BUILD, CROSSOVER, POOL, STORAGE, WEST, WEST_CONF, BenchError, copy_limit

EAST_CONF = "/etc/ceph/ceph.conf"


@dataclass(frozen=True)
class Disk:
    """One disk of a stopped guest on east: number 0, 1, ..."""
    vmid: int
    number: int
    size: int

    @property
    def source(self):
        return f"{POOL}/vm-{self.vmid}-disk-{self.number}"


@dataclass(frozen=True)
class Job:
    """What is to be copied: all disks of a guest, from one snapshot (none: everything) to another."""
    disks: tuple
    start: str
    end: str

    @property
    def vmid(self):
        return self.disks[0].vmid


def _pipe(*commands):
    return ["bash", "-o", "pipefail", "-ec", "\n".join(commands)]


class Stock:
    """A competitor that copies into an image of its own, which is made before."""
    startup = None  # a command that does all but send

    def begin(self, site):
        """What it needs right before it is timed."""

    def destination(self, disk):
        return f"{POOL}/bench-{self.letter}-{disk.vmid}-{disk.number}"

    def prepare(self, site, disk):
        """A fresh image to copy into."""
        site.create_image(WEST, self.destination(disk), disk.size)

    def steps(self, told):
        """[(seconds, step)] of a run, where it tells of them."""
        return []

    def finished(self, site, job):
        """What belongs to a copy but is not timed."""

    def clear(self, site, job):
        for disk in job.disks:
            site.remove_image(WEST, self.destination(disk))

    def copied(self, site, disk):
        """What holds the copy: an image, or a snapshot of it."""
        return self.destination(disk)


class Export(Stock):
    letter, title = "a", "rbd export | ssh | rbd import"

    def prepare(self, site, disk):
        """`rbd import` makes its image itself."""

    def command(self, job):
        return _pipe(*(f"rbd export --no-progress {disk.source}@{job.end} - | "
                       f"ssh {WEST} rbd import --no-progress - {self.destination(disk)}" for disk in job.disks))

    def transfer_seconds(self, told, job, startup):
        return told["seconds"] - startup * len(job.disks)


class ExportDiff(Stock):
    letter, title = "b", "rbd export-diff | ssh | rbd import-diff"
    startup = _pipe(f"rbd export-diff --no-progress --from-snap base {POOL}/bench-empty - | "
                    f"ssh {WEST} rbd import-diff --no-progress - {POOL}/bench-empty")

    def command(self, job):
        start = f"--from-snap {job.start} " if job.start else ""
        return _pipe(*(f"rbd export-diff --no-progress {start}{disk.source}@{job.end} - | "
                       f"ssh {WEST} rbd import-diff --no-progress - {self.destination(disk)}" for disk in job.disks))

    def transfer_seconds(self, told, job, startup):
        return told["seconds"] - startup * len(job.disks)


class Limit(Stock):
    letter, title = "c", "the limit: librbd on both sides"

    def command(self, job):
        words = [[copy_limit(), EAST_CONF, f"{disk.source}@{job.end}", WEST_CONF, self.destination(disk),
                  *([job.start] if job.start else [])] for disk in job.disks]
        return _pipe(*map(shlex.join, words))

    def transfer_seconds(self, told, job, startup):
        return sum(json.loads(line)["seconds"] for _, line in told["lines"])

    def finished(self, site, job):
        for disk in job.disks:
            site.snapshot(WEST, self.destination(disk), job.end)


class Crossover:
    letter, title = "x", "crossover mirror --transport=agent"
    startup = None
    program, prefix, job_name = str(BUILD / "cli" / "crossover"), "99", "bench"

    def begin(self, site):
        """Its program is what every node has."""
        site.use_command(self.program)

    def destination(self, disk):
        return f"{POOL}/vm-{self.prefix}{disk.vmid}-disk-{disk.number}-{STORAGE}"

    def prepare(self, site, disk):
        """It makes its image itself."""

    def finished(self, site, job):
        """A run is whole."""

    def clear(self, site, job):
        site.destroy(WEST, f"{self.prefix}{job.vmid}")

    def copied(self, site, disk):
        image = self.destination(disk)
        return f"{image}@{site.snapshots(WEST, image)[-1]}"

    def arguments(self, vmids, *words):
        return [CROSSOVER, "mirror", f"--vmid={vmids}", f"--prefixid={self.prefix}", f"--destination={WEST}",
                f"--pool={STORAGE}", f"--jobname={self.job_name}", "--transport=agent", "--debug", *words]

    def command(self, job):
        return self.arguments(job.vmid)

    def transfer_seconds(self, told, job, startup):
        """From the step that sends the first disk to the summary of the last."""
        begin = [at for at, line in told["lines"] if re.search(r" - debug: send ", line)]
        end = [at for at, line in told["lines"] if " - Disk Summary: " in line]
        if not begin or len(end) != len(job.disks):
            raise BenchError("crossover's output does not show its transfers:\n" +
                             "\n".join(line for _, line in told["lines"]))
        return end[-1] - begin[0]

    def steps(self, told):
        """[(seconds, step)] of a run: where its time went."""
        stamps = [(at, line.split(" - debug: ")[1]) for at, line in told["lines"] if " - debug: " in line]
        ends = [at for at, _ in stamps[1:]] + [told["seconds"]]
        first = stamps[0][0] if stamps else told["seconds"]
        return [(first, "start, connect, survey, plan")] + [
            (end - begin, step) for (begin, step), end in zip(stamps, ends)]


class FastCrossover(Crossover):
    letter, title = "f", "crossover mirror --transport=agent --fast-diff"

    def arguments(self, vmids, *words):
        return super().arguments(vmids, "--fast-diff", *words)


class EarlierCrossover(Crossover):
    """Another build, with replicas and a job of its own."""
    letter, title = "o", "an earlier crossover"
    prefix, job_name = "98", "earlier"

    def __init__(self, program):
        self.program = program


ALL = (Export(), ExportDiff(), Limit(), Crossover(), FastCrossover())
BY_LETTER = {each.letter: each for each in ALL}
OURS = BY_LETTER["x"]
